"""Gold rows: how right the table is, from answers that are there anyway."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
import pytest
from pydantic import BaseModel

from claude_batch_dagster import Ask, Gold, build_batch_asset
from claude_batch_dagster.checks import Accuracy, LabelRecall
from claude_batch_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]

TEXTS = {"economy": "tax and tariff on trade", "war": "the army and the navy at war", "other": "what a nice day"}
N = 60
WRONG = 6
"""Gold rows whose true label is another one than the emulator's."""


def documents() -> list[tuple[str, str, str]]:
    """Return sixty documents of three labels in turn, in two years."""
    themes = list(TEXTS.values())
    return [(f"d{n:02}", f"{themes[n % 3]}, {n}", "1790-01-05" if n % 2 else "1791-05-05") for n in range(N)]


def truths() -> list[tuple[str, str]]:
    """Return true labels: those of the texts, but for the first six, which are `other`, and should not be."""
    labels = list(TEXTS)
    return [
        (f"d{n:02}", "war" if n % 3 == 0 else "economy") if n < WRONG else (f"d{n:02}", labels[n % 3]) for n in range(N)
    ]


@pytest.fixture
def labelled(world: "DagsterWorld") -> "DagsterWorld":
    """Return a world with sixty documents, and the true labels of all of them."""
    world.write_documents(documents())
    write_gold(world, truths())
    return world


def write_gold(world: "DagsterWorld", rows: list[tuple[str, str]], more: str = "") -> None:
    """Write true labels into a table."""
    listed = ", ".join(f"('{key}', '{label}')" for key, label in rows)
    world.write(f"CREATE OR REPLACE TABLE public.labelled AS SELECT *{more} FROM (VALUES {listed}) AS t(id, label)")  # noqa: S608  (names of the test's own)


def evaluation(result: dg.ExecuteInProcessResult, name: str = "accuracy") -> dg.AssetCheckEvaluation:
    """Return what a run has said of a check."""
    [found] = [one for one in result.get_asset_check_evaluations() if one.check_name == name]
    return found


def figure(evaluated: dg.AssetCheckEvaluation, name: str) -> Any:
    """Return a figure of an evaluation."""
    return evaluated.metadata[f"claude_batch/{name}"].value


def records(evaluated: dg.AssetCheckEvaluation, name: str) -> list[Mapping[str, Any]]:
    """Return the records of a table of an evaluation."""
    table = evaluated.metadata[f"claude_batch/{name}"]
    assert isinstance(table, dg.TableMetadataValue)
    return [record.data for record in table.records]


def test_how_right_the_table_is_costs_no_request(labelled: "DagsterWorld", classification: Declare) -> None:
    """54 of 60 are right; the check holds what that shows, with 95 % confidence, against its threshold."""
    plain = labelled.run(classification(partitions_def=None))
    assert "accuracy" not in {one.check_name for one in plain.get_asset_check_evaluations()}
    n_sent = len(labelled.sent)

    result = labelled.run(classification(partitions_def=None, gold="labelled"))

    assert len(labelled.sent) == n_sent
    told = evaluation(result)
    assert (figure(told, "accuracy"), figure(told, "gold_rows")) == (0.9, N)
    assert figure(told, "accuracy_at_least") == pytest.approx(0.9), "every row of the table is gold: that is exact"
    assert told.passed
    assert "with 60 gold rows this cannot tell 90 % from" in figure(told, "what_this_cannot_tell")
    [materialized] = result.asset_materializations_for_node("answers")
    assert materialized.metadata["claude_batch/accuracy"].value == 0.9


def test_the_low_end_of_the_interval_has_to_pass(labelled: "DagsterWorld", classification: Declare) -> None:
    """Of 20 gold rows 18 are right: 90 %, and shown are no more than 70 %, so 80 % is not passed."""
    write_gold(labelled, [*truths()[:2], *truths()[WRONG : WRONG + 18]])

    told = evaluation(labelled.run(classification(partitions_def=None, gold="labelled"), raises=False))

    assert figure(told, "accuracy") == 0.9
    assert 0.70 < figure(told, "accuracy_at_least") < 0.80, "of 20 in 60 rows"
    assert not told.passed
    assert told.severity is dg.AssetCheckSeverity.WARN


@pytest.mark.verify
def test_a_check_of_gold_rows_can_block(labelled: "DagsterWorld", classification: Declare) -> None:
    """What is downstream is not started on answers that are too often wrong."""
    asset = classification(partitions_def=None, gold="labelled", checks=[Accuracy(warn=0.99, fail=0.95, blocking=True)])

    @dg.asset(deps=["answers"])
    def downstream() -> None:
        raise AssertionError("started although the check has failed")  # pragma: no cover

    result = labelled.run(asset, downstream, raises=False)

    assert not result.success
    assert evaluation(result).severity is dg.AssetCheckSeverity.ERROR


def test_each_label_has_its_recall(labelled: "DagsterWorld", classification: Declare) -> None:
    """The worst label is named; a table has all of them, and a picture shows which were taken for which."""
    told = evaluation(labelled.run(classification(partitions_def=None, gold="labelled")), "label_recall")

    # Of each text two are gold rows of another label: 22 are truly of economy, and 18 of these are found.
    assert figure(told, "worst_label") == "economy: 81.8 % (59.7 % to 94.8 %)"
    rows = {record["label"]: record for record in records(told, "labels")}
    assert set(rows) == set(TEXTS)
    assert rows["other"]["precision"] == "90 % (68 to 99)"
    assert str(figure(told, "confusion")).startswith("![Answers by true label](data:image/png;base64,")


@pytest.mark.verify
def test_shares_of_labels_are_corrected_by_gold_rows(labelled: "DagsterWorld", classification: Declare) -> None:
    """A third was answered with each label; truly 22 of 60 are of economy. A view has it for charts, with bands."""
    told = evaluation(labelled.run(classification(partitions_def=None, gold="labelled")), "label_recall")

    shown = {record["label"]: record for record in records(told, "shares")}
    assert (shown["economy"]["answers"], shown["economy"]["as answered"]) == (20, "33.3 %")
    assert str(shown["economy"]["share"]).startswith("36.7 % (")
    assert str(figure(told, "shares_picture")).startswith("![Shares of labels](data:image/png;base64,")
    kept = labelled.read(
        "SELECT label, answers, share, gold_rows FROM public.answers_shares WHERE partition_key IS NULL"
    )
    assert {label: (answers, round(share * 60), gold) for label, answers, share, gold in kept} == {
        "economy": (20, 22, 60),
        "war": (20, 20, 60),
        "other": (20, 18, 60),
    }

    write_gold(labelled, truths()[WRONG:])  # all right: the next run writes over what was known
    labelled.run(classification(partitions_def=None, gold="labelled"))
    assert {gold for (gold,) in labelled.read("SELECT gold_rows FROM public.answers_shares")} == {54}


@pytest.mark.verify
def test_a_band_covers_what_half_of_the_rows_would_tell(labelled: "DagsterWorld", classification: Declare) -> None:
    """Of 30 gold rows in 60 the share is uncertain, and the truth lies in the band; partitions have their own."""
    write_gold(labelled, truths()[:30])
    labelled.run(classification(gold="labelled"), span=("1790", "1793"))

    bands = labelled.read("SELECT label, share_low, share, share_high FROM public.answers_shares")
    assert all(low <= share <= high for _, low, share, high in bands)
    [(low, high)] = [(low, high) for label, low, _, high in bands if label == "economy"]
    assert low < 22 / 60 < high

    write_gold(labelled, truths())
    labelled.run(classification(gold="labelled"), span=("1790", "1793"))
    parts = labelled.read("SELECT partition_key, count(*)::INT FROM public.answers_shares GROUP BY ALL")
    assert dict(parts) == {None: 3, "1790": 3, "1791": 3}


@pytest.mark.verify
def test_a_table_of_the_name_of_the_view_is_left_alone(labelled: "DagsterWorld", classification: Declare) -> None:
    """What a user calls `answers_shares` is theirs."""
    labelled.write("CREATE TABLE public.answers_shares AS SELECT 'mine' AS whose")

    labelled.run(classification(partitions_def=None, gold="labelled"))

    assert labelled.read("FROM public.answers_shares") == [("mine",)]


@pytest.mark.verify
def test_partitions_with_enough_gold_rows_are_told_apart(labelled: "DagsterWorld", classification: Declare) -> None:
    """Thirty of them are enough for a figure; that the table is judged as a whole does not hide one that is bad."""
    asset = classification(gold="labelled", checks=[Accuracy(warn=0.5)])

    result = labelled.run(asset, span=("1790", "1793"))

    told = evaluation(result)
    parts = {record["partition"]: record["gold rows"] for record in records(told, "partitions")}
    assert parts == {"1790": 30, "1791": 30}
    metadata = {one.partition: one.metadata for one in result.asset_materializations_for_node("answers")}
    assert metadata["1790"]["claude_batch/gold_rows"].value == 30
    assert "claude_batch/accuracy" not in metadata["1792"], "nothing is known of it"


@pytest.mark.verify
def test_gold_rows_of_a_partition_that_is_not_there_yet_say_so(
    labelled: "DagsterWorld", classification: Declare
) -> None:
    """Before any of them has an answer nothing is known, which does not pass."""
    write_gold(labelled, [row for n, row in enumerate(truths()) if n % 2])  # all of 1790

    told = evaluation(labelled.run(classification(gold="labelled"), partition="1791"))

    assert not told.passed
    assert str(told.description).startswith("no gold row is in the table (yet)")
    assert figure(told, "gold_rows_not_in_the_table") == 30

    told = evaluation(labelled.run(classification(gold="labelled"), partition="1790"))
    assert figure(told, "gold_rows") == 30
    assert "claude_batch/gold_rows_not_in_the_table" not in told.metadata


def test_gold_rows_that_cannot_be_read_harm_no_answer(labelled: "DagsterWorld", classification: Declare) -> None:
    """The run ends well, with all its rows; the check says what is the matter and what to do."""
    result = labelled.run(classification(partitions_def=None, gold="nowhere"))

    assert labelled.statuses() == {"succeeded": N}
    told = evaluation(result)
    assert not told.passed
    assert "the gold rows, table public.nowhere, cannot be read" in str(told.description)

    labelled.write("CREATE TABLE public.nowhere AS SELECT 1 AS id, 'war' AS theme")
    told = evaluation(labelled.run(classification(partitions_def=None, gold="nowhere")))
    assert "have no column with true values: name one as the output field that it is of (label)" in str(
        told.description
    )

    labelled.write("CREATE OR REPLACE TABLE public.nowhere AS SELECT 'war' AS label")
    told = evaluation(labelled.run(classification(partitions_def=None, gold="nowhere")))
    assert "have no column 'id', which is the key of the table" in str(told.description)


@pytest.mark.verify
def test_what_is_odd_about_gold_rows_is_counted(labelled: "DagsterWorld", classification: Declare) -> None:
    """A key twice with one label counts once, with two labels not at all; a key that nobody has counts apart."""
    rows = [*truths()[WRONG:36], ("d06", truths()[6][1]), ("d07", "war"), ("d07", "economy"), ("nobody", "war")]
    write_gold(labelled, rows)

    told = evaluation(labelled.run(classification(partitions_def=None, gold="labelled")))

    assert figure(told, "gold_rows") == 31
    assert figure(told, "gold_values_contradictory") == 1
    assert figure(told, "gold_rows_not_in_the_table") == 1
    assert figure(told, "accuracy") == 1.0


@pytest.mark.verify
def test_weights_say_for_how_many_rows_each_stands(labelled: "DagsterWorld", classification: Declare) -> None:
    """The wrong ones stand for one row each, the others for nine: 90 % of the rows are not 90 % of the weight."""
    write_gold(labelled, truths(), f", CASE WHEN id < 'd{WRONG:02}' THEN 1 ELSE 9 END AS weight")

    told = evaluation(labelled.run(classification(partitions_def=None, gold="labelled")))

    assert figure(told, "accuracy") == pytest.approx(54 * 9 / (54 * 9 + 6), abs=1e-4)

    write_gold(labelled, truths(), ", 0 AS weight")
    told = evaluation(labelled.run(classification(partitions_def=None, gold="labelled")))
    assert "have weights in 'weight' that are no positive numbers" in str(told.description)


@pytest.mark.verify
def test_gold_rows_may_be_a_file(labelled: "DagsterWorld", classification: Declare) -> None:
    """A CSV is read as texts: the table says what its columns are. Rows without a true value are left to be done."""
    path = labelled.folder / "gold.csv"
    path.write_text("id,label,note\n" + "".join(f"{key},{label},x\n" for key, label in truths()[:50]) + "d59,,x\n")

    told = evaluation(labelled.run(classification(partitions_def=None, gold=path)))
    assert (figure(told, "accuracy"), figure(told, "gold_rows")) == (0.88, 51)
    [fields] = records(told, "fields")
    assert fields["gold rows"] == 50

    told = evaluation(labelled.run(classification(partitions_def=None, gold=str(path))))
    assert figure(told, "accuracy") == 0.88


def test_gold_rows_of_an_asset_are_written_before_they_are_read(world: "DagsterWorld", classification: Declare) -> None:
    """The table waits for the asset that it is held against, so that lineage shows it, and one run does both."""
    world.write_documents(documents())

    @dg.asset
    def labelled() -> None:
        write_gold(world, truths())

    told = evaluation(world.run(classification(partitions_def=None, gold=labelled), labelled))

    assert figure(told, "accuracy") == 0.9


def test_no_gold_value_is_ever_sent(labelled: "DagsterWorld", classification: Declare) -> None:
    """What is asked beside gold rows is what is asked without them, so nothing is sent when they are taken away."""
    write_gold(labelled, truths(), ", 'a note on ' || label AS note")
    labelled.run(classification(partitions_def=None, gold="labelled"))
    sent = labelled.sent
    assert len(sent) == N

    labelled.run(classification(partitions_def=None))

    assert labelled.sent == sent


class Invoice(BaseModel):
    """Fields of every kind that is compared in a way of its own."""

    amount: float
    kind: Literal["bill", "note"]
    paid: bool
    subject: str
    tags: list[str]
    topics: list[Literal["tax", "war"]]


@pytest.mark.verify
def test_each_kind_of_field_is_compared_in_its_way(world: "DagsterWorld") -> None:
    """Numbers within a tolerance, labels exactly, lists as sets, text by a function; the worst field decides."""
    asset = build_batch_asset(
        name="answers",
        upstream="documents",
        ask=Ask("{text}", Invoice),
        gold=Gold(
            source="labelled",
            tolerance={"amount": 0.5},
            same={"subject": lambda answer, true: true in answer},
        ),
    )
    world.run(asset)
    world.write(
        "CREATE TABLE public.labelled AS SELECT id, amount + 0.25 AS amount, kind, NOT paid AS paid, "
        "left(subject, 3) AS subject, list_reverse(tags || tags) AS tags, topics FROM public.answers"
    )

    told = evaluation(world.run(asset))

    shown = {record["field"]: str(record["accuracy"]) for record in records(told, "fields")}
    assert {name: accuracy.split(" (")[0] for name, accuracy in shown.items()} == {
        "amount": "100 %",
        "kind": "100 %",
        "paid": "0 %",
        "subject": "100 %",
        "tags": "100 %",
        "topics": "100 %",
    }
    assert figure(told, "accuracy") == 0.0, "the worst field"


@pytest.mark.verify
def test_a_function_that_raises_is_named_and_what_it_raised_is_not(
    labelled: "DagsterWorld", classification: Declare
) -> None:
    """It may quote a document; the check says that it is wrong, and no answer is concerned."""

    def same(answer: str, true: str) -> bool:
        raise KeyError(f"{answer} {true}")

    told = evaluation(
        labelled.run(classification(partitions_def=None, gold=Gold(source="labelled", same={"label": same})))
    )

    assert "has raised KeyError" in str(told.description)
    assert "economy" not in str(told.description)


@pytest.mark.parametrize(
    ("gold", "told"),
    [
        (Path("gold.txt"), "files that end in .csv or .parquet"),
        ({"source": "labelled", "tolerance": {"labl": 1}}, "which is no output field: label"),
        ({"source": "labelled", "tolerance": {"label": 1}}, "neither a number nor a date"),
        ({"source": "labelled", "weight": "label"}, "a key or an output field has the name"),
        ({}, "name one of them"),
        ({"source": "labelled", "sql": "FROM x"}, "name one of them"),
        ({"source": dg.AssetIn("labelled")}, "name their asset itself"),
    ],
)
def test_what_cannot_be_gold_is_refused_where_it_is_declared(classification: Declare, gold: Any, told: str) -> None:
    """With the option that is wrong, and what there is instead."""
    with pytest.raises(ConfigurationError, match=told):
        classification(partitions_def=None, gold=Gold(**gold) if isinstance(gold, dict) else gold)


def test_a_tolerance_is_of_the_kind_of_its_field() -> None:
    """A number for numbers; a timedelta for dates."""
    with pytest.raises(ConfigurationError, match="is to be a number"):
        build_batch_asset(
            name="answers",
            upstream="documents",
            ask=Ask("{text}", Invoice),
            gold=Gold(source="labelled", tolerance={"amount": timedelta(days=1)}),
        )


def test_a_prompt_that_names_a_true_value_is_refused() -> None:
    """An upstream column called as the output is looks like the answer; measured with it, everything would be right."""
    with pytest.raises(ConfigurationError, match="looks like a true value in the prompt"):
        build_batch_asset(name="answers", upstream="documents", ask=Ask("{text} {kind}", Invoice), gold="labelled")


def test_checks_of_gold_need_gold(classification: Declare) -> None:
    """Whoever sets a threshold and has no gold rows is told so."""
    for check in (Accuracy(), LabelRecall()):
        with pytest.raises(ConfigurationError, match="the asset has no gold rows"):
            classification(partitions_def=None, checks=[check])
