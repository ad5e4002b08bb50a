"""Upstream changes while a run waits: what it expects and what the table holds are of the last reading by any run."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import pytest

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.engine import RunReport
from tests.core.clocks import CrashError, Waking
from tests.core.world import TEN, World

LESS = {n: text for n, text in TEN.items() if n}
MORE = {**TEN, 10: "a text of war, number 10"}
OTHER = {**TEN, 0: "an edited text of war"}
EXCHANGED = {**LESS, 10: "a text of war, number 10"}


def books(report: RunReport) -> dict[str | None, tuple[int, int, bool, float]]:
    """Return of each partition what is expected, what is there, whether it balances, and how complete it is."""
    return {
        part.partition_key: (part.n_expected, part.n_rows, part.balanced, part.completeness)
        for part in report.partitions
    }


def balanced(**n_rows: int) -> dict[str | None, tuple[int, int, bool, float]]:
    """Return the books of partitions with so many rows, each of them answered."""
    return {part: (n, n, True, 1.0) for part, n in n_rows.items()}


@pytest.mark.verify
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(LESS, id="F95-deleted"),
        pytest.param(MORE, id="added"),
        pytest.param(OTHER, id="edited"),
        pytest.param(EXCHANGED, id="exchanged"),
        pytest.param({}, id="all-deleted"),
    ],
)
def test_a_report_balances_though_upstream_changes_while_its_run_waits(
    world: World, changed: Mapping[int, str]
) -> None:
    """Upstream is read once a run: what has changed since is for the next one, which has nothing else to do."""
    world.documents(TEN)

    report = world.run(clock=Waking(world.clock, lambda: world.documents(changed)))
    after = world.run()

    assert (report.failure, books(report)) == (None, balanced(p=10))
    assert (after.n_sent, books(after)) == (len(changed.items() - TEN.items()), balanced(p=len(changed)))


@pytest.mark.sampled
@pytest.mark.parametrize("changed", [LESS, MORE], ids=["F95-deleted", "added"])
@pytest.mark.parametrize("ends", [True, False], ids=["lands", "dies"])
def test_two_runs_at_once_both_balance(world: World, changed: Mapping[int, str], ends: bool) -> None:  # noqa: FBT001
    """The second reads what has changed while the first waits; it ends before that one, or leaves its batch to it."""
    world.documents(TEN)
    reports = []

    def overtake() -> None:
        world.documents(changed)
        if ends:
            reports.append(world.run())
        else:
            with pytest.raises(CrashError):
                world.run(clock=Waking.never(world.clock))

    first = world.run(clock=Waking(world.clock, overtake))
    reports += [world.run()]

    assert [books(report) for report in reports] == [balanced(p=len(changed))] * len(reports)
    assert books(first) == balanced(p=len(changed))
    assert world.n_billed == [1] * len({**TEN, **changed})


@pytest.mark.verify
@pytest.mark.parametrize("changed", [LESS, MORE], ids=["F95-deleted", "added"])
def test_a_run_with_nothing_to_ask_balances_beside_one_that_has_read_later(
    world: World, changed: Mapping[int, str]
) -> None:
    """Between its reading and its report, another has read and landed."""
    world.documents(TEN)
    world.run()

    def overtake(_: Any) -> None:
        world.documents(changed)
        world.run()

    report = world.run(on_asked=overtake)

    assert books(report) == balanced(p=len(changed))
    assert len(world.statuses()) == len(changed)


@pytest.mark.verify
def test_a_document_that_comes_back_while_a_run_waits_keeps_the_row_that_another_run_gave_it(world: World) -> None:
    """It was gone when the first run read; what that one has found once is not held against it for ever."""
    world.documents(TEN)
    world.run()
    world.documents(EXCHANGED)

    def overtake() -> None:
        world.documents(MORE)
        world.run()

    report = world.run(clock=Waking(world.clock, overtake))

    assert (books(report), world.n_billed) == (balanced(p=11), [1] * 11)


def test_f95_partitions_of_one_run_balance_each_by_itself(world: World) -> None:
    """A document moves to another partition, one leaves, one comes."""
    world.documents({1: "war one", 2: "war two", 3: "war three"}, part="p")
    world.documents({4: "war four", 5: "war five"}, part="q")

    def change() -> None:
        world.documents({1: "war one"}, part="p")
        world.documents({2: "war two", 4: "war four", 5: "war five", 6: "war six"}, part="q")

    report = world.run("p", "q", "r", clock=Waking(world.clock, change))

    assert books(report) == balanced(p=3, q=2, r=0)
    assert books(world.run("p", "q", "r")) == balanced(p=1, q=4, r=0)
    assert world.n_billed == [1] * 6


@pytest.mark.sampled
@pytest.mark.parametrize("left", [{1: "war"}, {2: "war"}, {2: "war", 3: ""}], ids=["sharer", "leader", "sharer-asks"])
def test_f95_of_rows_that_share_an_answer_or_have_none_those_that_are_deleted_go(
    world: World, left: Mapping[int, str]
) -> None:
    """Whoever had asked for the answer; the other keeps it. One that is rejected goes like any other."""
    world.documents({1: "war", 2: "war", 3: ""})
    world.run()
    world.documents(left)

    report = world.run()

    assert world.statuses() == {n: "succeeded" if text else "rejected" for n, text in left.items()}
    assert (report.partitions[0].n_expected, report.partitions[0].balanced) == (len(left), True)
    assert world.n_billed == [1]


@pytest.mark.verify
@pytest.mark.parametrize("change", ["DELETE FROM docs WHERE id IS NULL", "UPDATE docs SET id = NULL WHERE id = 2"])
def test_f95_rows_without_a_key_are_one_row_as_long_as_there_is_one(world: World, change: str) -> None:
    """They share one row of the table, which goes with the last of them."""
    world.documents({1: "war", 2: "peace"})
    world.sql("INSERT INTO docs VALUES (NULL, 'a text', 'p')")
    before = world.run()
    world.sql(change)

    report = world.run()

    assert (before.partitions[0].n_expected, before.partitions[0].balanced) == (3, True)
    assert (report.partitions[0].n_expected, report.partitions[0].balanced) == (2, True)


@pytest.mark.verify
def test_f103_a_row_that_the_run_has_read_and_the_table_lacks_is_still_told(world: World) -> None:
    """Somebody deletes an answer while the run waits: the document is there, was read, and has no row."""
    world.documents(LESS)
    world.run()
    world.documents(MORE)

    report = world.run(clock=Waking(world.clock, partial(world.sql, "DELETE FROM answers WHERE id = 5")))

    assert books(report) == {"p": (11, 10, False, 10 / 11)}
    assert books(world.run()) == balanced(p=11)


@pytest.mark.sampled
@pytest.mark.parametrize("columns", [(), ("text",)])
def test_f1_what_was_read_counts_where_upstream_cannot_be_read_any_more(world: World, columns: tuple[str, ...]) -> None:
    """The table is dropped while the run waits: its answers land all the same."""
    world.documents(TEN)

    report = world.run(clock=Waking(world.clock, partial(world.sql, "DROP TABLE docs")), sample_columns=columns)

    assert (report.failure, books(report)) == (None, balanced(p=10))


@pytest.mark.verify
def test_a_frame_is_no_reason_to_delete_what_a_later_run_has_landed(world: World) -> None:
    """What an IO manager handed over when the run began is old when it ends: another has read more meanwhile."""

    def run(*ids: int, **options: Any) -> RunReport:
        frame = pd.DataFrame({"id": ids, "text": [f"a text of war, number {n}" for n in ids], "part": "p"})
        return world.engine(**options).run([Partition(key="p")], frame)

    report = run(1, clock=Waking(world.clock, lambda: run(1, 2)))

    assert world.rows("id, status") == [(1, "succeeded"), (2, "succeeded")]
    assert (report.failure, books(report)) == (None, balanced(p=2))
