"""A life of one table, made up step by step by hypothesis: whatever comes next, the promises hold."""

from collections.abc import Mapping
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from proof.simulation.acts import Act, Cancel, Edit, LoseSpool, LoseTable, Run, TwoRuns, Upgrade, Wait
from proof.simulation.ending import look_back, recover
from proof.simulation.gate import CRASHES, REMOTE, Fault
from proof.simulation.jobs import Job, text_of
from proof.simulation.judge import judge
from proof.simulation.runs import Order, Ran
from proof.simulation.storage import SurvivingStorage
from proof.simulation.world import SimulatedWorld, new_world

pytestmark = pytest.mark.verify

PARTITIONS = ("p", "q")
HOUR = 3_600
PATIENCE = 25
LAST_CALL = 140

texts = st.dictionaries(st.integers(0, 5), st.integers(0, 5).map(text_of), max_size=3)
some_partitions = st.sampled_from([("p",), ("q",), PARTITIONS])
calls = st.integers(1, LAST_CALL)
orders = st.builds(
    lambda partitions, plan: Order(partitions=partitions, plan=plan, patience=PATIENCE),
    some_partitions,
    st.dictionaries(calls, st.sampled_from(sorted(REMOTE)), max_size=1),
)


class Life(RuleBasedStateMachine):
    """One output table and everything that can happen to it."""

    storage: SurvivingStorage

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.runs: list[Ran] = []

    @initialize(first=texts, second=texts, chunk_size=st.integers(1, 3), n_foreign=st.integers(0, 1))
    def begin(self, first: Mapping[int, str], second: Mapping[int, str], chunk_size: int, n_foreign: int) -> None:
        """Put documents upstream."""
        job = Job(documents={"p": first, "q": second}, chunk_size=chunk_size, n_foreign=n_foreign)
        self.world: SimulatedWorld = self.open.enter_context(new_world(job, self.storage))

    def let(self, act: Act) -> None:
        """Let something happen."""
        self.runs += act.do(self.world)

    # --- runs --------------------------------------------------------------------------------------

    @rule(partitions=some_partitions)
    def run(self, partitions: tuple[str, ...]) -> None:
        """Materialize, undisturbed."""
        self.let(Run(order=Order(partitions=partitions, patience=PATIENCE)))

    @rule(at=calls, fault=st.sampled_from(sorted(CRASHES)), partitions=some_partitions)
    def crash(self, at: int, fault: Fault, partitions: tuple[str, ...]) -> None:
        """Materialize, and die at some call."""
        self.let(Run(order=Order(partitions=partitions, plan={at: fault}, patience=PATIENCE)))

    @rule(at=calls, fault=st.sampled_from(sorted(REMOTE - CRASHES)), partitions=some_partitions)
    def lose(self, at: int, fault: Fault, partitions: tuple[str, ...]) -> None:
        """Materialize, and lose the connection at some call."""
        self.let(Run(order=Order(partitions=partitions, plan={at: fault}, patience=PATIENCE)))

    @rule(at=calls, partitions=some_partitions)
    def fill_disk(self, at: int, partitions: tuple[str, ...]) -> None:
        """Materialize, while the disk is full or the database locked at some call."""
        self.let(Run(order=Order(partitions=partitions, plan={at: Fault.FAILS}, patience=PATIENCE)))

    @rule(one=orders, other=orders, seed=st.integers(0, 2**32 - 1))
    def run_twice_at_once(self, one: Order, other: Order, seed: int) -> None:
        """Materialize in two processes side by side."""
        self.let(TwoRuns(orders=(one, other), seed=seed))

    # --- the world around --------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([10, 120, 1_000, HOUR, 5 * 24 * HOUR]))
    def tick(self, seconds: int) -> None:
        """Let time pass."""
        self.let(Wait(seconds=seconds))

    @rule(partition=st.sampled_from(PARTITIONS), texts=texts)
    def edit(self, partition: str, texts: Mapping[int, str]) -> None:
        """Change the documents."""
        self.let(Edit(partition=partition, texts=texts))

    @rule()
    def cancel(self) -> None:
        """Cancel every batch in the Console."""
        self.let(Cancel())

    @rule(seconds=st.sampled_from([0.0, 45.0, 900.0]))
    def change_pace(self, seconds: float) -> None:
        """Let batches take longer, or not."""
        self.world.emulator.pace.batch_seconds = seconds

    @rule(partitions=some_partitions)
    def expire(self, partitions: tuple[str, ...]) -> None:
        """Materialize while the API is too slow for its own 24 hours; the run is killed, and they pass."""
        usual, self.world.emulator.pace.batch_seconds = self.world.emulator.pace.batch_seconds, 30.0 * HOUR
        self.let(Run(order=Order(partitions=partitions, patience=2)))
        self.world.emulator.pace.batch_seconds = usual
        self.let(Wait(seconds=25 * HOUR))

    @rule()
    def drop_table(self) -> None:
        """Drop the output table."""
        self.let(LoseTable())

    @rule()
    def delete_spool(self) -> None:
        """Delete raw results whose answers are in the table."""
        self.let(LoseSpool())

    @rule()
    def upgrade(self) -> None:
        """Close the ledger and open it with the upgrades of a new version."""
        self.let(Upgrade())

    # --- the promises ------------------------------------------------------------------------------

    @invariant()
    def promises(self) -> None:
        """Nothing is lost, doubled, or billed twice in silence."""
        if hasattr(self, "world"):
            assert judge(self.world, self.runs, finished=False).broken == []

    def teardown(self) -> None:
        """Once all is calm, every document gets its answer within a few runs."""
        with self.open:
            if hasattr(self, "world"):
                self.world.calm()
                self.runs += recover(self.world)
                self.runs += look_back(self.world)
                assert judge(self.world, self.runs, finished=True).broken == []


def live(storage: SurvivingStorage, *, n_lives: int, n_steps: int) -> None:
    """Try many lives."""
    Life.storage = storage
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=n_lives,
            stateful_step_count=n_steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_sequence_of_events_breaks_a_promise(storage: SurvivingStorage) -> None:
    """Forty lives of up to eight events."""
    live(storage, n_lives=40, n_steps=8)


@pytest.mark.soak
def test_no_long_sequence_of_events_breaks_a_promise(storage: SurvivingStorage) -> None:
    """Two thousand lives of up to fifty events."""
    live(storage, n_lives=2_000, n_steps=50)
