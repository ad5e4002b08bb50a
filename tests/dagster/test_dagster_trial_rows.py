"""Which rows a trial asks, and of which true values: those that have a gold row, told apart as the table does."""

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import dagster as dg
import orjson
import pytest
from pydantic import BaseModel

from claude_batch_dagster import Ask, build_batch_asset, build_trials_asset
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.errors import GoldError
from tests.dagster.trying import (
    HAIKU,
    OTHERS,
    SONNET,
    SPENT,
    N,
    lines,
    n_right,
    outcome,
    taught,
    truth,
    write_gold,
)

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]


class Answer(BaseModel):
    """A label of any kind."""

    label: str


@pytest.fixture
def trying(world: "DagsterWorld", emulator: Emulator) -> Iterator["DagsterWorld"]:
    """Return a world with documents, gold rows of most of them, and models of unlike skill."""
    with taught(world, emulator):
        yield world


@pytest.fixture
def gold_asset(classification: Declare) -> dg.AssetsDefinition:
    """Return the asset that is tried out: it asks Haiku."""
    return classification(partitions_def=None, gold="labelled")


def test_no_gold_value_is_ever_sent(trying: "DagsterWorld", classification: Declare, emulator: Emulator) -> None:
    """Nor any column of the gold rows: neither in a template nor in the row that a function is given."""
    trying.write(
        "CREATE OR REPLACE TABLE public.labelled AS SELECT id, 'goldfinch ' || label AS label, 'goldfinch' AS text, "
        "'goldfinch' AS note FROM public.labelled"
    )
    rows: list[Mapping[str, Any]] = []

    def seen(row: Mapping[str, Any]) -> str:
        rows.append(row)
        return str(row["text"])

    asset = build_batch_asset(name="answers", upstream="documents", ask=Ask("{text}", Answer), gold="labelled")

    trying.run(build_trials_asset(asset, prompts={"seen": seen}))

    assert {frozenset(row) for row in rows} == {frozenset({"id", "text", "published_on"})}
    bodies = [orjson.dumps(params).decode() for params in emulator.audit.asked()]
    assert len(trying.sent) == 2 * N
    assert sum("number " in body for body in bodies) >= 2 * N, "these are the bodies"
    assert not any("goldfinch" in body for body in bodies)


@pytest.mark.verify
def test_what_two_prompt_functions_make_alike_is_paid_for_once(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition
) -> None:
    """One of them shortens long documents, and the others are the same to both: the second waits for the first."""

    def whole(row: Mapping[str, Any]) -> str:
        return str(row["text"])

    def shortened(row: Mapping[str, Any]) -> str:
        return str(row["text"]).replace("1, a document", "1, a doc")

    trying.run(build_trials_asset(gold_asset, prompts={"whole": whole, "shortened": shortened}))

    assert len(trying.sent) == 2 * N + N // 10
    assert trying.paid_twice == []


@pytest.mark.verify
def test_equal_documents_cost_as_much_as_others(trying: "DagsterWorld", gold_asset: dg.AssetsDefinition) -> None:
    """They are asked once, so the bill is smaller; a row of the table costs what its answer does all the same."""
    trying.write("UPDATE public.documents SET text = 'number 3, a document' WHERE id < 'd080'")

    trying.run(build_trials_asset(gold_asset, models=[SONNET]))

    assert len(trying.sent) == 2 * (1 + N // 2)
    [(usd, per_row)] = lines(trying, "cost_usd, cost_per_1000_usd / 1000", "is_current")
    assert usd < 0.6 * N * per_row
    assert sum(usd for (usd,) in lines(trying, "cost_usd")) == pytest.approx(sum(usd for _, usd in trying.read(SPENT)))


def test_partitions_tell_rows_apart_where_keys_do_not(trying: "DagsterWorld", classification: Declare) -> None:
    """Each year counts its documents anew. Of a year's keys those are asked that the year has gold rows of."""
    trying.write(
        "UPDATE public.documents SET id = 'd' || lpad((substr(id, 2)::INT // 2)::VARCHAR, 3, '0')",
        "CREATE OR REPLACE TABLE public.labelled AS SELECT 'd' || lpad((substr(id, 2)::INT // 2)::VARCHAR, 3, '0') AS "
        "id, (1790 + substr(id, 2)::INT % 2)::VARCHAR AS partition_key, label FROM public.labelled "
        "WHERE substr(id, 2)::INT % 2 = 0 OR id < 'd040'",
        "INSERT INTO public.labelled VALUES ('d000', '2525', 'war'), ('d000', '1793', 'war')",
    )
    asset = classification(gold="labelled")

    result = trying.run(build_trials_asset(asset, models=[SONNET]))

    n = N // 2 + 20
    assert len(trying.sent) == 2 * n
    assert lines(trying, "gold_rows, answers, right_answers", "is_current") == [
        (n, n, n_right([*range(0, N, 2), *range(1, 40, 2)], HAIKU))
    ]
    assert "2 gold rows are not upstream, and not counted" in outcome(result)
    trying.run(asset, span=("1790", "1793"))
    assert len(trying.sent) == 2 * n + N + OTHERS - n
    assert trying.paid_twice == []


@pytest.mark.verify
def test_partitions_need_not_be_named_where_keys_tell_rows_apart(
    trying: "DagsterWorld", classification: Declare
) -> None:
    """Then the gold rows need no more than keys, as for the checks."""
    trying.run(build_trials_asset(classification(gold="labelled"), models=[SONNET]))

    assert lines(trying, "gold_rows, answers") == [(N, N)] * 2


@pytest.mark.verify
def test_gold_rows_that_tell_nothing_stop_the_trial(trying: "DagsterWorld", gold_asset: dg.AssetsDefinition) -> None:
    """Before anything is sent, with what to do."""
    trials = build_trials_asset(gold_asset, models=[SONNET])
    trying.write("UPDATE public.labelled SET id = 'x' || id")
    with pytest.raises(GoldError, match=r"none is among the rows of the upstream table public\.documents"):
        trying.run(trials)

    trying.write("DROP TABLE public.labelled")
    with pytest.raises(GoldError, match=r"the gold rows, table public.labelled, cannot be read"):
        trying.run(trials)

    assert trying.n_posts == 0


@pytest.mark.verify
def test_rows_that_nobody_can_be_asked_about_do_not_count(
    trying: "DagsterWorld", gold_asset: dg.AssetsDefinition
) -> None:
    """A key that two documents have, and one without a document: of no candidate do they tell anything."""
    trying.write(
        "INSERT INTO public.documents VALUES ('d000', 'number 7, a document', '1790-01-01')",
        "UPDATE public.documents SET text = NULL WHERE id = 'd001'",
    )

    result = trying.run(build_trials_asset(gold_asset, models=[SONNET]))

    assert lines(trying, "gold_rows, answers") == [(N - 2, N - 2)] * 2
    assert "2 gold rows can be asked of no candidate" in outcome(result)


@pytest.mark.verify
def test_partitions_of_two_dimensions_tell_rows_apart(
    trying: "DagsterWorld", classification: Declare, years: dg.TimeWindowPartitionsDefinition
) -> None:
    """By the window of the one, and the key of the other."""
    grid = dg.MultiPartitionsDefinition({"date": years, "party": dg.StaticPartitionsDefinition(["fed", "rep"])})
    trying.write(
        "CREATE OR REPLACE TABLE public.documents AS SELECT * REPLACE ('d' || lpad((n // 4)::VARCHAR, 3, '0') AS id), "
        "CASE WHEN n % 4 < 2 THEN 'fed' ELSE 'rep' END AS party "
        "FROM (SELECT *, substr(id, 2)::INT AS n FROM public.documents)",
        "CREATE OR REPLACE TABLE public.labelled AS SELECT 'd' || lpad((n // 4)::VARCHAR, 3, '0') AS id, label, "
        "(1790 + n % 2)::VARCHAR || CASE WHEN n % 4 < 2 THEN '|fed' ELSE '|rep' END AS partition_key "
        "FROM (SELECT *, substr(id, 2)::INT AS n FROM public.labelled) WHERE n % 4 = 3",
    )
    asset = classification(
        partitions_def=grid, partition_expr={"date": "published_on", "party": "party"}, gold="labelled"
    )

    trying.run(build_trials_asset(asset, models=[SONNET]))

    assert len(trying.sent) == 2 * N // 4
    assert lines(trying, "gold_rows, right_answers", "is_current") == [(N // 4, n_right(range(3, N, 4), HAIKU))]


@pytest.mark.verify
def test_keys_of_a_file_are_texts_that_say_what_the_table_means(
    trying: "DagsterWorld", classification: Declare
) -> None:
    """A number in a CSV is the number of the table, with whatever zeros before it; two columns may be the key."""
    trying.write("ALTER TABLE public.documents ALTER id TYPE INTEGER USING substr(id, 2)::INTEGER")
    path = trying.folder / "gold.csv"
    path.write_text("id,published_on,label\n" + "".join(f"0{n},179{n % 2}-05-05,{truth(n)}\n" for n in range(50)))
    asset = classification(partitions_def=None, key=["id", "published_on"], gold=path)

    trying.run(build_trials_asset(asset, models=[SONNET]))

    assert lines(trying, "gold_rows, right_answers") == [(50, n_right(range(50), m)) for m in (HAIKU, SONNET)]


@pytest.mark.verify
def test_weights_say_for_how_many_rows_each_stands(trying: "DagsterWorld", gold_asset: dg.AssetsDefinition) -> None:
    """Accuracy is of the table, not of the gold rows; and so is what a thousand rows cost."""
    write_gold(trying, range(N), ", CASE WHEN id < 'd080' THEN 9 ELSE 1 END AS weight")
    trying.write("UPDATE public.documents SET text = repeat('word ', 400) || text WHERE id < 'd080'")

    trying.run(build_trials_asset(gold_asset, models=[SONNET]))

    [(accuracy, per_row, plain)] = lines(
        trying, "accuracy, cost_per_1000_usd / 1000, cost_usd / gold_rows", "is_current"
    )
    right = 9 * n_right(range(80), HAIKU) + n_right(range(80, N), HAIKU)
    assert accuracy == pytest.approx(right / 800)
    assert per_row > 1.3 * plain

    write_gold(trying, range(N), ", 0 AS weight")
    with pytest.raises(GoldError, match="have weights in 'weight' that are no positive numbers"):
        trying.run(build_trials_asset(gold_asset, models=[SONNET]))


@pytest.mark.verify
def test_a_trial_reads_where_its_upstream_and_gold_rows_are(trying: "DagsterWorld", classification: Declare) -> None:
    """Loaded with a prefix, the tables that they are in have that for a schema."""
    trying.write(
        "CREATE SCHEMA silver",
        "CREATE TABLE silver.documents AS FROM public.documents",
        "CREATE TABLE silver.labelled AS FROM public.labelled",
        "DROP TABLE public.documents",
        "DROP TABLE public.labelled",
    )

    @dg.asset
    def documents() -> None:
        """Documents."""

    @dg.asset
    def labelled() -> None:
        """Labels that people have given."""

    asset = classification(partitions_def=None, gold="labelled")
    module = ModuleType("project")
    trials = build_trials_asset(asset, models=[SONNET])
    vars(module).update(documents=documents, labelled=labelled, answers=asset, trials=trials)
    definitions = dg.Definitions(
        dg.load_assets_from_modules([module], key_prefix="silver"), resources={"claude_batch": trying.resource()}
    )

    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=trying.instance, asset_selection=[dg.AssetKey(["silver", "answers_trials"])]
    )

    assert result.success
    assert lines(trying, "gold_rows, answers") == [(N, N)] * 2
