"""What the tests of the command line share: real runs against an emulator on a socket, and the program."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

import anthropic
import orjson
import pytest
from alembic import command
from alembic.config import Config
from click.testing import CliRunner, Result
from sqlalchemy import create_engine

from claude_batch_dagster.cli import main
from claude_batch_dagster.client import AnthropicBatches, new_client
from claude_batch_dagster.core.ledger import ChunkRecord, State
from claude_batch_dagster.core.ports import Batch, Body, Clock
from claude_batch_dagster.emulator import Emulator, serving
from claude_batch_dagster.storage import migrations
from tests import canary
from tests.core.clocks import CrashError
from tests.core.world import PIPELINE, World

KEY = f"sk-ant-api03-{canary.KEY}-0123456789"

FOUR = {n: f"a text of {'war' if n % 2 else 'peace'}, number {n}" for n in range(4)}


@pytest.fixture
def base_url(emulator: Emulator) -> Iterator[str]:
    """Serve the emulator on a socket."""
    with serving(emulator) as url:
        yield url


@pytest.fixture
def client(base_url: str) -> Iterator[anthropic.Anthropic]:
    """Return the client that runs use, at the address that the program uses."""
    with new_client(api_key=KEY, base_url=base_url) as client:
        yield client


class DeadlyClock:
    """A clock on which nobody wakes: the run dies at its first pause, its batch on the way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """Return the world's time."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Die."""
        raise CrashError(seconds)


class DyingApi(AnthropicBatches):
    """The API, whose caller dies in the middle of the upload."""

    def create(self, body: Body) -> Batch:
        """Send a part of the body, and die."""
        next(iter(body.pieces))
        raise CrashError


def make_old_ledger(folder: Path) -> None:
    """Make a ledger as the first version of the package made it."""
    folder.mkdir(mode=0o700)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = create_engine(f"sqlite:///{folder}/ledger.sqlite")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()


@dataclass(frozen=True, kw_only=True)
class Program:
    """The program as a person types it, after runs that really happened."""

    world: World

    def __call__(
        self, *arguments: str, answer: str = "", code: int = 0, environment: Mapping[str, str | None] | None = None
    ) -> str:
        """Run a command; return what it prints, once its exit code is right and no key is in it."""
        result = self.result(*arguments, answer=answer, environment=environment)
        assert result.exit_code == code, result.output
        return result.output

    def result(
        self, *arguments: str, answer: str | IO[bytes] = "", environment: Mapping[str, str | None] | None = None
    ) -> Result:
        """Run a command, whatever comes of it."""
        result = CliRunner().invoke(main, arguments, input=answer, obj=self.world.clock, env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert list(canary.in_text(result.output, "what is printed")) == []
        assert "Traceback" not in result.output
        return result

    def json(self, *arguments: str) -> dict[str, list[dict[str, object]]]:
        """Return what `status` tells machines."""
        told: dict[str, list[dict[str, object]]] = orjson.loads(self("status", "--json", *arguments))
        return told

    def dead_run(self, *parts: str, **options: object) -> ChunkRecord:
        """Start a run that dies once it waits; return its last chunk."""
        with pytest.raises(CrashError):
            self.world.run(*parts, clock=DeadlyClock(self.world.clock), **options)
        return self.chunk

    def lost_run(self, fault: str = "drop_after_accept") -> ChunkRecord:
        """Let a run send four documents, lose the answer and die; return the chunk that nobody knows about."""
        self.world.documents(FOUR)
        self.world.emulator.faults.add(fault, endpoint="create", times=1)
        chunk = self.dead_run()
        assert chunk.state is State.AMBIGUOUS
        return chunk

    @property
    def chunk(self) -> ChunkRecord:
        """The youngest chunk."""
        return self.world.ledger.chunks(PIPELINE, State)[-1]


@pytest.fixture
def program(world: World, base_url: str, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Return the program, its environment that of the runs."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", base_url)
    monkeypatch.setenv("CLAUDE_BATCH_STATE_DIRECTORY", str(world.state.path))
    monkeypatch.setenv("CLAUDE_BATCH_DATABASE", world.warehouse.database)
    monkeypatch.delenv("CLAUDE_BATCH_LEDGER_URL", raising=False)
    return Program(world=world)
