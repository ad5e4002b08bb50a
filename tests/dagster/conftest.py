"""What the tests of the Dagster face share: a warehouse, an emulator behind a real socket, a Dagster instance."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import orjson
import pandas as pd
import pytest
from dagster._core.storage.db_io_manager import DbTypeHandler
from dagster_duckdb import DuckDBIOManager, DuckDBResource
from dagster_duckdb.io_manager import DuckDbClient

from claude_batch_dagster import Ask, ClaudeBatchResource, build_batch_asset, build_classification_asset
from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from tests.canary import KEY, in_runs, marked

LABELS = {"economy": "tax tariff trade money", "war": "army navy war battle", "other": "anything else"}
DOCUMENTS = [
    ("a", "tax and tariff on trade", "1790-01-05"),
    ("b", "the army and the navy at war", "1791-05-05"),
    ("c", "money and taxes for the trade", "1791-12-31"),
    ("d", "a battle of the army", "1793-07-07"),
]
"""Nothing was written in 1792."""

DOCUMENT_KINDS = "id VARCHAR, text VARCHAR, published_on DATE"

DAGSTERS_OWN = "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
"""Dagster 1.13.27 warns of itself wherever a resource nests another."""

BRIEF_SECONDS = 1
"""How long a batch of the emulator that tests share may take."""

AS_DAGSTER: dict[str, Any] = {"custom_user_agent": "dagster"}
"""How dagster-duckdb opens a database: within a process all who have it open must open it alike."""

ASKED = {setting.name for setting in fields(Ask)}
"""Settings of the question rather than of the asset."""

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a warning pass that Dagster gives itself."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(DAGSTERS_OWN))


def write_documents(
    database: str, rows: Sequence[tuple[Any, ...]] = DOCUMENTS, kinds: str = DOCUMENT_KINDS, *, canary: bool = True
) -> None:
    """Write rows over the table of documents of a database, with the canary in each text unless told otherwise."""
    if canary:
        texts = [kind.startswith("text ") for kind in kinds.split(", ")]
        rows = [tuple(marked(cell) if text else cell for cell, text in zip(row, texts, strict=True)) for row in rows]
    holders = ", ".join("?" for _ in kinds.split(", "))
    with duckdb.connect(database, config=AS_DAGSTER) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")
        connection.execute(f"CREATE OR REPLACE TABLE public.documents ({kinds})")
        if rows:
            connection.executemany(f"INSERT INTO public.documents VALUES ({holders})", rows)  # noqa: S608  (marks only)


@dataclass(kw_only=True)
class DagsterWorld:
    """One warehouse, one state directory, one Dagster instance, and the emulator as this test sees it."""

    folder: Path
    url: str
    emulator: Emulator
    instance: dg.DagsterInstance
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the resource that are not the defaults below."""
    console_level: str = "CRITICAL"
    """What Dagster prints; all of it takes a tenth of a run."""
    n_posts_before: int = field(init=False)
    n_requests_before: int = field(init=False)
    _open: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.n_posts_before = self.emulator.audit.n_posts()
        self.n_requests_before = len(list(self.emulator.audit.requests()))

    @property
    def database(self) -> str:
        """Path of the warehouse."""
        return str(self.folder / "warehouse.duckdb")

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.folder / "state"

    def keep_open(self) -> None:
        """Hold the database, so that opening it again within this process takes no time."""
        self._open.enter_context(duckdb.connect(self.database, config=AS_DAGSTER))

    def let_go(self) -> None:
        """Close what was kept open, for a test in which others open the file, delete it or look at it."""
        self._open.close()

    def write(self, *statements: str) -> None:
        """Execute statements in the warehouse."""
        with duckdb.connect(self.database, config=AS_DAGSTER) as connection:
            for statement in statements:
                connection.execute(statement)

    def write_documents(
        self, rows: Sequence[tuple[Any, ...]] = DOCUMENTS, *, kinds: str = DOCUMENT_KINDS, canary: bool = True
    ) -> None:
        """Write rows over the table of documents, with the canary in each text unless told otherwise."""
        write_documents(self.database, rows, kinds, canary=canary)

    def read(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with duckdb.connect(self.database, config=AS_DAGSTER) as connection:
            return connection.execute(query).fetchall()

    def answers(self, columns: str = "id, label, status", *, table: str = "public.answers") -> list[tuple[Any, ...]]:
        """Return columns of the table of answers, in the order of the first."""
        return self.read(f"SELECT {columns} FROM {table} ORDER BY ALL")  # noqa: S608  (SQL of the test's own)

    def statuses(self, *, table: str = "public.answers") -> dict[str, int]:
        """Count the rows of the table of answers by verdict."""
        return dict(self.read(f"SELECT status, count(*)::INT FROM {table} GROUP BY ALL"))  # noqa: S608  (SQL of the test's own)

    def errors(self, *, table: str = "public.answers") -> dict[Any, str | None]:
        """Return the error of each key."""
        return dict(self.read(f"SELECT id, error FROM {table}"))  # noqa: S608  (SQL of the test's own)

    def resource(self, **settings: Any) -> ClaudeBatchResource:
        """Return the resource, quick to poll and to give up."""
        given: dict[str, Any] = {
            "api_key": dg.EnvVar("CLAUDE_TEST_KEY"),
            "base_url": self.url,
            "database": DuckDBResource(database=self.database),
            "state_directory": str(self.state),
            "poll_interval_seconds": 0.02,
            "max_poll_interval_seconds": 0.05,
            "lock_timeout_seconds": 0.3,
            "quiet_period_seconds": 0.2,
            **self.settings,
            **settings,
        }
        return ClaudeBatchResource(**given)

    def run(
        self,
        *assets: Any,
        beside: Sequence[Any] = (),
        partition: str | None = None,
        span: tuple[str, str] | None = None,
        raises: bool = True,
        resources: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> dg.ExecuteInProcessResult:
        """
        Materialize assets, not those beside them: one partition, a range of them, or all there is.

        `config` is what the run is told, of the first asset.
        """
        return dg.materialize(
            [*assets, *beside],
            selection=list(assets) if beside else None,
            instance=self.instance,
            resources={"claude_batch": self.resource(**settings), **(resources or {})},
            partition_key=partition,
            run_config={
                "loggers": {"console": {"config": {"log_level": self.console_level}}},
                **({"ops": {assets[0].op.name: {"config": dict(config)}}} if config else {}),
            },
            tags=dict(zip(RANGE, span, strict=True)) if span else None,
            raise_on_error=raises,
        )

    @property
    def n_posts(self) -> int:
        """How often this test has tried to create a batch."""
        return self.emulator.audit.n_posts() - self.n_posts_before

    @property
    def sent(self) -> list[str]:
        """Digests of the params that this test has sent, in order."""
        return [request.params_sha256 for request in self._requests()]

    @property
    def paid_twice(self) -> list[str]:
        """Digests of params that were answered, and so paid for, more than once."""
        paid = Counter(request.params_sha256 for request in self._requests() if request.billed)
        return [digest for digest, n in paid.items() if n > 1]

    def _requests(self) -> list[Any]:
        return list(self.emulator.audit.requests())[self.n_requests_before :]


@pytest.fixture(scope="session")
def served() -> Iterator[tuple[Emulator, str]]:
    """Return an emulator that ends batches at once, and its URL."""
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    with serving(emulator) as url:
        yield emulator, url
    emulator.close()


@pytest.fixture
def emulator(served: tuple[Emulator, str]) -> Iterator[Emulator]:
    """Return the emulator that tests share; its faults are lifted afterwards."""
    yield served[0]
    served[0].faults.clear()
    slowest, served[0].pace.batch_seconds = served[0].pace.batch_seconds, 0
    assert slowest <= BRIEF_SECONDS, "later runs may have to wait for batches that go on: take own_world"


@pytest.fixture(scope="session")
def shared_instance() -> Iterator[dg.DagsterInstance]:
    """Return a Dagster instance for tests that do not ask it for all of its runs: making one takes a while."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def instance(shared_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """Return the shared instance; a module that needs one of its own defines this again."""
    return shared_instance


@pytest.fixture
def watched(instance: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """Return the instance; what it keeps of the test's runs is searched for canaries afterwards."""
    began = datetime.now(UTC)
    yield instance
    runs = instance.get_runs(dg.RunsFilter(created_after=began))
    assert list(in_runs(instance, runs)) == []


@pytest.fixture
def empty_world(
    tmp_path: Path,
    served: tuple[Emulator, str],
    emulator: Emulator,
    watched: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> DagsterWorld:
    """Return a world without a warehouse."""
    monkeypatch.setenv("CLAUDE_TEST_KEY", KEY)
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return DagsterWorld(folder=tmp_path, url=served[1], emulator=emulator, instance=watched)


@pytest.fixture(scope="session")
def warehouse_of_documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a warehouse with the four documents: copying it is quicker than writing another."""
    path = tmp_path_factory.mktemp("template") / "warehouse.duckdb"
    write_documents(str(path))
    return path


@pytest.fixture
def world(empty_world: DagsterWorld, warehouse_of_documents: Path) -> Iterator[DagsterWorld]:
    """Return a world whose warehouse holds four documents, none of them of 1792, and is kept open."""
    shutil.copyfile(warehouse_of_documents, empty_world.database)
    empty_world.keep_open()
    yield empty_world
    empty_world.let_go()


@pytest.fixture
def other_world(
    tmp_path: Path, watched: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Emulator], DagsterWorld]]:
    """Return a function that gives a world with documents around an emulator of the test's own."""
    monkeypatch.setenv("CLAUDE_TEST_KEY", KEY)
    with ExitStack() as stack:

        def around(emulator: Emulator) -> DagsterWorld:
            stack.callback(emulator.close)
            url = stack.enter_context(serving(emulator))
            world = DagsterWorld(folder=tmp_path, url=url, emulator=emulator, instance=watched)
            world.write_documents()
            return world

        yield around


@pytest.fixture
def own_world(other_world: Callable[[Emulator], DagsterWorld]) -> DagsterWorld:
    """Return a world whose emulator is the test's own, so that its batches may go on after the test."""
    return other_world(Emulator(clock=SystemClock(), batch_seconds=0))


@pytest.fixture
def years() -> dg.TimeWindowPartitionsDefinition:
    """Return partitions by year from 1790 to 1793."""
    return dg.TimeWindowPartitionsDefinition(start="1790", end="1794", fmt="%Y", cron_schedule="0 0 1 1 *")


@pytest.fixture
def classification(years: dg.TimeWindowPartitionsDefinition) -> Callable[..., dg.AssetsDefinition]:
    """Return a function that declares `answers`, the labels of `documents` by year unless said otherwise."""

    def declare(**options: Any) -> dg.AssetsDefinition:
        given: dict[str, Any] = {"name": "answers", "upstream": "documents", "labels": LABELS}
        if "partitions_def" not in options:
            given |= {"partitions_def": years, "partition_expr": "published_on"}
        return build_classification_asset(**{**given, **options})

    return declare


@pytest.fixture
def asking() -> Callable[..., dg.AssetsDefinition]:
    """Return a function that declares `answers`, general answers to unpartitioned `documents`."""

    def declare(**options: Any) -> dg.AssetsDefinition:
        given = {"name": "answers", "upstream": "documents", "prompt": "{text}", **options}
        asked = {name: given.pop(name) for name in ASKED & given.keys()}
        return build_batch_asset(ask=Ask(**asked), **given)

    return declare


@pytest.fixture
def digest() -> Callable[[Mapping[str, Any]], str]:
    """Return a function that gives the digest under which the emulator remembers params."""

    def digest(params: Mapping[str, Any]) -> str:
        return hashlib.sha256(orjson.dumps(params, option=orjson.OPT_SORT_KEYS)).hexdigest()

    return digest


class FrameHandler(DbTypeHandler[pd.DataFrame]):
    """What dagster-duckdb-pandas does, in the few lines that it takes."""

    def handle_output(self, context: Any, table_slice: Any, obj: pd.DataFrame, connection: Any) -> None:  # noqa: ARG002  (Dagster's signature)
        """Append the frame to its table."""
        name = f"{table_slice.schema}.{table_slice.table}"
        connection.register("frame", obj)
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} AS SELECT * FROM frame LIMIT 0")  # noqa: S608  (SQL of the test's own)
        connection.execute(f"INSERT INTO {name} SELECT * FROM frame")  # noqa: S608  (SQL of the test's own)

    def load_input(self, context: Any, table_slice: Any, connection: Any) -> pd.DataFrame:  # noqa: ARG002  (as above)
        """Return the slice of the table; DuckDB's own `df()` makes pandas 3.1 warn."""
        result = connection.execute(DuckDbClient.get_select_statement(table_slice))
        return pd.DataFrame(result.fetchall(), columns=[column for column, *_ in result.description])

    @property
    def supported_types(self) -> Sequence[type[object]]:
        """Frames only."""
        return [pd.DataFrame]


class FrameIOManager(DuckDBIOManager):
    """dagster-duckdb's IO manager for pandas."""

    @classmethod
    def _is_dagster_maintained(cls) -> bool:
        return False

    @staticmethod
    def type_handlers() -> Sequence[DbTypeHandler[Any]]:
        """Return the one handler."""
        return [FrameHandler()]


@pytest.fixture
def frames(empty_world: DagsterWorld) -> FrameIOManager:
    """Return dagster-duckdb's IO manager, for pandas, over the warehouse of the world."""
    return FrameIOManager(database=empty_world.database)
