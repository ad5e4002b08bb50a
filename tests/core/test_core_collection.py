"""Bringing a chunk home: through the client, the spool and the table, whatever the results look like."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anthropic
import orjson
import pytest

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.collecting.collection import Collection
from claude_batch_dagster.core.collecting.downloads import MAX_DOWNLOADS, Downloads
from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.ledger import ChunkRecord, State
from claude_batch_dagster.core.ports import Batch, Clock
from claude_batch_dagster.core.pricing import cost
from claude_batch_dagster.core.sending.chunks import Chunk, OpenRow, new_nonce
from claude_batch_dagster.core.sending.submission import Submission
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.verdicts import CLAIMED
from claude_batch_dagster.errors import ApiUnreachableError, CredentialError, WarehouseLockedError
from claude_batch_dagster.storage.duckdb.asking import questions
from claude_batch_dagster.storage.duckdb.collecting import answers
from claude_batch_dagster.storage.duckdb.collecting.answer_store import AnswerStore
from claude_batch_dagster.storage.duckdb.collecting.landing import Landing
from claude_batch_dagster.storage.duckdb.collecting.output_table import OutputTable
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.files.spool import FileSpool
from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.canary import DOCUMENT, KEY, marked
from tests.core.clocks import CrashError
from tests.core.world import BASE, PIPELINE, SCHEMA, World

N = 5
ALL_GOOD = dict.fromkeys(range(N), "succeeded")


@pytest.fixture
def store(warehouse: Warehouse) -> AnswerStore:
    """Return the answers to five rows that ask, with nothing in them."""
    target, key_types = TableName("main", "answers"), {"id": "INTEGER"}
    with warehouse.connect() as connection:
        OutputTable(target=target, key_types=key_types, schema=SCHEMA).prepare(connection)
        answers.prepare(connection)
        questions.prepare(connection, target, key_types)
        asked = questions.questions_of(target).sql
        connection.execute(f"INSERT INTO {asked} SELECT n, 'p', 'hash ' || n, NULL, NULL FROM range({N}) AS r(n)")  # noqa: S608
    projection = Projection(target=target, key_types=key_types, schema=SCHEMA)
    return AnswerStore(warehouse=warehouse, projection=projection, partition_keys=["p"])


@pytest.fixture
def collection(
    api: AnthropicBatches, ledger: SqlLedger, state: StateDirectory, store: AnswerStore, clock: Clock
) -> Collection:
    """Return the collection of one run."""
    return Collection(
        downloads=Downloads(api=api, spool=FileSpool(state.spool), clock=clock),
        ledger=ledger,
        answers=store,
        clock=clock,
        locks=state,
    )


@pytest.fixture
def sent(api: AnthropicBatches, ledger: SqlLedger, clock: Clock) -> Chunk:
    """Return a chunk whose batch has ended at the API."""
    params = [
        orjson.dumps({**BASE, "messages": [{"role": "user", "content": marked(f"war {key}")}]}) for key in range(N)
    ]
    rows = [OpenRow("p", str(key), f"hash {key}", one, 1) for key, one in enumerate(params)]
    chunk = Chunk(new_nonce(clock.now(), b"0123456789"), rows)
    Submission(api=api, ledger=ledger, clock=clock, pipeline=PIPELINE, run_id="run").submit(chunk)
    clock.sleep(3_600)
    return chunk


@pytest.fixture
def look(api: AnthropicBatches, ledger: SqlLedger, sent: Chunk) -> Callable[[], Batch]:
    """Return a function that asks the API after the batch."""
    return lambda: api.retrieve(ledger.chunk(sent.nonce).batch_id or "")


Look = Callable[[], Batch]


def test_an_ended_batch_comes_home(collection: Collection, sent: Chunk, look: Look, world: World) -> None:
    """Spooled, landed, closed: every row has its verdict in table and ledger, and the books are written."""
    assert collection.collect(sent.nonce, look())

    record, (spend,) = world.ledger.chunk(sent.nonce), world.ledger.spends(PIPELINE)
    assert (world.statuses(), record.state) == (ALL_GOOD, State.APPLIED)
    assert record.ended_at == (record.batch_created_at or world.clock.now()) + timedelta(minutes=1)
    assert world.ledger.requests(sent.nonce).outcomes == ("succeeded",) * N
    costs = world.rows("sum(cost_usd) OVER (), sum(input_tokens) OVER (), sum(output_tokens) OVER ()")
    assert (pytest.approx(spend.cost_usd), spend.input_tokens, spend.output_tokens) == costs[0]
    assert (spend.partition_key, spend.n_requests) == ("p", N)


def test_a_batch_that_has_not_ended_is_left_alone(
    collection: Collection, sent: Chunk, look: Look, world: World
) -> None:
    """So is one that the API did not show."""
    running = replace(look(), processing_status="of_next_year", ended_at=None)

    assert (collection.collect(sent.nonce, running), collection.collect(sent.nonce, None)) == (False, False)
    assert world.ledger.chunk(sent.nonce).state is State.ACCEPTED


def test_f93_a_chunk_that_another_run_brought_home_is_done(
    collection: Collection, sent: Chunk, look: Look, world: World
) -> None:
    """Nothing is downloaded, landed or counted again."""
    batch = look()
    collection.collect(sent.nonce, batch)
    world.emulator.faults.add("500", endpoint="results")

    assert collection.collect(sent.nonce, batch)
    assert len(world.ledger.spends(PIPELINE)) == 1


CUTS = [
    *[f"results_cut_{where}{how}" for where in ("mid_line", "between_lines") for how in ("", "_chunked", "_no_length")],
    "results_missing_line",
    "500",
    "404",
    "connect_error",
]


@pytest.mark.sampled
@pytest.mark.parametrize("fault", CUTS)
def test_f68_f69_f70_results_that_came_in_part_are_downloaded_again(
    collection: Collection, sent: Chunk, look: Look, world: World, fault: str
) -> None:
    """Rows that a cut stream lacks are no verdict: nothing lands, nothing is kept that could be read."""
    world.emulator.faults.add(fault, endpoint="results", times=2)

    assert [collection.collect(sent.nonce, look()) for _ in range(3)] == [False, False, True]
    assert (world.statuses(), world.n_billed) == (ALL_GOOD, [1] * N)


def test_f70_nothing_of_a_broken_download_is_kept(
    collection: Collection, sent: Chunk, look: Look, world: World
) -> None:
    """The table is empty and the spool too."""
    world.emulator.faults.add("results_cut_mid_line")

    assert not collection.collect(sent.nonce, look())
    assert (world.rows(), list(world.state.spool.iterdir())) == ([], [])
    assert world.ledger.chunk(sent.nonce).state is State.ENDED


def test_f72_a_row_that_is_missing_three_times_is_missing(
    collection: Collection, sent: Chunk, look: Look, world: World
) -> None:
    """Then it has that verdict, finally: the API counts a result for it, so it was paid for."""
    world.emulator.faults.add("results_missing_line")

    done = []
    for _ in range(MAX_DOWNLOADS):
        done.append(collection.collect(sent.nonce, look()))
        world.clock.sleep(180)

    assert done == [False, False, True]
    assert sorted(world.statuses().values()) == ["missing", *["succeeded"] * (N - 1)]
    marks = sorted(map(str, world.ledger.requests(sent.nonce).outcomes))
    assert marks == ["missing:final", *["succeeded"] * (N - 1)]
    assert world.ledger.spends(PIPELINE)[0].n_requests == N - 1


@pytest.mark.sampled
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("results_duplicate_line", id="F71-duplicate"),
        pytest.param("results_foreign_line", id="F73-foreign"),
        pytest.param("results_garbage_line", id="F76-garbage"),
        pytest.param("results_blank_line", id="F75-blank"),
        pytest.param("results_crlf", id="F75-crlf"),
        pytest.param("foreign_results_url", id="F67-foreign-url"),
    ],
)
def test_odd_lines_and_urls_harm_no_row(
    collection: Collection, sent: Chunk, look: Look, world: World, fault: str
) -> None:
    """Each row has its one answer, and no row is made up."""
    world.emulator.faults.add(fault, url="https://evil.example/steal")

    assert collection.collect(sent.nonce, look())
    assert world.statuses() == ALL_GOOD


class BentApi(AnthropicBatches):
    """The API, whose results are bent by a function."""

    bend: Callable[[list[bytes]], list[bytes]] = staticmethod(lambda lines: lines)

    @contextmanager
    def results(self, batch_id: str) -> Iterator[Iterator[bytes]]:
        """Stream the bent results."""
        with super().results(batch_id) as pieces:
            yield iter([b"\n".join(self.bend(b"".join(pieces).splitlines()))])


def collected(
    collection: Collection, client: anthropic.Anthropic, sent: Chunk, look: Look, bend: Any
) -> Callable[[str], list[Any]]:
    """Collect bent results; return a function that reads the table."""
    api = BentApi(client)
    api.bend = bend
    bent = replace(collection, downloads=replace(collection.downloads, api=api))
    assert bent.collect(sent.nonce, look())
    store = collection.answers
    assert isinstance(store, AnswerStore)

    def read(columns: str) -> list[Any]:
        with store.warehouse.connect() as connection:
            return connection.execute(f"SELECT {columns} FROM answers ORDER BY id").fetchall()  # noqa: S608

    return read


def result(custom_id: str, **fields: Any) -> bytes:
    """Return a line of a message with these fields."""
    message = {
        "model": "claude-haiku-5-5",
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": '{"label":"peace"}'}],
        "usage": {"input_tokens": 10, "output_tokens": 5},
        **fields,
    }
    return orjson.dumps({"custom_id": custom_id, "result": {"type": "succeeded", "message": message}})


def test_f74_results_in_any_order_are_joined_by_custom_id(
    collection: Collection, client: anthropic.Anthropic, sent: Chunk, look: Look
) -> None:
    """Row by row its own answer, whatever comes first."""
    labels = ["war", "war", "peace", "war", "peace"]
    texts = [[{"type": "text", "text": f'{{"label":"{label}"}}'}] for label in labels]
    lines = [result(name, content=content) for name, content in zip(sent.custom_ids, texts, strict=True)]
    read = collected(collection, client, sent, look, lambda _: lines[::-1])

    assert read("id, custom_id, label") == [(n, sent.custom_ids[n], labels[n]) for n in range(N)]


def test_f71_of_two_results_for_a_row_the_first_counts(
    collection: Collection, client: anthropic.Anthropic, sent: Chunk, look: Look
) -> None:
    """And only it is paid in the books."""
    later = result(sent.custom_ids[0], usage={"input_tokens": 10**6})
    read = collected(collection, client, sent, look, lambda lines: [*lines, later])

    assert read("label")[0] == ("war",)
    assert collection.ledger.spends(PIPELINE)[0].input_tokens < 10**6


def test_one_answer_of_odd_shape_does_not_keep_the_others_out(
    collection: Collection, client: anthropic.Anthropic, sent: Chunk, look: Look
) -> None:
    """Whatever a line holds, its row has a verdict and the batch lands."""
    odd = [
        result(sent.custom_ids[0], usage={"input_tokens": "many", "output_tokens": -3}, model=None),
        result(sent.custom_ids[1], stop_reason=["end_turn"]),
        result(sent.custom_ids[2], content=[{"type": "text", "text": '{"label":"\\ud800"}'}]),
        result(sent.custom_ids[3], content="SECRET", model="claude-of-next-year"),
        result(sent.custom_ids[4]),
    ]
    read = collected(collection, client, sent, look, lambda _: odd)

    price = cost("claude-haiku-5-5", Usage(10, 5))
    assert price is not None
    assert read("status, input_tokens, model, cost_usd") == [
        ("succeeded", 0, "", None),
        ("invalid", 10, "claude-haiku-5-5", price.batch_usd),
        ("invalid", 10, "claude-haiku-5-5", price.batch_usd),
        ("invalid", 10, "claude-of-next-year", None),
        ("succeeded", 10, "claude-haiku-5-5", price.batch_usd),
    ]
    (spend,) = collection.ledger.spends(PIPELINE)
    assert (spend.cost_usd, spend.live_cost_usd, spend.n_requests) == (None, None, N)


def test_f120_no_document_and_no_key_is_in_what_is_kept_but_spool_and_table(
    collection: Collection, sent: Chunk, look: Look, world: World
) -> None:
    """The ledger knows hashes and ids only."""
    collection.collect(sent.nonce, look())
    world.ledger.dispose()

    for path in world.state.path.glob("ledger.sqlite*"):
        content = Path(path).read_bytes()
        assert KEY.encode() not in content
        assert DOCUMENT.encode() not in content


# --- crashes and locks -----------------------------------------------------------------------------


def crash(*_: Any, **__: Any) -> Any:
    """Die."""
    raise CrashError


@pytest.mark.parametrize(
    ("where", "method", "left"),
    [
        pytest.param(FileSpool, "write", State.ENDED, id="F78-before-the-download"),
        pytest.param(Landing, "write", State.SPOOLED, id="F85-before-the-landing"),
        pytest.param(SqlLedger, "close", State.SPOOLED, id="F97-after-the-landing"),
    ],
)
def test_a_crash_on_the_way_home_loses_and_doubles_nothing(
    collection: Collection,
    sent: Chunk,
    look: Look,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    where: type,
    method: str,
    left: State,
) -> None:
    """The next run goes on from the state that is written, without the API once the results are spooled."""
    batch = look()
    with monkeypatch.context() as patch:
        patch.setattr(where, method, crash)
        with pytest.raises(CrashError):
            collection.collect(sent.nonce, batch)
    assert world.ledger.chunk(sent.nonce).state is left
    if left is State.SPOOLED:
        world.emulator.faults.add("500")
        batch = replace(batch, archived_at=None)

    assert collection.collect(sent.nonce, None if left is State.SPOOLED else batch)
    assert (world.statuses(), world.ledger.chunk(sent.nonce).state) == (ALL_GOOD, State.APPLIED)
    assert world.sql("SELECT count(*) FROM claude_batch.landed_chunks") == [(1,)]
    assert [spend.n_requests for spend in world.ledger.spends(PIPELINE)] == [N]


def test_f86_a_locked_database_loses_nothing(collection: Collection, sent: Chunk, look: Look, world: World) -> None:
    """The results are on our disk; the next run lands them without a download."""
    store = collection.answers
    assert isinstance(store, AnswerStore)

    class Locked(Warehouse):
        def connect(self) -> Any:
            raise WarehouseLockedError(self.database, waited_seconds=1, reason="held by process 1")

    locked = replace(store, warehouse=Locked(store.warehouse.database))
    with pytest.raises(WarehouseLockedError):
        replace(collection, answers=locked).collect(sent.nonce, look())
    assert world.ledger.chunk(sent.nonce).state is State.ENDED
    world.emulator.faults.add("500")

    assert collection.collect(sent.nonce, None)
    assert world.statuses() == ALL_GOOD


# --- what is gone ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("shown", "n_looks"), [(True, 1), (False, MAX_DOWNLOADS)], ids=["archived", "not-shown"])
def test_f66_results_of_29_days_ago_are_written_off(
    collection: Collection, sent: Chunk, look: Look, world: World, shown: bool, n_looks: int  # noqa: FBT001
) -> None:  # fmt: skip
    """Archived by the API's word, or refused for minutes: the rows say so, and are not sent again by themselves."""
    world.clock.sleep(29 * 86_400)
    for _ in range(n_looks - 1):
        assert not collection.collect(sent.nonce, look() if shown else None)
        world.clock.sleep(150)

    assert collection.collect(sent.nonce, look() if shown else None)

    assert world.ledger.chunk(sent.nonce).state is State.LOST
    assert world.rows("status, cost_usd, batch_id IS NOT NULL")[0] == ("missing", None, True)
    assert "no longer has the results" in world.rows("error")[0][0]
    assert set(world.ledger.requests(sent.nonce).outcomes) == {"missing:gone"}


def test_a_batch_that_is_archived_early_is_written_off_too(
    collection: Collection, sent: Chunk, look: Look, world: World
) -> None:
    """The API's word counts before the calendar."""
    assert collection.collect(sent.nonce, replace(look(), archived_at=world.clock.now()))
    assert world.ledger.chunk(sent.nonce).state is State.LOST


class DyingLedger(SqlLedger):
    """A ledger before which the process dies, the results on disk and not a word of it written."""

    def move(self, chunk_id: str, *, to: State, **facts: Any) -> ChunkRecord:
        """Move a chunk to any state but one."""
        if to is State.SPOOLED:
            raise CrashError
        return super().move(chunk_id, to=to, **facts)


@pytest.fixture
def unnoted(collection: Collection, sent: Chunk, look: Look, state: StateDirectory) -> Path:
    """Return the results of the chunk, as a run wrote them down that died right then."""
    dying = DyingLedger(state.ledger_url)
    with pytest.raises(CrashError):
        replace(collection, ledger=dying).collect(sent.nonce, look())
    dying.dispose()
    [path] = state.spool.iterdir()
    return path


@pytest.mark.parametrize("shown", [True, False], ids=["archived", "not-shown"])
def test_f66_f78_results_on_our_disk_are_not_written_off(
    collection: Collection, sent: Chunk, look: Look, world: World, unnoted: Path, shown: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """The run died before it noted that it has them, and the API's 29 days went by: they land."""
    world.clock.sleep(30 * 86_400)

    assert unnoted.exists()
    assert collection.collect(sent.nonce, look() if shown else None)
    assert (world.statuses(), world.ledger.chunk(sent.nonce).state) == (ALL_GOOD, State.APPLIED)
    assert [spend.n_requests for spend in world.ledger.spends(PIPELINE)] == [N]


@pytest.mark.parametrize("days", [0, 30])
def test_f66_f69_results_on_our_disk_that_lack_rows_are_completed_or_land_as_they_are(
    collection: Collection, sent: Chunk, look: Look, world: World, unnoted: Path, days: int
) -> None:  # fmt: skip
    """They are downloaded again while the API has them; after that, what is there is better than nothing."""
    kept = unnoted.read_bytes().splitlines(keepends=True)[:2]
    unnoted.write_bytes(b"".join(kept))
    world.clock.sleep(days * 86_400)

    assert collection.collect(sent.nonce, look())
    assert world.ledger.chunk(sent.nonce).state is State.APPLIED
    assert Counter(world.statuses().values())["succeeded"] == (2 if days else N)
    assert sorted(set(world.statuses().values()) - {"succeeded"}) == (["missing"] if days else [])
    assert set(world.ledger.requests(sent.nonce).outcomes) - {"succeeded"} == ({CLAIMED} if days else set())


def test_f54_a_key_that_is_refused_is_not_waited_out(
    collection: Collection, sent: Chunk, look: Look, world: World
) -> None:
    """It raises; the chunk stays where it is."""
    batch = look()
    world.emulator.faults.add("403", endpoint="results")

    with pytest.raises(CredentialError):
        collection.collect(sent.nonce, batch)
    assert world.ledger.chunk(sent.nonce).state is State.ENDED


# --- again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spooled", [True, False])
def test_what_the_database_lacks_is_collected_again_at_no_cost(
    collection: Collection, sent: Chunk, look: Look, world: World, spooled: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """From the spool without a call, or by one download; every row is what it was, and no row comes twice."""
    collection.collect(sent.nonce, look())
    before = world.rows("id, custom_id, cost_usd, answered_at")
    world.sql("DELETE FROM answers")
    world.sql("DELETE FROM claude_batch.answers WHERE ordinal > 0")
    if spooled:
        world.emulator.faults.add("500")
    else:
        collection.downloads.spool.discard(world.ledger.chunk(sent.nonce).batch_id or "")

    for _ in range(2):
        collection.recollection.collect(sent.nonce)

    assert world.rows("id, custom_id, cost_usd, answered_at") == before
    assert len(world.ledger.spends(PIPELINE)) == 1


def test_f66_what_nobody_has_any_more_is_missing(collection: Collection, sent: Chunk, look: Look, world: World) -> None:
    """Only if the API says so: trouble on the way proves nothing."""
    collection.collect(sent.nonce, look())
    world.sql("DELETE FROM answers")
    world.sql("DELETE FROM claude_batch.answers")
    collection.downloads.spool.discard(world.ledger.chunk(sent.nonce).batch_id or "")
    world.emulator.faults.add("connect_error", times=1)
    with pytest.raises(ApiUnreachableError):
        collection.recollection.collect(sent.nonce)
    assert world.rows() == []

    world.clock.sleep(30 * 86_400)
    collection.recollection.collect(sent.nonce)

    assert world.statuses() == dict.fromkeys(range(N), "missing")
