from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd
import pytest

from claude_batch_dagster.errors import ConfigurationError, TemplateError, UpstreamError
from tests.canary import marked

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld, FrameIOManager

Declare = Callable[..., dg.AssetsDefinition]


class FramesByPartition(dg.IOManager):
    """Hands over a frame for each partition, as the default file IO manager does with a range."""

    def __init__(self, frames: Mapping[str, Any]) -> None:
        self.frames = frames

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Keep nothing."""

    def load_input(self, context: dg.InputContext) -> Any:
        """Return the one frame that is asked for, or a mapping of several."""
        asked = context.asset_partition_keys
        return self.frames[asked[0]] if len(asked) == 1 else {key: self.frames[key] for key in asked}


def frame(*rows: tuple[Any, str, Any], canary: bool = True) -> pd.DataFrame:
    """Return documents as a DataFrame, with the canary in each text unless told otherwise."""
    texts = [(key, marked(text) if canary else text, day) for key, text, day in rows]
    return pd.DataFrame(texts, columns=["id", "text", "published_on"], dtype=object)


def declared(*columns: str, **metadata: Any) -> dg.AssetSpec:
    """Return an upstream asset that declares its columns."""
    schema = dg.TableSchema([dg.TableColumn(name) for name in columns])
    return dg.AssetSpec("documents", metadata={"dagster/column_schema": schema, **metadata})


# --- tables -------------------------------------------------------------------------------------------


@pytest.mark.verify
@pytest.mark.parametrize(
    "upstream",
    ["documents", ["documents"], dg.AssetKey("documents"), dg.AssetSpec("documents"), dg.AssetDep("documents")],
    ids=lambda upstream: type(upstream).__name__,
)
def test_an_upstream_may_be_named_in_any_way(world: "DagsterWorld", classification: Declare, upstream: Any) -> None:
    """A name, a path, a key, a spec and a dep mean the same table, and the same edge of the graph."""
    asset = classification(upstream=upstream)

    world.run(asset, partition="1790")

    assert world.answers() == [("a", "economy", "succeeded")]
    assert asset.dependency_keys == {dg.AssetKey("documents")}


@pytest.mark.verify
def test_a_key_prefix_is_the_schema(world: "DagsterWorld", classification: Declare) -> None:
    """The last part of a prefix is the schema: of the table that is read, and of the one that is written."""
    world.write("CREATE SCHEMA raw", "CREATE TABLE raw.speeches AS FROM public.documents")
    asset = classification(upstream=["lake", "raw", "speeches"], key_prefix=["house", "silver"])

    world.run(asset, partition="1790")

    assert asset.key == dg.AssetKey(["house", "silver", "answers"])
    assert world.answers(table="silver.answers") == [("a", "economy", "succeeded")]


@pytest.mark.verify
def test_schema_beats_the_key_prefix(world: "DagsterWorld", classification: Declare) -> None:
    """`schema` says where the table is, whatever the prefix."""
    asset = classification(key_prefix="silver", schema="gold mine")

    world.run(asset, partition="1790")

    assert world.answers(table='"gold mine".answers') == [("a", "economy", "succeeded")]
    assert asset.metadata_by_key[asset.key]["schema"] == "gold mine"


@pytest.mark.verify
def test_the_schema_that_the_upstream_declares_is_read(world: "DagsterWorld", classification: Declare) -> None:
    """An upstream whose metadata names a schema, as dagster-duckdb's IO managers honor it, is read from there."""
    world.write("CREATE SCHEMA raw", "ALTER TABLE public.documents RENAME TO gone")
    world.write("CREATE TABLE raw.documents AS FROM public.gone")

    world.run(classification(upstream=dg.AssetSpec("documents", metadata={"schema": "raw"})), partition="1790")

    assert world.answers() == [("a", "economy", "succeeded")]


@pytest.mark.verify
def test_answers_can_be_asked_about(world: "DagsterWorld", classification: Declare) -> None:
    """The table of one batch asset is the upstream of another, also in a schema of its own."""
    first = classification(name="first", schema="silver", partitions_def=None)
    second = classification(upstream=first, partitions_def=None, text_column="label")

    world.run(first, second)

    assert world.statuses() == {"succeeded": 4}


def test_a_query_instead_of_a_table(world: "DagsterWorld", classification: Declare) -> None:
    """With `sql` the upstream asset is only what to wait for; the rows are those of the query."""
    asset = classification(
        upstream="somewhere_else",
        sql="SELECT id, text AS body, published_on AS day FROM public.documents WHERE text LIKE '%war%'",
        text_column="body",
        partition_expr="day",
    )

    world.run(asset, span=("1790", "1793"))

    assert world.answers() == [("b", "war", "succeeded")]


@pytest.mark.verify
@pytest.mark.parametrize("end", [";", " ;\n", "\n-- the end", " -- the end"])
def test_a_query_may_end_as_queries_do(world: "DagsterWorld", classification: Declare, end: str) -> None:
    """A semicolon or a comment at the end of a query does not hurt."""
    query = "SELECT * FROM public.documents"

    world.run(classification(sql=query + end), partition="1790")

    assert world.answers() == [("a", "economy", "succeeded")]


@pytest.mark.verify
def test_f119_hostile_names_of_tables_and_columns(world: "DagsterWorld", classification: Declare) -> None:
    """Names of schemas, tables and columns are quoted, whatever they hold."""
    world.write(
        'CREATE SCHEMA "my ""schema"""',
        'CREATE TABLE "my ""schema"""."do\'cu;ments--" AS SELECT id AS "the ""key""; DROP", * FROM public.documents',
    )
    asset = classification(
        upstream="somewhere_else",
        sql='SELECT * FROM "my ""schema"""."do\'cu;ments--"',
        key='the "key"; DROP',
        schema='out "put";--',
    )

    world.run(asset, partition="1790")
    world.run(asset, partition="1790")

    assert world.answers('"the ""key""; DROP", label', table='"out ""put"";--".answers') == [("a", "economy")]
    assert world.n_posts == 1


@pytest.mark.verify
def test_f119_a_hostile_upstream_key(world: "DagsterWorld", classification: Declare) -> None:
    """An asset key that is no SQL name is read as the table of exactly that name."""
    world.write('CREATE SCHEMA "my-lake"', 'CREATE TABLE "my-lake"."select" AS FROM public.documents')

    world.run(classification(upstream=["my-lake", "select"]), partition="1790")

    assert world.answers() == [("a", "economy", "succeeded")]


# --- what is missing ----------------------------------------------------------------------------------


def test_f1_a_missing_table_sends_nothing(empty_world: "DagsterWorld", classification: Declare) -> None:
    """A table that is not there is named, with what to do, before anything is sent."""
    with pytest.raises(UpstreamError, match=r"table public\.documents cannot be read.*Nothing was sent.*aterialize it"):
        empty_world.run(classification(), partition="1790")

    assert empty_world.n_posts == 0


def test_f1_a_missing_key_column_sends_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """A key column that is not there is named beside those that are."""
    with pytest.raises(UpstreamError, match=r"key needs column 'uuid'.*Its columns are: id, text, published_on"):
        world.run(classification(key="uuid"), partition="1790")

    assert world.n_posts == 0


def test_f1_a_missing_prompt_column_sends_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """A template that names a column which the table lacks is told so."""
    with pytest.raises(UpstreamError, match=r"prompt needs column 'body'.*Nothing was sent"):
        world.run(classification(text_column="body"), partition="1790")

    assert world.n_posts == 0


def test_f1_a_missing_sample_column_sends_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """A sample column that is not there is told before anything is paid for."""
    with pytest.raises(UpstreamError, match=r"column 'titel'.*Nothing was sent"):
        world.run(classification(sample_columns=["titel"]), partition="1790")

    assert world.n_posts == 0


def test_f1_a_broken_query_sends_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """A query that DuckDB refuses is told with DuckDB's reason."""
    with pytest.raises(UpstreamError, match=r"query sql= cannot be read: .*nowhere.*Nothing was sent"):
        world.run(classification(sql="SELECT * FROM nowhere"), partition="1790")

    assert world.n_posts == 0


def test_f1_f5_a_key_of_an_unusable_type_sends_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """A list cannot be a key; the message says to cast it."""
    asset = classification(sql="SELECT [id] AS id, text, published_on FROM public.documents")

    with pytest.raises(UpstreamError, match=r"key column 'id' is of type VARCHAR\[\].*Cast it to VARCHAR"):
        world.run(asset, partition="1790")

    assert world.n_posts == 0


@pytest.mark.parametrize("option", [{"key": "uuid"}, {"sample_columns": ["uuid"]}])
def test_a_column_known_to_be_missing_is_told_at_once(classification: Declare, option: dict[str, Any]) -> None:
    """An upstream that declares its columns is checked when the asset is declared."""
    with pytest.raises(ConfigurationError, match=r"column 'uuid' is not among.*'documents' declares: id, text"):
        classification(upstream=declared("id", "text"), **option)


def test_a_template_with_a_column_known_to_be_missing(classification: Declare) -> None:
    """A template is at fault when it names a column that the upstream is known not to have."""
    with pytest.raises(TemplateError, match=r"column 'body' is not among the columns that asset 'documents' declares"):
        classification(upstream=declared("id", "text"), text_column="body")


def test_declared_columns_are_compared_as_duckdb_compares(classification: Declare) -> None:
    """Case does not matter, and the definition of an asset is as good as its spec."""

    @dg.asset(metadata=declared("ID", "Text").metadata)
    def documents() -> None:
        pass

    assert classification(upstream=documents).dependency_keys == {dg.AssetKey("documents")}


@pytest.mark.verify
def test_a_query_has_columns_of_its_own(world: "DagsterWorld", classification: Declare) -> None:
    """What the upstream declares says nothing of the columns of a query over it."""
    asset = classification(upstream=declared("key", "body"), sql="SELECT id, text, published_on FROM public.documents")

    world.run(asset, partition="1790")

    assert world.answers() == [("a", "economy", "succeeded")]


# --- frames -------------------------------------------------------------------------------------------


@pytest.fixture
def documents(years: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """Return an asset that an IO manager keeps, by year."""

    @dg.asset(
        name="documents", partitions_def=years, metadata={"partition_expr": "published_on"}, io_manager_key="frames"
    )
    def documents() -> pd.DataFrame:
        return frame(("a", "tax", date(1790, 5, 5)))

    return documents


def test_a_frame_through_dagster_duckdb(
    empty_world: "DagsterWorld", frames: "FrameIOManager", classification: Declare, documents: dg.AssetsDefinition
) -> None:
    """A DataFrame that dagster-duckdb's IO manager hands over is answered like a table."""
    asset = classification(upstream=dg.AssetIn("documents", input_manager_key="frames"))

    empty_world.run(documents, partition="1790", resources={"frames": frames})
    empty_world.run(asset, beside=[documents], partition="1790", resources={"frames": frames})

    assert empty_world.answers("id, label, partition_key") == [("a", "economy", "1790")]
    assert asset.dependency_keys == {dg.AssetKey("documents")}


@pytest.mark.verify
def test_a_range_of_a_frame_through_dagster_duckdb(
    world: "DagsterWorld", frames: "FrameIOManager", classification: Declare, documents: dg.AssetsDefinition
) -> None:
    """A range is handed over as one frame, and each row finds its partition."""
    asset = classification(upstream=dg.AssetIn("documents", input_manager_key="frames"))

    result = world.run(asset, beside=[documents], span=("1790", "1793"), resources={"frames": frames})

    assert len(result.asset_materializations_for_node("answers")) == 4
    assert world.answers("id, partition_key") == [("a", "1790"), ("b", "1791"), ("c", "1791"), ("d", "1793")]


@pytest.mark.verify
def test_a_frame_for_each_partition(
    empty_world: "DagsterWorld", classification: Declare, documents: dg.AssetsDefinition
) -> None:
    """An IO manager that hands over a mapping of frames, one of them empty, is understood."""
    by_year = {
        "1790": frame(("a", "tax", "1790-05-05")),
        "1791": frame(("b", "war", "1791-05-05"), ("c", "navy", "1791-06-06")),
        "1792": frame(("d", "tax", "1792-01-01")).iloc[:0],
    }
    asset = classification(upstream=dg.AssetIn("documents"), partition_expr="published_on::DATE")
    resources = {"frames": FramesByPartition(by_year)}

    empty_world.run(asset, beside=[documents], span=("1790", "1792"), resources=resources)
    empty_world.run(asset, beside=[documents], partition="1791", resources=resources)

    assert empty_world.answers("id, partition_key") == [("a", "1790"), ("b", "1791"), ("c", "1791")]
    assert empty_world.n_posts == 1


@pytest.mark.verify
def test_f10_a_frame_with_text_that_is_no_unicode(
    empty_world: "DagsterWorld", classification: Declare, documents: dg.AssetsDefinition
) -> None:
    """A lone surrogate in a frame rejects its own row; its neighbors are answered."""
    given = frame(
        ("a", "tax \ud800", "1790-05-05"), ("b", "war", "1790-05-05"), (None, "war", "1790-05-05"), canary=False
    )
    asset = classification(
        upstream=dg.AssetIn("documents"), partition_expr="published_on::DATE", sample_columns=["text"]
    )

    empty_world.run(
        asset, beside=[documents], partition="1790", resources={"frames": FramesByPartition({"1790": given})}
    )

    assert empty_world.answers("id, status") == [("a", "rejected"), ("b", "succeeded"), (None, "rejected")]
    assert "cannot be encoded as UTF-8" in str(empty_world.errors()["a"])


@pytest.mark.parametrize("handed", [{"1790": [1]}, {"1790": {"a": 1}}, {"1790": None}])
def test_what_is_no_frame_is_refused(
    empty_world: "DagsterWorld", classification: Declare, documents: dg.AssetsDefinition, handed: dict[str, Any]
) -> None:
    """An IO manager that hands over something else is told what is needed."""
    asset = classification(upstream=dg.AssetIn("documents"))

    with pytest.raises(ConfigurationError, match=r"handed over a \w+; a pandas DataFrame is needed"):
        empty_world.run(asset, beside=[documents], partition="1790", resources={"frames": FramesByPartition(handed)})

    assert empty_world.n_posts == 0


@pytest.mark.parametrize("handed", [{"1790": {}}, {"1790": pd.DataFrame()}], ids=["none", "bare"])
def test_a_frame_without_columns_is_refused(
    empty_world: "DagsterWorld", classification: Declare, documents: dg.AssetsDefinition, handed: dict[str, Any]
) -> None:
    """Where there is no frame, or one without columns, the message says what to hand over."""
    asset = classification(upstream=dg.AssetIn("documents"))

    with pytest.raises(ConfigurationError, match=r"without columns.*hand over an empty one"):
        empty_world.run(asset, beside=[documents], partition="1790", resources={"frames": FramesByPartition(handed)})


def test_an_asset_in_needs_its_key(classification: Declare) -> None:
    """`AssetIn()` without a key names no asset."""
    with pytest.raises(ConfigurationError, match=r"needs the key of the asset: AssetIn\('documents'\)"):
        classification(upstream=dg.AssetIn())


def test_metadata_of_an_input_is_refused(classification: Declare) -> None:
    """Dagster would drop it without a word, so it is refused, with what to do."""
    with pytest.raises(ConfigurationError, match=r"metadata=...\) is not supported.*Leave it out"):
        classification(upstream=dg.AssetIn("documents", metadata={"columns": ["id"]}))


def test_a_frame_and_a_query_contradict_each_other(classification: Declare) -> None:
    """`sql` with an `AssetIn` would be ignored, so it is refused."""
    with pytest.raises(ConfigurationError, match="sql= and upstream=AssetIn"):
        classification(upstream=dg.AssetIn("documents"), sql="SELECT 1")
