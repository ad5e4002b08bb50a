"""One run of the real engine behind gates, to its end or its death."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import cast

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.ports import ClaudeApi, RunPlanner
from claude_batch_dagster.core.running.pipeline import Pipeline
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.core.sending.live import LiveLane
from claude_batch_dagster.engine import Engine, Pacing, RunReport
from claude_batch_dagster.errors import ClaudeBatchError
from claude_batch_dagster.storage.duckdb.collecting.answer_store import AnswerStore
from claude_batch_dagster.storage.files.outbox import Outbox
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from proof.simulation.gate import MANY_CALLS, CrashError, Gate, Plan, Point
from proof.simulation.ports import GatedApi, GatedJournals, GatedLedger, GatedOutbox, GatedSpool
from proof.simulation.storage import CONFIG
from proof.simulation.turns import Alone, Turns
from proof.simulation.warehouse import GatedWarehouse
from proof.simulation.world import SimulatedWorld

PACING = Pacing(poll_seconds=30.0, poll_growth=2.0, max_live_requests=1)
"""Few looks, so that schedules are short; the quiet period is the one that users have."""


FIRST_RUN = "run-1"
"""What runs repeat, where they repeat one."""

BACKFILL = "the one that all runs are of"
"""So that money is one and the same for all of them, whatever clocks do."""


@dataclass(frozen=True)
class GatedClock:
    """The machine's clock, which goes as far as everybody sleeps."""

    world: SimulatedWorld
    gate: Gate
    turns: Turns
    patience: int
    """Sleeps after which somebody kills the process."""
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        """Return the time."""
        return self.world.wall()

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        with self.gate.call("clock sleep"):
            self.slept.append(seconds)
            if len(self.slept) > self.patience:
                self.gate.kill("killed: it has waited too long")
            self.turns.sleep(seconds)


@dataclass(frozen=True)
class GatedState(StateDirectory):
    """The state directory; its locks end with the process that holds them."""

    gate: Gate
    turns: Turns

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold a lock."""
        with ExitStack() as stack:
            with self.gate.call(f"lock {name.partition(' ')[0]}"):
                stack.enter_context(self.turns.hold(name))
            yield


@dataclass(kw_only=True)
class SimulatedEngine(Engine):
    """The real engine; where it makes a part itself, a gate is put in front of that part."""

    gate: Gate
    entropy: random.Random

    @contextmanager
    def _outbox(self) -> Iterator[Outbox]:
        outbox = GatedOutbox(self.state.outbox(f"{self.run_id} {self.task.pipeline}"), gate=self.gate)
        try:
            yield outbox
        finally:
            outbox.remove()

    @property
    def _live(self) -> LiveLane:
        spool = GatedSpool(self.state.spool, gate=self.gate)
        return replace(super()._live, spool=spool, journals=GatedJournals(spool, gate=self.gate))

    def _pipeline(self, store: AnswerStore, planner: RunPlanner) -> Pipeline:
        pipeline = super()._pipeline(store, planner)
        pipeline.dispatch.entropy = self.entropy.randbytes
        spool = GatedSpool(self.state.spool, gate=self.gate)
        collection = pipeline.following.collection
        pipeline.following.collection = replace(collection, downloads=replace(collection.downloads, spool=spool))
        return pipeline


@dataclass(kw_only=True)
class Ran:
    """What came of one run."""

    gate: Gate
    run_id: str = ""
    is_undisturbed: bool = False
    """Whether nothing goes wrong at its calls, the API has no faults for a while, and no other run is there."""
    report: RunReport | None = None
    error: ClaudeBatchError | None = None
    """What it raised, as documented."""
    surprise: Exception | None = None
    """What it raised that nobody is told to expect."""
    troubles: list[str] = field(default_factory=list)
    """What a person would have read in its log."""

    @property
    def crashed(self) -> bool:
        """Whether the process died."""
        return self.gate.dead


def engine_of(world: SimulatedWorld, ran: Ran, turns: Turns, patience: int) -> SimulatedEngine:
    """Open the engine of a new process."""
    world.n_runs += 1
    ran.run_id, gate = f"run-{world.n_runs}", ran.gate
    return SimulatedEngine(
        task=world.task,
        api=cast("ClaudeApi", GatedApi(world.api(), gate, partial(world.note_sent, ran.run_id))),
        warehouse=GatedWarehouse(world.storage.database, CONFIG, gate=gate, turns=turns),
        ledger=cast("SqlLedger", GatedLedger(world.storage.ledger, gate)),
        state=GatedState(world.storage.state.path, gate, turns),
        pacing=replace(
            PACING, limits=Limits(max_requests=world.job.chunk_size), max_poll_seconds=world.job.max_poll_seconds
        ),
        run_id=ran.run_id,
        root_run_id=FIRST_RUN if world.job.repeats else None,
        backfill_id=BACKFILL,
        clock=GatedClock(world, gate, turns, patience),
        on_trouble=lambda error: ran.troubles.append(str(error)),
        gate=gate,
        entropy=random.Random(world.n_runs),
    )


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a run is asked to do, and what goes wrong at its calls."""

    plan: Plan = field(default_factory=dict)
    partitions: tuple[str, ...] = ()
    """All there are, if none is named."""
    patience: int = MANY_CALLS
    """Sleeps after which somebody kills it."""


def prepare(
    world: SimulatedWorld, order: Order, turns: Turns, on_point: Callable[[Point], None] | None = None
) -> tuple[Ran, Callable[[], None]]:
    """Return a run, and what sets it going."""
    ran = Ran(gate=Gate(order.plan, on_point, turns.next))
    engine = engine_of(world, ran, turns, order.patience)
    partitions = [Partition(key=key) for key in order.partitions or world.partitions]

    def go() -> None:
        try:
            ran.report = engine.run(partitions)
        except CrashError:
            pass
        except ClaudeBatchError as error:
            ran.error = error
        except Exception as error:  # noqa: BLE001  (whatever it is, the judge is told)
            ran.surprise = error

    return ran, go


def run(world: SimulatedWorld, order: Order, on_point: Callable[[Point], None] | None = None) -> Ran:
    """Run the engine once, to its end or its death."""
    ran, go = prepare(world, order, Alone(world.pass_time), on_point)
    ran.is_undisturbed = not (order.plan or world.troubled)
    go()
    return ran
