"""What is done while which lock is held: two runs side by side never do the same thing at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import pytest

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ports import Batch, Body, Page
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.core.world import PIPELINE, World


@dataclass(frozen=True)
class WatchedLocks(StateDirectory):
    """A state directory that says which of its locks are held, and notes what is done meanwhile."""

    held: list[str] = field(default_factory=list)
    done: list[tuple[str, Sequence[str]]] = field(default_factory=list)

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock, and say so."""
        with super().hold(name):
            self.held.append(name)
            yield
            self.held.remove(name)

    def note(self, act: str) -> None:
        """Note that something is done."""
        self.done.append((act, tuple(self.held)))

    def locks_during(self, act: str) -> set[Sequence[str]]:
        """Return the locks that were held each time that something was done."""
        return {held for done, held in self.done if done == act}


class WatchedApi(AnthropicBatches):
    """The API, whose calls are noted."""

    locks: WatchedLocks

    def create(self, body: Body) -> Batch:
        """Note that a batch is sent."""
        self.locks.note("send")
        return super().create(body)

    def list_batches(self, *, after_id: str | None = None, limit: int | None = None) -> Page:
        """Note that a lost batch is looked for: a single one that is not lost is retrieved by its id."""
        self.locks.note("look for")
        return super().list_batches(after_id=after_id, limit=limit)

    @contextmanager
    def results(self, batch_id: str) -> Iterator[Iterator[bytes]]:
        """Note that results are downloaded."""
        self.locks.note("download")
        with super().results(batch_id) as pieces:
            yield pieces


class WatchedLedger(SqlLedger):
    """The ledger, whose last move of a chunk is noted."""

    locks: WatchedLocks

    def close(self, chunk_id: str, **facts: Any) -> None:
        """Note that a chunk is closed."""
        self.locks.note("close")
        super().close(chunk_id, **facts)


@pytest.fixture
def locks(world: World, client: anthropic.Anthropic, tmp_path: Path) -> Iterator[WatchedLocks]:
    """Return the locks of a run that has sent one batch, lost the answer, found the batch and brought it home."""
    world.documents({1: "a text of war"})
    world.emulator.faults.add("drop_after_accept", times=1)
    locks = WatchedLocks(StateDirectory.open(tmp_path / "watched").path)
    api, ledger = WatchedApi(client), WatchedLedger(locks.ledger_url)
    api.locks = ledger.locks = locks

    report = world.run(api=api, ledger=ledger, state=locks)

    assert (report.failure, world.statuses(), world.n_billed) == (None, {1: "succeeded"}, [1])
    yield locks
    ledger.dispose()


def test_f28_one_run_at_a_time_looks_and_sends(locks: WatchedLocks) -> None:
    """Whether nothing is unconfirmed, and whether a row is still to be asked, holds true until the POST is through."""
    assert locks.locks_during("look for") == locks.locks_during("send") == {(PIPELINE,)}


def test_f93_one_run_at_a_time_brings_a_chunk_home(locks: WatchedLocks) -> None:
    """From the download to the last move of the chunk; other chunks come home meanwhile, and others are sent."""
    [held] = locks.locks_during("close")

    assert [name.split()[0] for name in held] == ["collect"]
    assert locks.locks_during("download") == {(PIPELINE,), held}, "once for the proof that it is ours, once to land it"
