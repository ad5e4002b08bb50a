"""One run of the real engine behind gates, to its end or its death."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import cast

from claude_batch_dagster.core.chunks import Limits
from claude_batch_dagster.core.partitions import Partition
from claude_batch_dagster.core.pipeline import Pipeline
from claude_batch_dagster.core.ports import BatchApi
from claude_batch_dagster.engine import Engine, Pacing, RunReport
from claude_batch_dagster.errors import ClaudeBatchError
from claude_batch_dagster.storage.ledger import SqlLedger
from claude_batch_dagster.storage.outbox import Outbox
from claude_batch_dagster.storage.outputs import OutputTable
from claude_batch_dagster.storage.state_directory import StateDirectory
from proof.simulation.gate import CrashError, Gate, Plan, Point
from proof.simulation.jobs import QUESTION
from proof.simulation.lab import CONFIG
from proof.simulation.ports import GatedApi, GatedLedger, GatedOutbox, GatedSpool
from proof.simulation.site import Site
from proof.simulation.turns import Alone, Turns
from proof.simulation.warehouse import GatedWarehouse

PACING = Pacing(poll_seconds=30.0, poll_growth=2.0, max_poll_seconds=240.0, quiet_period=timedelta(minutes=15))
"""Few looks, so that schedules are short; the quiet period is the one that users have."""


@dataclass(frozen=True)
class GatedClock:
    """The emulator's clock, which goes as far as everybody sleeps."""

    site: Site
    gate: Gate
    turns: Turns

    def now(self) -> datetime:
        """Return the time."""
        return self.site.now()

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        with self.gate.call("clock sleep"):
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
        outbox = GatedOutbox(self.state.outbox(f"{self.run_id} {self.question.pipeline}"), gate=self.gate)
        try:
            yield outbox
        finally:
            outbox.remove()

    def _pipeline(self, table: OutputTable) -> Pipeline:
        pipeline = super()._pipeline(table)
        pipeline.entropy = self.entropy.randbytes
        spool = GatedSpool(self.state.spool, gate=self.gate)
        pipeline.collection = replace(pipeline.collection, spool=spool)
        return pipeline


@dataclass(kw_only=True)
class Ran:
    """What came of one run."""

    gate: Gate
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


def engine_of(site: Site, ran: Ran, turns: Turns) -> SimulatedEngine:
    """Open the engine of a new process."""
    site.n_runs += 1
    gate = ran.gate
    return SimulatedEngine(
        question=QUESTION,
        api=cast("BatchApi", GatedApi(site.api(), gate)),
        warehouse=GatedWarehouse(site.lab.database, CONFIG, gate=gate, turns=turns),
        ledger=cast("SqlLedger", GatedLedger(site.lab.ledger, gate)),
        state=GatedState(site.lab.state.path, gate, turns),
        pacing=replace(PACING, limits=Limits(max_requests=site.job.chunk_size)),
        run_id=f"run-{site.n_runs}",
        clock=GatedClock(site, gate, turns),
        on_trouble=lambda error: ran.troubles.append(str(error)),
        gate=gate,
        entropy=random.Random(site.n_runs),
    )


def run(
    site: Site,
    plan: Plan,
    partitions: Sequence[str] | None = None,
    on_point: Callable[[Point], None] | None = None,
) -> Ran:
    """Run the engine once over partitions, all of them if none is named."""
    ran = Ran(gate=Gate(plan, on_point))
    engine = engine_of(site, ran, Alone(site.pass_time))
    try:
        ran.report = engine.run([Partition(key=key) for key in partitions or site.job.documents])
    except CrashError:
        pass
    except ClaudeBatchError as error:
        ran.error = error
    except Exception as error:  # noqa: BLE001  (whatever it is, the judge is told)
        ran.surprise = error
    return ran
