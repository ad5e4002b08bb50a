"""Starting by itself: the sensor that notices new, changed and removed documents, and the job."""

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb
import pytest

from claude_batch_dagster import build_batch_job, build_new_documents_sensor
from claude_batch_dagster.assets.registry import declaration_of
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.runs.partitions import RANGE_END, RANGE_START, all_keys, partitions_of_keys

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]
STILL = "No document has changed since the last look."

RESTING: tuple[list[Any], str] = ([], "The last run of 2 partitions failed or was canceled; they wait.")
REAL_TIME = time.time


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Return an instance of this test's own, since partitions are added to it."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


LOCK_TIMEOUT_SECONDS = 120.0
"""How long a run waits for the DuckDB file by default."""


class Ticker:
    """A sensor, tick by tick, with its cursor kept as the daemon keeps it."""

    def __init__(
        self, world: "DagsterWorld", asset: dg.AssetsDefinition, lock_timeout_seconds: float = 0.3, **options: Any
    ) -> None:
        self.world = world
        self.cursor: str | None = None
        self.sensor = build_new_documents_sensor(asset, **{"settle_seconds": 0.0, **options})
        self.resources = {"claude_batch": world.resource(lock_timeout_seconds=lock_timeout_seconds)}
        self.repository = dg.Definitions(
            assets=[asset], sensors=[self.sensor], resources=self.resources
        ).get_repository_def()

    def tick(self) -> tuple[list[tuple[str | None, str | None]], str | None]:
        """Return the first and the last partition of each run asked for, and why there is none."""
        with dg.build_sensor_context(
            instance=self.world.instance, cursor=self.cursor, resources=self.resources, repository_def=self.repository
        ) as context:
            told = self.sensor.evaluate_tick(context)
        self.cursor = told.cursor
        for request in told.dynamic_partitions_requests or []:
            self.world.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        self.requests = list(told.run_requests or [])
        self.keys = [request.run_key for request in told.run_requests or []]
        ranges = [(request.tags.get(RANGE_START), request.tags.get(RANGE_END)) for request in told.run_requests or []]
        return ranges, told.skip_message


def test_each_partition_with_documents_is_started_once(world: "DagsterWorld", classification: Declare) -> None:
    """Neighbors share a run; a second look finds nothing new."""
    ticker = Ticker(world, classification())

    assert ticker.tick() == ([("1790", "1791"), ("1793", "1793")], None)
    assert ticker.tick() == ([], STILL)


@pytest.mark.parametrize(
    ("change", "started"),
    [
        ("INSERT INTO public.documents SELECT 'new', text, '1792-03-04' FROM public.documents LIMIT 1",
         [("1792", "1792")]),
        ("UPDATE public.documents SET text = text || '!' WHERE year(published_on::DATE) = 1793", [("1793", "1793")]),
        ("DELETE FROM public.documents WHERE year(published_on::DATE) = 1793", [("1793", "1793")]),
    ],
    ids=["new", "changed", "gone"],
)  # fmt: skip
def test_what_changed_is_started(
    world: "DagsterWorld", classification: Declare, change: str, started: list[tuple[str, str]]
) -> None:
    """New, changed and removed documents start their partition, and no other."""
    ticker = Ticker(world, classification())
    ticker.tick()
    world.write(change)

    assert ticker.tick() == (started, None)
    assert ticker.tick() == ([], STILL)


def test_documents_that_change_back_are_started_again(world: "DagsterWorld", classification: Declare) -> None:
    """Under another run key: Dagster runs a key once, for ever."""
    ticker = Ticker(world, classification())
    ticker.tick()
    seen = set(ticker.keys)
    for change in ("text || '!'", "rtrim(text, '!')"):
        world.write(f"UPDATE public.documents SET text = {change} WHERE year(published_on::DATE) = 1793")  # noqa: S608
        assert ticker.tick() == ([("1793", "1793")], None)
        assert seen.isdisjoint(ticker.keys)
        seen |= set(ticker.keys)


def launch(world: "DagsterWorld", asset: dg.AssetsDefinition, request: dg.RunRequest) -> bool:
    """Run what the sensor asked for; say whether it succeeded."""
    result = dg.materialize(
        [asset],
        instance=world.instance,
        resources={"claude_batch": world.resource()},
        tags=dict(request.tags),
        raise_on_error=False,
    )
    return result.success


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the clock so many seconds ahead of the real one."""
    monkeypatch.setattr(time, "time", lambda: REAL_TIME() + seconds)


@pytest.mark.verify
def test_a_partition_whose_run_failed_is_started_again(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under another key, after a pause that doubles; what succeeded is left alone."""
    asset = classification()
    ticker = Ticker(world, asset)
    ticker.tick()
    keys, [failing, succeeding] = set(ticker.keys), ticker.requests
    assert launch(world, asset, succeeding)
    world.emulator.faults.add("401")
    assert not launch(world, asset, failing)

    assert ticker.tick() == RESTING
    later(monkeypatch, 121)
    assert ticker.tick() == ([("1790", "1791")], None)
    assert keys.isdisjoint(ticker.keys)
    assert not launch(world, asset, ticker.requests[0])
    later(monkeypatch, 2 * 121)
    assert ticker.tick() == RESTING
    later(monkeypatch, 3 * 121)
    assert ticker.tick() == ([("1790", "1791")], None)
    world.emulator.faults.clear()
    assert launch(world, asset, ticker.requests[0])
    assert ticker.tick() == ([], STILL)
    assert (world.statuses(), world.paid_twice) == ({"succeeded": 4}, [])


@pytest.mark.verify
@pytest.mark.parametrize("options", [{}, {"partitions_def": None, "partition_expr": None}], ids=["years", "whole"])
def test_a_run_that_was_canceled_is_started_again(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """While it is in the queue it is left alone; canceled there, it has answered nothing."""
    asset = classification(**options)
    ticker = Ticker(world, asset)
    asked, _ = ticker.tick()
    defs = dg.Definitions(assets=[asset], resources={"claude_batch": world.resource()})
    job = defs.resolve_implicit_global_asset_job_def()
    runs = [world.instance.create_run_for_job(job, tags=dict(request.tags)) for request in ticker.requests]
    assert ticker.tick() == ([], STILL)
    for run in runs:
        world.instance.report_run_canceled(run)

    assert str(ticker.tick()[1]).startswith("The last run of")
    later(monkeypatch, 121)
    assert ticker.tick() == (asked, None)


@pytest.mark.verify
def test_a_partition_whose_documents_are_gone_is_started_again_too(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers are to be removed, which the run that failed has not done."""
    asset = classification()
    ticker = Ticker(world, asset)
    ticker.tick()
    world.write("DELETE FROM public.documents WHERE year(published_on::DATE) = 1793")
    ticker.tick()
    world.write("ALTER TABLE public.documents RENAME TO elsewhere")
    assert not launch(world, asset, ticker.requests[0])
    world.write("ALTER TABLE public.elsewhere RENAME TO documents")
    ticker.tick()
    later(monkeypatch, 121)

    assert ticker.tick() == ([("1793", "1793")], None)


def test_f104_a_tick_that_is_repeated_gives_the_same_keys(world: "DagsterWorld", classification: Declare) -> None:
    """The daemon died before it had kept the cursor: what was started already is not started again."""
    ticker = Ticker(world, classification())
    ticker.tick()
    kept = ticker.cursor
    world.write("UPDATE public.documents SET text = text || '!'")
    ticker.tick()
    first, ticker.cursor = ticker.keys, kept

    ticker.tick()

    assert ticker.keys == first


def test_the_cursor_is_small(world: "DagsterWorld", classification: Declare) -> None:
    """Dagster keeps it with every tick, and no more than 64 kB of it on MySQL: for days that is a few years of them."""
    days = dg.DailyPartitionsDefinition("2020-01-01", end_date="2022-09-27")
    world.write(
        "INSERT INTO public.documents SELECT d::DATE, 'a day', d::DATE "
        "FROM range(TIMESTAMP '2020-01-01', TIMESTAMP '2022-09-27', INTERVAL 1 DAY) r(d)"
    )
    asset = classification(partitions_def=days, partition_expr="published_on")
    changing = Ticker(world, asset, settle_seconds=60.0)
    started = Ticker(world, asset, max_partitions_per_tick=1000)

    changing.tick()
    assert started.tick() == ([("2020-01-01", "2022-09-26")], None)

    assert len(changing.cursor or "") < 42 * 1000
    assert len(started.cursor or "") < 26 * 1000


@pytest.mark.parametrize("options", [{}, {"partitions_def": None, "partition_expr": None}], ids=["years", "whole"])
def test_a_cursor_with_whole_fingerprints_is_understood(
    world: "DagsterWorld", classification: Declare, options: dict[str, Any]
) -> None:
    """What earlier versions have started, or were waiting for, is not taken for new."""
    asset = classification(**options)
    declared = declaration_of(asset)
    with world.resource().open_upstream(declared.task.upstream) as upstream:
        keys = list(all_keys(declared.spec.partitions_def, world.instance))
        found = upstream.fingerprints(partitions_of_keys(declared.spec.partitions_def, keys))
    marks = {key or "": mark for key, mark in found.items()}
    before = {"started": {}, "changing": {}, "n_starts": 3, "epoch": 7}
    ticker = Ticker(world, asset, settle_seconds=60.0)

    ticker.cursor = json.dumps({**before, "started": marks})
    assert ticker.tick() == ([], STILL)
    ticker.cursor = json.dumps({**before, "changing": {key: [mark, time.time() - 61] for key, mark in marks.items()}})
    asked, _ = ticker.tick()
    assert asked
    assert ticker.tick() == ([], STILL)


def test_a_locked_database_is_a_reason_to_skip(world: "DagsterWorld", classification: Declare) -> None:
    """Somebody has it open; the next tick looks again."""
    ticker = Ticker(world, classification())
    world.let_go()
    with duckdb.connect(world.database, config={"threads": 1}):
        asked, why = ticker.tick()

    assert asked == []
    assert str(why).startswith("Not now: the DuckDB file")


def test_a_held_database_does_not_take_the_whole_tick(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs wait two minutes for it by default; a tick has one minute in all, so it is skipped before."""
    monkeypatch.setattr("claude_batch_dagster.resource.PATIENCE_SECONDS", 0.3)
    ticker = Ticker(world, classification(), lock_timeout_seconds=LOCK_TIMEOUT_SECONDS)
    began = time.monotonic()
    world.let_go()
    with duckdb.connect(world.database, config={"threads": 1}):
        asked, why = ticker.tick()

    assert asked == []
    assert str(why).startswith("Not now: the DuckDB file")
    assert time.monotonic() - began < LOCK_TIMEOUT_SECONDS


def test_a_table_that_takes_too_long_to_read_is_a_reason_to_skip(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster would end the tick without a word: it is ended before, and says what to do."""
    monkeypatch.setattr("claude_batch_dagster.storage.duckdb.asking.partition_fingerprints.LONGEST_LOOK_SECONDS", 0.3)
    slow = "SELECT * FROM public.documents WHERE (SELECT sum(range) FROM range(1000000000000)) > 0"
    ticker = Ticker(world, classification(sql=slow))

    asked, why = ticker.tick()

    assert asked == []
    assert "takes longer than 0 s to look through, and every tick does so. Make a table of" in str(why)
    assert world.read("SELECT 1") == [(1,)]


def test_a_tick_opens_the_database_once(
    world: "DagsterWorld", classification: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time it may have to wait for somebody who holds it, and the waits of a tick add up."""
    both = dg.MultiPartitionsDefinition(
        {"kind": dg.DynamicPartitionsDefinition(name="kinds"), "year": dg.DynamicPartitionsDefinition(name="years")}
    )
    by = {"kind": "'letter'", "year": "year(published_on::DATE)::VARCHAR"}
    ticker = Ticker(world, classification(partitions_def=both, partition_expr=by))
    opened, real = [], duckdb.connect

    def connect(database: str, **options: Any) -> duckdb.DuckDBPyConnection:
        opened.append(database)
        return real(database, **options)

    monkeypatch.setattr(duckdb, "connect", connect)
    asked, _ = ticker.tick()

    assert opened == [world.database]
    assert asked == [("letter|1790", "letter|1793")]
    assert list(world.instance.get_dynamic_partitions("kinds")) == ["letter"]


def test_new_keys_become_dynamic_partitions(world: "DagsterWorld", classification: Declare) -> None:
    """They are added before their run is asked for."""
    parts = dg.DynamicPartitionsDefinition(name="parts")
    ticker = Ticker(world, classification(partitions_def=parts, partition_expr="'part ' || year(published_on::DATE)"))

    asked, _ = ticker.tick()

    assert sorted(world.instance.get_dynamic_partitions("parts")) == ["part 1790", "part 1791", "part 1793"]
    assert asked == [("part 1790", "part 1793")]


def test_an_asset_without_partitions_is_started_as_a_whole(world: "DagsterWorld", classification: Declare) -> None:
    """Its one fingerprint is that of the table."""
    ticker = Ticker(world, classification(partitions_def=None, partition_expr=None))

    assert ticker.tick() == ([(None, None)], None)
    assert ticker.tick() == ([], STILL)


def test_documents_of_an_io_manager_cannot_be_watched(classification: Declare) -> None:
    """There is no table to ask."""
    with pytest.raises(ConfigurationError, match="cannot ask an IO manager"):
        build_new_documents_sensor(classification(upstream=dg.AssetIn("documents")))


@pytest.mark.verify
def test_the_job_materializes_the_asset_alone_and_does_not_hang_for_ever(
    world: "DagsterWorld", classification: Declare
) -> None:
    """It is ended after 30 hours: a batch takes 24, and what expired may be asked again."""
    asset = classification()
    defs = dg.Definitions(assets=[asset], jobs=[build_batch_job(asset)], resources={"claude_batch": world.resource()})

    job = defs.resolve_job_def("answers_job")

    assert job.tags["dagster/max_runtime"] == "108000"
    assert job.execute_in_process(instance=world.instance, partition_key="1790").success
    assert world.statuses() == {"succeeded": 1}
