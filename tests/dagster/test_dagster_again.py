from collections.abc import Callable
from typing import TYPE_CHECKING

import dagster as dg
import pytest

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
ALL = ("1790", "1793")


@pytest.fixture
def answered(world: "DagsterWorld", classification: Declare) -> "DagsterWorld":
    """Return a world whose documents are all answered, by one batch of four requests."""
    world.run(classification(), span=ALL)
    assert (world.n_posts, len(world.sent)) == (1, 4)
    return world


def test_a_second_materialization_sends_nothing(answered: "DagsterWorld", classification: Declare) -> None:
    """Where nothing has changed nothing is sent, the table stays as it is, and the run costs nothing."""
    before = answered.answers("*")

    result = answered.run(classification(), span=ALL)

    metadata = result.asset_materializations_for_node("answers")[0].metadata
    assert (answered.n_posts, answered.answers("*")) == (1, before)
    assert metadata["claude_batch/run_cost_usd"].value == 0
    assert metadata["claude_batch/cost_usd"].value > 0  # type: ignore[operator]


def test_one_changed_row_sends_one_request(answered: "DagsterWorld", classification: Declare) -> None:
    """A row whose text has changed is asked anew, and no other."""
    answered.write("UPDATE public.documents SET text = 'an army now' WHERE id = 'c'")

    answered.run(classification(), span=ALL)

    assert (answered.n_posts, len(answered.sent)) == (2, 5)
    assert answered.answers("id, label")[2] == ("c", "war")


def test_a_new_row_sends_one_request(answered: "DagsterWorld", classification: Declare) -> None:
    """A row that is new is asked, and no other."""
    answered.write("INSERT INTO public.documents VALUES ('e', 'a new tariff', '1792-02-02')")

    answered.run(classification(), span=ALL)

    assert len(answered.sent) == 5
    assert answered.answers("id, label")[4] == ("e", "economy")


def test_f95_a_removed_row_disappears(answered: "DagsterWorld", classification: Declare) -> None:
    """A row that is gone upstream is gone from its partition's answers; no other partition is touched."""
    answered.write("DELETE FROM public.documents WHERE id IN ('b', 'd')")

    result = answered.run(classification(), partition="1791")

    assert [row[0] for row in answered.answers("id")] == ["a", "c", "d"]
    assert result.asset_materializations_for_node("answers")[0].metadata["claude_batch/rows"].value == 1
    assert answered.n_posts == 1


def test_a_row_that_comes_back_is_not_paid_for_again(answered: "DagsterWorld", classification: Declare) -> None:
    """An answer that was removed with its row is restored with it, at no cost."""
    answered.write("CREATE TABLE public.kept AS FROM public.documents", "DELETE FROM public.documents WHERE id = 'b'")
    answered.run(classification(), span=ALL)
    answered.write("INSERT INTO public.documents FROM public.kept WHERE id = 'b'")

    answered.run(classification(), span=ALL)

    assert answered.statuses() == {"succeeded": 4}
    assert (answered.n_posts, answered.paid_twice) == (1, [])


def test_f90_a_table_that_was_dropped_is_restored(answered: "DagsterWorld", classification: Declare) -> None:
    """Dropping the table of answers costs nothing: they land again from what is kept."""
    before = answered.answers("id, label, status, batch_id, cost_usd")
    answered.write("DROP TABLE public.answers")

    answered.run(classification(), span=ALL)

    assert answered.answers("id, label, status, batch_id, cost_usd") == before
    assert answered.n_posts == 1


def test_f108_equal_questions_are_asked_once(world: "DagsterWorld", classification: Declare) -> None:
    """Rows that ask the very same share one request, across partitions and runs, and only one of them costs."""
    world.write_documents([(f"k{n}", "tax and tariff", f"{1790 + n}-01-01") for n in range(4)])

    world.run(classification(), span=("1790", "1792"))
    world.run(classification(), partition="1793")

    assert len(world.sent) == 1
    assert world.answers("label, status, cost_usd > 0") == [
        ("economy", "succeeded", False),
        ("economy", "succeeded", False),
        ("economy", "succeeded", False),
        ("economy", "succeeded", True),
    ]


def test_f110_another_model_asks_all_rows_anew(answered: "DagsterWorld", classification: Declare) -> None:
    """Another model is another question."""
    answered.run(classification(model="claude-sonnet-5-5"), partition="1791")

    assert len(answered.sent) == 6
    assert [row[1] for row in answered.answers("id, model")].count("claude-sonnet-5-5") == 2


def test_a_good_answer_is_never_replaced_by_a_failure(answered: "DagsterWorld", classification: Declare) -> None:
    """An old answer stands until a new one is good, and its `error` says so."""
    answered.emulator.faults.add("invalid_request")
    answered.write("UPDATE public.documents SET text = 'an army now' WHERE id = 'c'")

    answered.run(classification(), span=ALL)

    assert answered.answers("id, label, status")[2] == ("c", "economy", "succeeded")
    assert "kept from an earlier request" in str(answered.errors()["c"])


def test_two_assets_share_a_ledger_and_a_file(world: "DagsterWorld", classification: Declare) -> None:
    """Two tables in one file that ask the same are answered by the same answers: one of them costs nothing."""
    world.run(classification(partitions_def=None), classification(name="more", partitions_def=None))

    assert world.statuses() == world.statuses(table="public.more") == {"succeeded": 4}
    assert world.n_posts == 1


def test_f89_answers_are_kept_when_the_warehouse_is_lost(answered: "DagsterWorld", classification: Declare) -> None:
    """A warehouse that was deleted is filled again from the spool, at no cost."""
    rows = answered.read("SELECT id, text, published_on FROM public.documents")
    answered.let_go()
    (answered.folder / "warehouse.duckdb").unlink()
    answered.write_documents(rows)

    answered.run(classification(), span=ALL)

    assert answered.statuses() == {"succeeded": 4}
    assert answered.n_posts == 1
