from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from pydantic import BaseModel

from claude_batch_dagster.runs.metadata import bars

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]
ALL = ("1790", "1793")


def by_partition(result: dg.ExecuteInProcessResult) -> dict[str | None, Mapping[str, Any]]:
    """Return the metadata of each materialization of a run."""
    return {event.partition: event.metadata for event in result.asset_materializations_for_node("answers")}


def records(value: Any) -> list[dict[str, Any]]:
    """Return the rows of a table among the metadata."""
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_each_partition_of_a_range_tells_of_itself(world: "DagsterWorld", classification: Declare) -> None:
    """Rows, verdicts, labels and batches are those of the partition, also in a run of several."""
    told = by_partition(world.run(classification(), span=ALL))

    assert {key: metadata["dagster/partition_row_count"].value for key, metadata in told.items()} == {
        "1790": 1, "1791": 2, "1792": 0, "1793": 1
    }  # fmt: skip
    assert records(told["1791"]["claude_batch/verdicts"]) == [{"verdict": "succeeded", "rows": 2}]
    assert records(told["1791"]["claude_batch/labels"]) == [
        {"label": "economy", "rows": 1},
        {"label": "war", "rows": 1},
    ]
    assert records(told["1793"]["claude_batch/labels"]) == [{"label": "war", "rows": 1}]
    assert told["1790"]["claude_batch/batch_ids"].value == told["1793"]["claude_batch/batch_ids"].value
    assert len(told["1790"]["claude_batch/batch_ids"].value) == 1


@pytest.mark.verify
def test_an_empty_partition_has_no_tables(world: "DagsterWorld", classification: Declare) -> None:
    """Where there are no rows there is no distribution to show, and the rates are 0."""
    (metadata,) = by_partition(world.run(classification(), partition="1792")).values()

    assert not {"claude_batch/verdicts", "claude_batch/labels", "claude_batch/samples"} & set(metadata)
    assert (metadata["claude_batch/error_rate"].value, metadata["claude_batch/expiry_rate"].value) == (0.0, 0.0)


def test_cost_is_half_of_the_live_price_and_adds_up(world: "DagsterWorld", classification: Declare) -> None:
    """A partition costs half of what the live API takes, and its rows add up to it."""
    told = by_partition(world.run(classification(), span=ALL))

    per_row = dict(world.read("SELECT partition_key, sum(cost_usd) FROM public.answers GROUP BY ALL"))
    for key, metadata in told.items():
        cost, live, saved = (metadata[f"claude_batch/{name}_usd"].value for name in ("cost", "live_cost", "saved"))
        assert cost == pytest.approx(per_row.get(key, 0.0))
        assert live == pytest.approx(2 * cost)
        assert saved == pytest.approx(cost)
        assert metadata["claude_batch/run_cost_usd"].value == cost


@pytest.mark.verify
def test_tokens_are_those_of_the_table(world: "DagsterWorld", classification: Declare) -> None:
    """Tokens of a partition are the sums of its rows."""
    (metadata,) = by_partition(world.run(classification(), partition="1791")).values()

    assert world.read("SELECT sum(input_tokens)::INT, sum(output_tokens)::INT FROM public.answers") == [
        (metadata["claude_batch/input_tokens"].value, metadata["claude_batch/output_tokens"].value)
    ]


@pytest.mark.verify
def test_a_failed_attempt_that_was_billed_is_part_of_the_cost(world: "DagsterWorld", classification: Declare) -> None:
    """An answer that was paid for and was of no use counts, although the table shows the better one only."""
    world.emulator.faults.add("not_json", times=1)

    (metadata,) = by_partition(world.run(classification(), partition="1790")).values()

    ((of_the_answer,),) = world.read("SELECT cost_usd FROM public.answers")
    assert world.statuses() == {"succeeded": 1}
    assert metadata["claude_batch/cost_usd"].value > of_the_answer
    assert metadata["claude_batch/wasted_usd"].value == pytest.approx(
        metadata["claude_batch/cost_usd"].value - of_the_answer
    )


@pytest.mark.verify
def test_what_caching_has_saved_is_told_where_something_is_cached(
    world: "DagsterWorld", classification: Declare
) -> None:
    """And nowhere else: a plot of zeros says nothing."""
    cached = {"system": "Wars and peaces. " * 400, "params": {"cache_control": {"type": "ephemeral"}}}
    plain = by_partition(world.run(classification(), partition="1790"))["1790"]
    told = by_partition(world.run(classification(**cached), partition="1791"))["1791"]

    assert {"claude_batch/saved_by_caching_usd", "claude_batch/cache_read_share"}.isdisjoint(plain)
    assert told["claude_batch/saved_by_caching_usd"].value != 0
    assert 0 <= told["claude_batch/cache_read_share"].value < 1


@pytest.mark.verify
def test_where_part_of_the_money_was_spent_by_an_earlier_version_nothing_is_said_of_it(
    world: "DagsterWorld", classification: Declare
) -> None:
    """Rather no figure than one of a part: the ledger knows of answers that the database has no costs of."""
    world.run(classification(), partition="1790")
    world.write("DELETE FROM claude_batch.spending")

    told = by_partition(world.run(classification(), partition="1790"))["1790"]

    assert "claude_batch/wasted_usd" not in told
    assert told["claude_batch/cost_usd"].value > 0


NUMBERS = {
    "dagster/partition_row_count": dg.IntMetadataValue,
    "claude_batch/rows": dg.IntMetadataValue,
    "claude_batch/succeeded": dg.IntMetadataValue,
    "claude_batch/rows_asked": dg.IntMetadataValue,
    "claude_batch/rows_shared": dg.IntMetadataValue,
    "claude_batch/input_tokens": dg.IntMetadataValue,
    "claude_batch/output_tokens": dg.IntMetadataValue,
    "claude_batch/error_rate": dg.FloatMetadataValue,
    "claude_batch/expiry_rate": dg.FloatMetadataValue,
    "claude_batch/cost_usd": dg.FloatMetadataValue,
    "claude_batch/live_cost_usd": dg.FloatMetadataValue,
    "claude_batch/saved_usd": dg.FloatMetadataValue,
    "claude_batch/run_cost_usd": dg.FloatMetadataValue,
    "claude_batch/wasted_usd": dg.FloatMetadataValue,
}


@pytest.mark.verify
def test_numbers_are_of_one_kind_in_every_run(world: "DagsterWorld", classification: Declare) -> None:
    """A figure is a float or an integer for ever, whatever its value, so that Dagster plots it."""
    first = by_partition(world.run(classification(), span=ALL))
    second = by_partition(world.run(classification(), span=ALL))

    for metadata in [*first.values(), *second.values()]:
        assert {name: type(metadata[name]) for name in NUMBERS} == NUMBERS
    assert isinstance(first["1790"]["claude_batch/seconds_to_answer"], dg.FloatMetadataValue)


def test_f101_samples_show_answers_and_no_documents(world: "DagsterWorld", classification: Declare) -> None:
    """Sample rows are key, answer and verdict: no text of a document unless it was asked for."""
    told = by_partition(world.run(classification(), span=ALL))

    assert records(told["1790"]["claude_batch/samples"]) == [{"id": "a", "label": "economy", "status": "succeeded"}]
    assert "tariff on trade" not in repr(told)


@pytest.mark.verify
def test_samples_show_the_columns_asked_for(world: "DagsterWorld", classification: Declare) -> None:
    """`sample_columns` adds columns of the documents, cut to 200 characters."""
    world.write("UPDATE public.documents SET text = repeat('tax ', 200) WHERE id = 'a'")

    told = by_partition(world.run(classification(sample_columns=["published_on", "text"]), partition="1790"))

    assert records(told["1790"]["claude_batch/samples"]) == [
        {"id": "a", "label": "economy", "status": "succeeded", "published_on": "1790-01-05", "text": "tax " * 50}
    ]


@pytest.mark.verify
def test_samples_are_few_and_always_the_same(world: "DagsterWorld", classification: Declare) -> None:
    """Five rows are shown, the same ones each time."""
    world.write_documents([(f"k{n}", f"tax {n}", None) for n in range(20)])
    asset = classification(partitions_def=None)

    told = [by_partition(world.run(asset))[None] for _ in range(2)]

    samples = [records(metadata["claude_batch/samples"]) for metadata in told]
    assert len(samples[0]) == 5
    assert samples[0] == samples[1]


@pytest.mark.verify
def test_samples_show_the_document_of_their_own_partition(world: "DagsterWorld", classification: Declare) -> None:
    """A key that is in two partitions is shown with the document of its own."""
    world.write_documents([("a", "tax", "1790-01-01"), ("a", "army", "1791-01-01")], canary=False)

    told = by_partition(world.run(classification(sample_columns=["text"]), span=("1790", "1791")))

    assert [row["text"] for row in records(told["1790"]["claude_batch/samples"])] == ["tax"]


class Numbers(BaseModel):
    """Fields without a closed list of values."""

    score: float
    words: list[str]


@pytest.mark.verify
def test_answers_without_categories_have_no_chart(world: "DagsterWorld", asking: Declare) -> None:
    """Where no field has a closed list of values there is no distribution; lists are shown as text."""
    (metadata,) = by_partition(world.run(asking(output=Numbers))).values()

    assert not {"claude_batch/labels", "claude_batch/label_chart"} & set(metadata)
    sample = records(metadata["claude_batch/samples"])[0]
    assert (type(sample["score"]), type(sample["words"])) == (float, str)


def test_a_chart_is_a_short_table() -> None:
    """The largest count has the longest bar; labels cannot break the table."""
    assert bars(Counter({"pi|pe": 3, "two\nlines": 1})).splitlines() == [
        "|label|rows|share||",
        "|--|--:|--:|--|",
        f"|pi/pe|3|75%|{'█' * 20}|",
        f"|two lines|1|25%|{'█' * 7}|",
    ]


def test_a_chart_is_always_drawn_in_place() -> None:
    """However many, long and frequent the labels are, the chart stays below Dagster's 1,000 characters."""
    chart = bars(Counter({f"{n:03d}" + "ﷺ" * 300: 10**12 for n in range(500)}))

    assert len(chart) < 1000
    assert len(chart.splitlines()) == 14
