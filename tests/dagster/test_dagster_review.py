"""The review queue as an asset: beside a table of answers, over all of its partitions, with its files."""

import csv
import json
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
import pandas as pd
import pytest
from pydantic import BaseModel

from claude_batch_dagster import build_classification_asset, build_review_asset
from claude_batch_dagster.errors import ClaudeBatchError, ConfigurationError
from claude_batch_dagster.testing import EmulatedClaude
from tests.canary import DOCUMENT
from tests.dagster.conftest import LABELS

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld, FrameIOManager

Declare = Callable[..., dg.AssetsDefinition]

QUEUE = "public.answers_review"


class Theme(BaseModel):
    """What a document is about."""

    topic: Literal["war", "economy"]


def metadata_of(world: "DagsterWorld", name: str = "answers_review") -> dict[str, Any]:
    """Return what the latest materialization of the queue says."""
    event = world.instance.get_latest_materialization_event(dg.AssetKey(name))
    assert event is not None
    assert event.asset_materialization is not None
    return {label: value.value for label, value in event.asset_materialization.metadata.items()}


@pytest.fixture
def doubted(world: "DagsterWorld", classification: Declare, claude: EmulatedClaude) -> dg.AssetsDefinition:
    """Return the labels of all years, with how sure they are: least of document d."""
    sure = {"label": "war", "runner_up": None, "runner_up_confidence": 0}
    claude.answers(lambda _: True, confidence=0.9, **sure)
    claude.answers("battle", confidence=0.3, **sure)
    asset = classification(confidences=True)
    world.settings["base_url"] = claude.base_url
    world.run(asset, span=("1790", "1793"))
    return asset


# --- a run -------------------------------------------------------------------------------------------


def test_a_queue_is_a_table_over_all_partitions(world: "DagsterWorld", doubted: dg.AssetsDefinition) -> None:
    """With key, partition, document, answer, reason, weight, and an empty column for the true label."""
    world.run(build_review_asset(doubted, rows=2), beside=[doubted])

    columns = [name for name, *_ in world.read(f"DESCRIBE {QUEUE}")]
    answered = ["answered_label", "answered_runner_up", "answered_runner_up_confidence"]
    assert columns == ["id", "partition_key", "text", *answered, "reason", "confidence", "weight", "label"]
    [audit, unsure] = world.answers("reason, weight, confidence, answered_label, label, id, partition_key", table=QUEUE)
    assert unsure == ("unsure", 1.0, 0.3, "war", None, "d", "1793")
    assert audit[:-2] == ("audit", 3.0, 0.9, "war", None)
    assert audit[-2:] in {("a", "1790"), ("b", "1791"), ("c", "1791")}
    documents = dict(world.read("SELECT id, text FROM public.documents"))
    assert all(documents[key] == text for key, text in world.answers("id, text", table=QUEUE))


def test_a_run_tells_numbers_and_places_and_nothing_of_documents(
    world: "DagsterWorld", doubted: dg.AssetsDefinition
) -> None:
    """Rows by reason, rows of the table, what the weights add up to, and where the files are."""
    folder = world.folder / "queue"

    world.run(build_review_asset(doubted, rows=3, folder=folder), beside=[doubted])

    assert metadata_of(world) == {
        "dagster/row_count": 3,
        "claude_batch/audit_rows": 1,
        "claude_batch/unsure_rows": 2,
        "claude_batch/votes_differ_rows": 0,
        "claude_batch/table_rows": 4,
        "claude_batch/sum_of_weights": 4.0,
        **{f"claude_batch/review_{kind}": str(folder / f"answers_review.{kind}") for kind in ("csv", "json", "xml")},
    }


@pytest.mark.verify
def test_files_are_gold_once_they_are_filled_in(world: "DagsterWorld", doubted: dg.AssetsDefinition) -> None:
    """The key, the partition, the true value under the name of its field, the weight; for their owner alone."""
    world.run(build_review_asset(doubted, folder=str(world.folder)), beside=[doubted])

    path = world.folder / "answers_review.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [*csv.DictReader(lines)]
    tasks = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert [*rows[0]] == ["id", "partition_key", "text", "label", "weight"]
    assert sorted((row["id"], row["partition_key"], row["label"], row["weight"]) for row in rows) == [
        ("a", "1790", "", "1.0"),
        ("b", "1791", "", "1.0"),
        ("c", "1791", "", "1.0"),
        ("d", "1793", "", "1.0"),
    ]
    assert [task["data"]["id"] for task in tasks] == [row["id"] for row in rows]
    assert all(DOCUMENT in row["text"] for row in rows)
    assert {stat.S_IMODE(one.stat().st_mode) for one in world.folder.glob("answers_review.*")} == {0o600}


@pytest.mark.verify
def test_the_same_table_gives_the_same_files(world: "DagsterWorld", doubted: dg.AssetsDefinition) -> None:
    """A run more changes nothing; nothing is asked for it."""
    review = build_review_asset(doubted, rows=3, folder=world.folder)
    n_sent = len(world.sent)
    contents = []
    for _ in range(2):
        world.run(review, beside=[doubted])
        contents.append({path.name: path.read_bytes() for path in world.folder.glob("answers_review.*")})

    assert contents[0] == contents[1]
    assert len(contents[0]) == 3
    assert len(world.sent) == n_sent


@pytest.mark.verify
def test_labels_that_were_given_stop_the_next_queue(world: "DagsterWorld", doubted: dg.AssetsDefinition) -> None:
    """In the table or in the file: both stay as they are."""
    review = build_review_asset(doubted, folder=world.folder)
    world.run(review, beside=[doubted])
    path = world.folder / "answers_review.csv"
    written = path.read_text(encoding="utf-8")
    path.write_text(written.replace(",,", ",war,", 1), encoding="utf-8")

    with pytest.raises(ConfigurationError, match="holds labels"):
        world.run(review, beside=[doubted])
    path.unlink()
    world.write("UPDATE public.answers_review SET label = 'war' WHERE id = 'a'")
    with pytest.raises(ConfigurationError, match="holds labels"):
        world.run(review, beside=[doubted])

    assert not path.exists()
    assert world.answers("count(label)", table=QUEUE) == [(1,)]


def test_answers_that_are_not_there_are_named(world: "DagsterWorld", classification: Declare) -> None:
    """What to do first."""
    asset = classification(partitions_def=None)

    with pytest.raises(ClaudeBatchError, match=r"no table public\.answers of answers yet: materialize its asset first"):
        world.run(build_review_asset(asset), beside=[asset])


# --- rows that are labelled already ------------------------------------------------------------------


@pytest.mark.verify
@pytest.mark.parametrize("gold", ["gold", dg.AssetKey("gold"), dg.AssetDep("gold")], ids=["name", "key", "dep"])
def test_rows_of_a_table_of_labels_are_left_out(world: "DagsterWorld", doubted: dg.AssetsDefinition, gold: Any) -> None:
    """By key and partition, where there is one: another row of that key is another row."""
    world.write(
        "CREATE TABLE public.gold AS SELECT * FROM (VALUES ('a', '1790', 'war'), ('b', '1790', 'war'), "
        "('c', '1791', NULL)) AS t(id, partition_key, label)"
    )
    world.run(build_review_asset(doubted, labelled=gold), beside=[doubted])

    assert world.answers("id", table=QUEUE) == [("b",), ("c",), ("d",)]
    assert metadata_of(world)["claude_batch/sum_of_weights"] == 3


@pytest.mark.verify
def test_documents_and_labels_may_come_from_io_managers(
    world: "DagsterWorld", classification: Declare, frames: "FrameIOManager"
) -> None:
    """As DataFrames, of all partitions there are."""

    @dg.asset(key=["public", "gold"], io_manager_key="frames")
    def gold() -> pd.DataFrame:
        return pd.DataFrame({"id": ["a", "b"], "label": ["war", None]})

    documents = dg.AssetSpec(["public", "documents"]).with_io_manager_key("frames")
    upstream = dg.AssetIn(["public", "documents"], input_manager_key="frames")
    asset = classification(upstream=upstream, partitions_def=None, key_prefix="public")
    review = build_review_asset(asset, labelled=dg.AssetIn(["public", "gold"], input_manager_key="frames"))

    world.run(gold, asset, review, beside=[documents], resources={"frames": frames})

    rows = world.answers("id, text", table=QUEUE)
    assert [key for key, _ in rows] == ["b", "c", "d"]
    assert all(DOCUMENT in text for _, text in rows)


# --- partitions, keys, names -------------------------------------------------------------------------


@pytest.mark.verify
def test_one_key_in_two_partitions_is_two_rows(world: "DagsterWorld", asking: Declare) -> None:
    """Each with its own document; keys of several columns too."""
    kinds = "id VARCHAR, part INTEGER, text VARCHAR, published_on DATE"
    world.write_documents(
        [("a", 1, "war", "1790-01-05"), ("a", 1, "tax", "1791-01-05"), ("a", 2, "navy", "1791-02-05")], kinds=kinds
    )
    years = dg.StaticPartitionsDefinition(["1790", "1791"])
    asset = asking(output=Theme, key=["id", "part"], partitions_def=years, partition_expr="year(published_on)")
    world.run(asset, span=("1790", "1791"))

    world.run(build_review_asset(asset), beside=[asset])

    texts = {
        (part, str(day.year)): text
        for part, day, text in world.read("SELECT part, published_on, text FROM public.documents")
    }
    assert world.answers("id, part, partition_key, text", table=QUEUE) == [
        ("a", part, year, texts[part, year]) for part, year in [(1, "1790"), (1, "1791"), (2, "1791")]
    ]


@pytest.mark.verify
def test_a_partition_in_two_dimensions_is_one_key(world: "DagsterWorld", asking: Declare) -> None:
    """As Dagster writes it."""
    grid = dg.MultiPartitionsDefinition(
        {
            "year": dg.TimeWindowPartitionsDefinition(start="1790", end="1794", fmt="%Y", cron_schedule="0 0 1 1 *"),
            "letter": dg.StaticPartitionsDefinition(["a", "b", "c", "d"]),
        }
    )
    asset = asking(output=Theme, partitions_def=grid, partition_expr={"year": "published_on", "letter": "id"})
    for key in ("a|1790", "d|1793"):
        world.run(asset, partition=key)

    world.run(build_review_asset(asset), beside=[asset])

    rows = world.answers("id, partition_key, text IS NULL", table=QUEUE)
    assert rows == [("a", "a|1790", False), ("d", "d|1793", False)]


@pytest.mark.verify
def test_rows_of_a_partition_that_is_none_any_more_have_no_document(
    world: "DagsterWorld", classification: Declare
) -> None:
    """They leave with the next run of the asset; the queue is made all the same."""
    asset = classification(
        partitions_def=dg.StaticPartitionsDefinition(["1790", "1791"]), partition_expr="year(published_on)"
    )
    world.run(asset, span=("1790", "1791"))
    today = classification(partitions_def=dg.StaticPartitionsDefinition(["1790"]), partition_expr="year(published_on)")

    world.run(build_review_asset(today), beside=[today])

    rows = world.answers("id, text IS NULL", table=QUEUE)
    assert rows == [("a", False), ("b", True), ("c", True)]


@pytest.mark.verify
def test_a_queue_is_beside_its_table_under_whatever_key_it_is_loaded(
    world: "DagsterWorld", classification: Declare
) -> None:
    """It reads documents where they are loaded, and writes where the answers are."""
    world.write("CREATE SCHEMA bronze", "CREATE TABLE bronze.documents AS FROM public.documents")
    world.write("UPDATE bronze.documents SET text = 'loaded ' || text")
    asset = classification(schema="silver", partitions_def=None)
    review = build_review_asset(asset)

    @dg.asset(name="documents")
    def documents() -> None:
        """Documents."""

    module = ModuleType("project")
    vars(module).update(documents=documents, answers=asset, review=review)
    definitions = dg.Definitions(
        assets=dg.load_assets_from_modules([module], key_prefix="bronze"), resources={"claude_batch": world.resource()}
    )

    definitions.resolve_implicit_global_asset_job_def().execute_in_process(instance=world.instance)

    rows = world.read("SELECT text FROM silver.answers_review")
    assert len(rows) == 4
    assert all(text.startswith("loaded ") for (text,) in rows)


def test_dagster_knows_what_a_queue_reads_and_has(classification: Declare) -> None:
    """Answers, documents and labels, each of them once, whatever their partitions; its table and columns."""
    asset = classification(key_prefix="silver", group_name="nlp", owners=["team:nlp"])
    review = build_review_asset(asset, labelled="gold", fields="label", columns="text")

    [spec] = review.specs
    assert spec.key == dg.AssetKey(["silver", "answers_review"])
    assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["silver/answers", "documents", "gold"]
    assert (spec.group_name, spec.owners, review.partitions_def) == ("nlp", ["team:nlp"], None)
    assert spec.metadata["dagster/table_name"] == "silver.answers_review"
    columns = spec.metadata["dagster/column_schema"].columns
    assert [column.name for column in columns] == [
        *("id", "partition_key", "text", "answered_label", "reason", "weight", "label"),
    ]
    assert all(column.description for column in columns)
    [same] = build_review_asset(asset, labelled="documents").specs
    assert [dep.asset_key.to_user_string() for dep in same.deps] == ["silver/answers", "documents"]
    repository = dg.Definitions(
        assets=[asset, review], resources={"claude_batch": dg.ResourceDefinition.none_resource()}
    ).get_repository_def()
    mapping = repository.asset_graph.get_partition_mapping(spec.key, asset.key)
    assert isinstance(mapping, dg.AllPartitionMapping)


def test_a_queue_is_made_of_an_asset_of_this_package(world: "DagsterWorld") -> None:
    """Not of any other, nor of its key."""
    with pytest.raises(
        ConfigurationError, match="is not what build_batch_asset or build_classification_asset returned"
    ):
        build_review_asset(dg.AssetKey("answers"))  # type: ignore[arg-type]


def test_a_path_may_begin_at_home(
    world: "DagsterWorld", asking: Declare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As all paths of the resource may."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    asset = asking(output=Theme)

    world.run(asset, build_review_asset(asset, folder="~/queue"))

    assert (tmp_path / "home" / "queue" / "answers_review.csv").is_file()


@pytest.mark.verify
def test_a_label_comes_back_from_the_queue_as_gold(world: "DagsterWorld", tmp_path: Path) -> None:
    """Filled in by a person, the file is the gold rows of the table: its weights make the accuracy that of all rows."""
    texts = {"economy": "tax and tariff on trade", "war": "the army and the navy at war", "other": "what a nice day"}
    labels = list(texts)
    rows = [(f"d{n:03}", f"{texts[labels[n % 3]]}, {n}", "1790-01-05") for n in range(120)]
    truth = {key: "war" if n % 10 == 0 else labels[n % 3] for n, (key, *_) in enumerate(rows)}
    world.write_documents(rows)
    asset = build_classification_asset(name="answers", upstream="documents", labels=LABELS, confidences=True)
    review = build_review_asset(asset, rows=60, folder=tmp_path)
    world.run(asset, review)
    path = tmp_path / "answers_review.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines))
    assert len(found) == 60
    for row in found:
        row["label"] = truth[row["id"]]
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, fieldnames=[*found[0]])
        writer.writeheader()
        writer.writerows(found)

    measured = build_classification_asset(
        name="answers", upstream="documents", labels=LABELS, confidences=True, gold=path
    )
    result = world.run(measured)

    [told] = [one for one in result.get_asset_check_evaluations() if one.check_name == "accuracy"]
    answers = dict(world.read("SELECT id, label FROM public.answers"))
    weights = {row["id"]: float(row["weight"]) for row in found}
    right = sum(weight for key, weight in weights.items() if answers[key] == truth[key])
    assert told.metadata["claude_batch/accuracy"].value == pytest.approx(right / sum(weights.values()), abs=1e-4)
    assert sum(weights.values()) == pytest.approx(120)
    assert told.metadata["claude_batch/gold_rows"].value == 60
