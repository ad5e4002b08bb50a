"""Every cell, through the real submission, client and SDK, over a real socket."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import orjson

from claude_batch_dagster.client import CREATE_TIMEOUT_SECONDS, AnthropicBatches, new_client
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.core.sending.chunks import Chunk, OpenRow, new_nonce
from claude_batch_dagster.core.sending.submission import Submission
from claude_batch_dagster.errors import ApiError
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from proof.answers.cells import NO_TLS, REFUSED, SILENCE, Cell
from proof.answers.rules import HOLD, Outcome, rule
from proof.answers.scripts import script
from proof.answers.server import ScriptedServer, scripted
from proof.canary import KEY

N_REQUESTS = 3

FEW_BYTES = 60
MANY_BYTES = 400_000
"""Of text in each request; so many that no buffer on the way takes in what the server does not read."""

TIMEOUT_SECONDS = 1.0
"""In place of a quarter of an hour, for the cells that are about it."""

NOW = datetime(2026, 11, 20, 18, 37, tzinfo=UTC)

STATES: Mapping[Outcome, State] = {
    "yes": State.ACCEPTED,
    "no": State.REFUSED,
    "ambiguous": State.AMBIGUOUS,
}
"""Of a chunk, by what its answer proves; one of which the API names a batch that may not be it is held."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one cell."""

    state: State
    """Of the chunk, in the ledger."""
    batch_id: str | None
    error: Exception | None
    """What `submit` raised."""
    n_posts: int
    n_elsewhere: int
    """Connections that the other host saw."""
    n_sleeps: int
    was_whole: bool
    """Whether the server got the whole body."""


@dataclass
class StandingClock:
    """A clock that stands still, and counts who sleeps."""

    n_sleeps: int = 0

    def now(self) -> datetime:
        """Return the same time always."""
        return NOW

    def sleep(self, seconds: float) -> None:  # noqa: ARG002  (what counts is that somebody slept)
        """Count."""
        self.n_sleeps += 1


@dataclass
class AnsweringWorld:
    """Servers, clients and a ledger, for any number of cells."""

    server: ScriptedServer
    other: ScriptedServer
    """The host that redirects lead to."""
    ledger: SqlLedger
    apis: dict[str, AnthropicBatches]
    """By the base URL they talk to."""
    closed_url: str
    """Where nobody listens."""
    clock: StandingClock = field(default_factory=StandingClock)
    n_driven: int = 0

    def drive(self, cell: Cell) -> Seen:
        """Send one chunk, let the server answer as the cell says, and look at what came of it."""
        self.n_driven += 1
        self.server.requests.clear()
        self.server.let_go.clear()
        self.other.n_connections = self.clock.n_sleeps = 0
        batch_id = f"msgbatch_{self.n_driven}"
        elsewhere = f"{self.other.url}/v1/messages/batches"
        self.server.script = script(cell, n_requests=N_REQUESTS, batch_id=batch_id, elsewhere=elsewhere)
        chunk = _chunk(self.n_driven, FEW_BYTES if cell.released else MANY_BYTES)
        seconds = TIMEOUT_SECONDS if cell.status == "timeout" else CREATE_TIMEOUT_SECONDS
        with (
            patch("time.sleep", self.clock.sleep),  # the SDK would pause before it tries again
            patch("claude_batch_dagster.client.CREATE_TIMEOUT_SECONDS", seconds),
        ):
            error = self._submit(self._api(cell), chunk)
            self.server.let_go.set()
        record = self.ledger.chunk(chunk.nonce)
        posts = [request for request in self.server.requests if request.method == "POST"]
        return Seen(
            state=record.state,
            batch_id=record.batch_id,
            error=error,
            n_posts=len(posts),
            n_elsewhere=self.other.n_connections,
            n_sleeps=self.clock.n_sleeps,
            was_whole=any(request.is_whole for request in posts),
        )

    def _submit(self, api: AnthropicBatches, chunk: Chunk) -> Exception | None:
        clock: Clock = self.clock
        # A pipeline for each: one that has an unconfirmed chunk sends no other.
        pipeline = f"main.answers_{self.n_driven}"
        submission = Submission(api=api, ledger=self.ledger, clock=clock, pipeline=pipeline, run_id="run")
        try:
            submission.submit(chunk)
        except Exception as error:  # noqa: BLE001  (an error that should not escape is a finding, not a crash)
            return error
        return None

    def _api(self, cell: Cell) -> AnthropicBatches:
        url = {REFUSED: self.closed_url, NO_TLS: self.server.url.replace("http:", "https:")}.get(cell.status)
        url = url or self.server.url
        if url not in self.apis:
            self.apis[url] = AnthropicBatches(new_client(api_key=KEY, base_url=url))
        return self.apis[url]


@contextmanager
def answering_world(folder: Path) -> Iterator[AnsweringWorld]:
    """Set everything up, with the ledger in a folder."""
    with ExitStack() as stack:
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # the port is taken and nobody listens
        ledger = SqlLedger(f"sqlite:///{folder / 'ledger.sqlite'}")
        stack.callback(ledger.dispose)
        server, other = stack.enter_context(scripted()), stack.enter_context(scripted())
        closed_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        world = AnsweringWorld(server=server, other=other, ledger=ledger, apis={}, closed_url=closed_url)
        yield world
        for api in world.apis.values():
            api.close()


def faults(cell: Cell, seen: Seen) -> list[str]:
    """Say how what was seen differs from the rule book; an empty list if it does not."""
    outcome, action = rule(cell)
    reached = cell.status not in {REFUSED, NO_TLS}
    state = State.HELD if action == HOLD else STATES[outcome]
    checks = {
        f"the ledger says {seen.state}": seen.state is state,
        f"the id in the ledger is {seen.batch_id}": bool(seen.batch_id) == (state in {State.ACCEPTED, State.HELD}),
        f"{seen.n_posts} POSTs": seen.n_posts == int(reached),
        "the server has the whole body": seen.was_whole == cell.released,
        f"raised {seen.error!r}": isinstance(seen.error, ApiError) if outcome == "no" else seen.error is None,
        f"status {getattr(seen.error, 'status', None)}": _is_of(cell, seen.error),
        "followed elsewhere": not seen.n_elsewhere,
        "slept": not seen.n_sleeps,
    }
    return [what for what, holds in checks.items() if not holds]


def _is_of(cell: Cell, error: Exception | None) -> bool:
    """Whether an error that names a status names the one that came."""
    status = getattr(error, "status", None)
    return status is None or (cell.status not in SILENCE and str(status) == cell.status)


def _chunk(number: int, n_bytes: int) -> Chunk:
    params = orjson.dumps({"messages": [{"role": "user", "content": "x" * n_bytes}]})
    passengers = [OpenRow("p", str(key), f"hash {key}", params, attempt=1) for key in range(N_REQUESTS)]
    return Chunk(new_nonce(NOW, number.to_bytes(10)), passengers)
