from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]


@pytest.fixture
def asset(classification: Declare) -> dg.AssetsDefinition:
    """Return the labels of unpartitioned documents."""
    return classification(partitions_def=None)


# --- rows that are never sent -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, "column 'text' is NULL; fill it upstream"),
        ("", "nothing to ask about: 'text' empty or white space"),
        (" \t\r\n\u2003", "nothing to ask about: 'text' empty or white space"),
    ],
    ids=["null", "empty", "blank"],
)
def test_f2_f3_text_that_asks_nothing_is_rejected(
    world: "DagsterWorld", asset: dg.AssetsDefinition, text: str | None, error: str
) -> None:
    """NULL, empty and blank text is `rejected`, unpaid, with what to do; its neighbors are answered."""
    world.write_documents([("bad", text, None), ("good", "tax", None)])

    world.run(asset)

    assert world.answers("id, status, cost_usd IS NULL") == [("bad", "rejected", True), ("good", "succeeded", False)]
    assert error in str(world.errors()["bad"])
    assert len(world.sent) == 1


def test_f10_text_that_is_no_utf8_is_rejected(world: "DagsterWorld", asset: dg.AssetsDefinition) -> None:
    """Bytes that are not UTF-8 are `rejected`; bytes that are, are text."""
    world.write("DROP TABLE public.documents")
    world.write(r"CREATE TABLE public.documents AS SELECT 'bad' AS id, '\xFF\xFE'::BLOB AS text")
    world.write(r"INSERT INTO public.documents VALUES ('good', 'tax \xC3\xA9'::BLOB)")

    world.run(asset)

    assert world.answers("id, status") == [("bad", "rejected"), ("good", "succeeded")]
    assert "cannot be encoded as UTF-8" in str(world.errors()["bad"])
    assert "clean it upstream" in str(world.errors()["bad"])


def test_f17_a_row_that_is_too_large_is_rejected(world: "DagsterWorld", asset: dg.AssetsDefinition) -> None:
    """A document beyond the API's 32 MB is `rejected`, and told how large it is."""
    world.write("INSERT INTO public.documents SELECT 'huge', repeat('tax ', 8_000_000), NULL")

    world.run(asset)

    assert world.statuses() == {"succeeded": 4, "rejected": 1}
    assert "the limit is 32,000,000; split the document upstream" in str(world.errors()["huge"])


def test_a_row_larger_than_a_batch_may_be_travels_alone(world: "DagsterWorld", asset: dg.AssetsDefinition) -> None:
    """The limit of a batch in bytes is no limit of a row."""
    world.write("UPDATE public.documents SET text = repeat('army ', 1000) WHERE id = 'b'")

    world.run(asset, max_bytes_per_batch=1_000)

    assert world.statuses() == {"succeeded": 4}
    assert world.n_posts == 4


def test_f5_rows_without_a_key_are_one_rejected_row(world: "DagsterWorld", asset: dg.AssetsDefinition) -> None:
    """Rows whose key is NULL cannot be told apart: one row stands for them, and says so."""
    world.write_documents([(None, "tax", None), (None, "army", None), ("good", "tax", None)])

    for _ in range(2):
        world.run(asset)

    assert world.answers("id, status") == [("good", "succeeded"), (None, "rejected")]
    assert "the key is NULL" in str(world.errors()[None])
    assert "fill it upstream" in str(world.errors()[None])


def test_f5_a_key_that_is_partly_null_is_no_key(world: "DagsterWorld", classification: Declare) -> None:
    """Of a key of several columns each must be there."""
    world.write_documents(
        [(1, None, "tax"), (None, "x", "army"), (1, "x", "navy")], kinds="book INTEGER, page VARCHAR, text VARCHAR"
    )

    world.run(classification(key=("book", "page"), partitions_def=None))

    assert world.answers("book, page, status") == [(1, "x", "succeeded"), (None, None, "rejected")]


def test_f4_rows_that_share_a_key_and_differ_are_rejected(world: "DagsterWorld", asset: dg.AssetsDefinition) -> None:
    """Two rows of one key that ask different things: neither is sent, and the message says what to do."""
    world.write_documents([("twin", "tax", None), ("twin", "army", None), ("good", "tax", None)])

    world.run(asset)

    assert world.answers("id, status") == [("good", "succeeded"), ("twin", "rejected")]
    assert "2 upstream rows share this key and differ; make the key unique" in str(world.errors()["twin"])


def test_f4_rows_that_share_a_key_and_everything_else_are_one(
    world: "DagsterWorld", asset: dg.AssetsDefinition
) -> None:
    """A row that is there twice, word for word, is one row."""
    world.write_documents([("twin", "tax", None), ("twin", "tax", None)])

    world.run(asset)

    assert world.answers() == [("twin", "economy", "succeeded")]
    assert len(world.sent) == 1


KEYS = ["two words", "é ☃ 𝄞", "k" * 300, "a,b\"c'd|e", "", "null", "1", "line\nbreak", "../../etc/passwd", "\x01"]


def test_f5_keys_may_be_any_text(world: "DagsterWorld", asset: dg.AssetsDefinition) -> None:
    """Spaces, unicode, 300 characters, signs, and the empty text are keys, and come back as they were."""
    world.write_documents([(key, f"tax {n}", None) for n, key in enumerate(KEYS)])

    for _ in range(2):
        world.run(asset)

    assert [row[0] for row in world.answers("id")] == sorted(KEYS)
    assert world.statuses() == {"succeeded": len(KEYS)}
    assert world.n_posts == 1


def test_a_rejected_row_is_asked_once_it_is_mended(world: "DagsterWorld", asset: dg.AssetsDefinition) -> None:
    """A verdict of `rejected` lasts as long as its reason."""
    world.write_documents([("a", "", None)])
    world.run(asset)
    world.write("UPDATE public.documents SET text = 'tax'")

    world.run(asset)

    assert world.answers("id, label, error") == [("a", "economy", None)]


# --- rows that come back without an answer ------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "advice"),
    [
        ("errored", "errored", "materialize again"),
        ("invalid_request", "errored", "mend the row, the prompt or the model"),
        ("expired", "expired", "materialize again to ask again"),
        ("canceled", "canceled", "materialize again to ask again"),
        ("refusal", "refused", "change the prompt or the model"),
        ("max_tokens", "truncated", "stopped at max_tokens"),
        ("not_json", "invalid", "the answer is not JSON"),
        ("misfit", "invalid", "does not fit the output model: field 'label'"),
        ("empty_content", "invalid", "the answer is empty"),
    ],
)
def test_f59_f79_f82_every_row_failing_is_a_table_of_verdicts(
    world: "DagsterWorld", asset: dg.AssetsDefinition, fault: str, status: str, advice: str
) -> None:
    """Whatever befalls every row: the run materializes, each row says what happened and what to do."""
    world.emulator.faults.add(fault)

    result = world.run(asset)

    assert result.success
    assert world.statuses() == {status: 4}
    assert all(advice in str(error) for error in world.errors().values()), world.errors()
    assert {row[0] for row in world.answers("label")} == {None}


@pytest.mark.parametrize("fault", ["errored", "expired", "canceled"])
def test_f57_f58_failures_that_cost_nothing_are_mended_in_the_run(
    world: "DagsterWorld", asset: dg.AssetsDefinition, fault: str
) -> None:
    """A row that failed for no fault of its own is asked again at once, and only that row."""
    world.emulator.faults.add(fault, times=2)

    world.run(asset)

    assert world.statuses() == {"succeeded": 4}
    assert (len(world.sent), world.paid_twice) == (6, [])
    assert sorted(row[0] for row in world.answers("attempt")) == [1, 1, 2, 2]


def test_failures_that_cost_nothing_are_mended_by_the_next_run(
    world: "DagsterWorld", asset: dg.AssetsDefinition
) -> None:
    """A run asks a row three times; the next materialization asks again."""
    world.emulator.faults.add("expired")
    world.run(asset)
    assert len(world.sent) == 12
    world.emulator.faults.clear()

    world.run(asset)

    assert world.statuses() == {"succeeded": 4}
    assert (len(world.sent), world.paid_twice) == (16, [])


def test_f115_attempts_are_limited_as_asked(world: "DagsterWorld", classification: Declare) -> None:
    """`max_attempts` says how often a run asks a row whose failures cost nothing."""
    world.emulator.faults.add("expired")

    world.run(classification(partitions_def=None, max_attempts=1))

    assert len(world.sent) == 4


def test_f79_a_truncated_answer_is_asked_once_more_with_more_room(
    world: "DagsterWorld", asset: dg.AssetsDefinition
) -> None:
    """A truncated row is asked again with four times the limit."""
    world.emulator.faults.add("max_tokens", times=4)

    world.run(asset)

    assert world.statuses() == {"succeeded": 4}
    assert (len(world.sent), len(set(world.sent))) == (8, 8)


@pytest.mark.parametrize("fault", ["max_tokens", "misfit"])
def test_f115_failures_that_were_paid_for_are_not_paid_for_for_ever(
    world: "DagsterWorld", asset: dg.AssetsDefinition, fault: str
) -> None:
    """An answer that is of no use is asked for once more, ever, however often the table is materialized."""
    world.emulator.faults.add(fault)

    for _ in range(3):
        world.run(asset)

    assert len(world.sent) == 8


@pytest.mark.parametrize("fault", ["refusal", "invalid_request"])
def test_final_verdicts_are_not_asked_again(world: "DagsterWorld", asset: dg.AssetsDefinition, fault: str) -> None:
    """What would fail again in the same way is not sent again, until the row changes."""
    world.emulator.faults.add(fault)
    world.run(asset)
    world.emulator.faults.clear()

    world.run(asset)
    assert len(world.sent) == 4
    world.write("UPDATE public.documents SET text = text || ' indeed'")
    world.run(asset)

    assert world.statuses() == {"succeeded": 4}


def test_an_unknown_model_is_a_verdict_of_each_row(world: "DagsterWorld", classification: Declare) -> None:
    """A model that the API does not know is doubted when it is declared; it errors every row, and costs nothing."""
    with pytest.warns(UserWarning, match="nobody here knows the model 'claude-nonesuch-9'"):
        asset = classification(partitions_def=None, model="claude-nonesuch-9")
    result = world.run(asset)

    metadata = result.asset_materializations_for_node("answers")[0].metadata
    assert world.statuses() == {"errored": 4}
    assert all(str(error).startswith("not_found_error: ") for error in world.errors().values())
    assert all("claude-nonesuch-9" in str(error) for error in world.errors().values())
    assert metadata.get("claude_batch/cost_usd", dg.MetadataValue.float(0.0)).value == 0.0
    assert metadata["claude_batch/output_tokens"].value == 0


def test_a_model_without_a_price_has_no_cost(world: "DagsterWorld", classification: Declare) -> None:
    """Where a price is not known there is no figure, rather than a wrong one."""
    result = world.run(classification(partitions_def=None, model="claude-mythos-5-1"))

    metadata = result.asset_materializations_for_node("answers")[0].metadata
    assert world.statuses() == {"succeeded": 4}
    assert [name for name in metadata if "usd" in name] == ["claude_batch/possible_duplicate_usd"]
    assert {row[0] for row in world.answers("cost_usd")} == {None}


def test_a_params_function_may_ask_different_models(world: "DagsterWorld", asking: Declare) -> None:
    """Rows may differ in their model, and each says which model answered."""
    from claude_batch_dagster.assets.labels import label_model  # noqa: PLC0415  (not a public name)

    def prompt(row: Mapping[str, Any]) -> dict[str, Any]:
        model = "claude-haiku-5-5" if row["id"] < "c" else "claude-nonesuch-9"
        return {"model": model, "messages": [{"role": "user", "content": row["text"]}]}

    world.run(asking(prompt=prompt, output=label_model({"war": "army", "economy": "tax"})))

    assert world.answers("id, status, model") == [
        ("a", "succeeded", "claude-haiku-5-5"),
        ("b", "succeeded", "claude-haiku-5-5"),
        ("c", "errored", None),
        ("d", "errored", None),
    ]


@pytest.mark.parametrize("fault", ["results_missing_line", "results_garbage_line"])
def test_f72_a_row_missing_from_the_results_is_asked_again(
    world: "DagsterWorld", asset: dg.AssetsDefinition, fault: str
) -> None:
    """Results without a line for a row: downloaded again, and what stays missing is asked again."""
    world.emulator.faults.add(fault, times=3)

    world.run(asset)

    assert world.statuses() == {"succeeded": 4}
