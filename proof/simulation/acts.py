"""What can happen in a world, one thing after another: runs, and what goes on around them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.sending.recovery import Recovery
from claude_batch_dagster.errors import ApiError
from proof.simulation.jobs import TASK
from proof.simulation.runs import Order, Ran, run
from proof.simulation.side_by_side import run_side_by_side
from proof.simulation.world import SimulatedWorld


class Act(Protocol):
    """One thing that happens."""

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Let it happen; return the runs that were part of it."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of the engine, which may die."""

    order: Order

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Run to the end or to the death."""
        return [run(world, self.order)]


@dataclass(frozen=True, kw_only=True)
class TwoRuns:
    """Two runs at the same time, in processes of their own."""

    orders: tuple[Order, Order]
    seed: int
    """Says who goes on whenever both could."""

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Let them take turns until both have ended."""
        return run_side_by_side(world, self.orders, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A fault of the emulator, a few times."""

    name: str
    options: Mapping[str, Any]

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Put it in force."""
        world.troubled = True
        world.emulator.faults.add(self.name, **self.options)
        return []


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Somebody changes the documents of a partition."""

    partition: str
    texts: Mapping[int, str]

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Replace them all."""
        world.set_documents(self.partition, self.texts)
        return []


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Somebody cancels, in the Console, every batch that has not ended."""

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Cancel ours."""
        world.cancel_open_batches()
        return []


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Time passes while nobody runs."""

    seconds: float

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Let it pass."""
        world.pass_time(self.seconds)
        return []


@dataclass(frozen=True, kw_only=True)
class LoseTable:
    """Somebody drops the output table."""

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Drop it."""
        world.storage.duckdb.execute("DROP TABLE IF EXISTS main.answers")
        return []


@dataclass(frozen=True, kw_only=True)
class LoseDatabase:
    """Somebody deletes the database, and upstream is made anew: what was paid for has to be collected again."""

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Drop all that is ours."""
        world.lose_database()
        return []


@dataclass(frozen=True, kw_only=True)
class LoseSpool:
    """Somebody deletes raw results whose answers are in the table, as they may."""

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Delete them."""
        world.delete_landed_spools()
        return []


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """The ledger is closed, and opened as by a process of a new version: what is on its way stays as it was."""

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Open it anew."""
        world.storage.reopen_ledger()
        return []


@dataclass(frozen=True, kw_only=True)
class StepClock:
    """Somebody sets the clock of the machine, or NTP does: how far it is ahead of the API's from now on."""

    hours: float

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Set it."""
        world.ahead = timedelta(hours=self.hours)
        return []


@dataclass(frozen=True, kw_only=True)
class Reconcile:
    """Somebody looks for what is unconfirmed, as `claude-batch reconcile` does, a few times."""

    quiet_seconds: float
    n_looks: int

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Look, a minute apart; an API in trouble is told and left alone."""
        for _ in range(self.n_looks):
            with suppress(ApiError):
                recovery = recovery_of(world, quiet_period=timedelta(seconds=self.quiet_seconds))
                recovery.settle()
                recovery.watch()
            world.pass_time(60)
        return []


@dataclass(frozen=True, kw_only=True)
class Resolve:
    """Somebody decides what is in doubt, as with `claude-batch resolve`: after a look at the Console, or without."""

    careless: bool

    def do(self, world: SimulatedWorld) -> Sequence[Ran]:
        """Set free what was never accepted; adopt what was, if it can be proved by now."""
        world.careless |= self.careless
        sent = {request.custom_id: request.batch_id for request in world.emulator.audit.requests()}
        for chunk in world.storage.ledger.chunks(TASK.pipeline, [State.AMBIGUOUS, State.HELD]):
            batch_id = sent.get(world.storage.ledger.requests(chunk.chunk_id).custom_ids[0])
            if self.careless or batch_id is None:
                world.storage.ledger.move(
                    chunk.chunk_id, to=State.UNSEEN, note="a person said no", set_free_at=world.wall()
                )
                continue
            with suppress(ApiError):
                recovery, batch = recovery_of(world), world.api().retrieve(batch_id)
                if recovery.evidence.prove(batch, chunk.chunk_id):
                    recovery.adopt(chunk, batch)
        return []


@dataclass(frozen=True)
class _Clock:
    """The clock of a person's machine."""

    world: SimulatedWorld

    def now(self) -> datetime:
        """Return what it shows."""
        return self.world.wall()

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.world.pass_time(seconds)


def recovery_of(world: SimulatedWorld, quiet_period: timedelta = timedelta(minutes=15)) -> Recovery:
    """Return the recovery of the command line, which sets nothing free."""
    return Recovery(
        api=world.api(),
        ledger=world.storage.ledger,
        clock=_Clock(world),
        pipeline=TASK.pipeline,
        quiet_period=quiet_period,
        on_unconfirmed="hold",
    )
