"""Chunks that land together: in one transaction, as many as fit, and none kept from it by another."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import duckdb
import pytest

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.collecting import collection
from claude_batch_dagster.core.collecting.collection import Fetched, in_groups
from claude_batch_dagster.core.collecting.downloads import Downloads
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.sending import chunks
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.errors import ApiResponseError, LedgerError, WarehouseError
from claude_batch_dagster.storage.duckdb.collecting.matching import SpooledReceipt
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.core.world import TEN, TEN_GOOD, World

LANDINGS = "SELECT count(*) FROM claude_batch.landed_chunks GROUP BY landed_at ORDER BY landed_at"
"""Chunks by transaction: `now()` is the same all through one."""


def test_chunks_that_have_ended_land_in_one_transaction(world: World) -> None:
    """The tables are looked at once for all of them."""
    world.documents(TEN)

    assert world.run().failure is None
    assert (world.statuses(), world.n_billed, world.sql(LANDINGS)) == (TEN_GOOD, [1] * 10, [(3,)])


@pytest.mark.verify
@pytest.mark.parametrize(
    ("limit", "value", "landings"),
    [
        pytest.param("CHUNKS_TOGETHER", 2, [2, 1], id="chunks"),
        pytest.param("REQUESTS_TOGETHER", 8, [2, 1], id="requests"),
        pytest.param("BYTES_TOGETHER", 1, [1, 1, 1], id="bytes"),
    ],
)
def test_what_is_much_lands_in_several(
    world: World, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, landings: list[int]
) -> None:
    """Ten requests in chunks of four: two chunks are eight at most, and each chunk has more than one byte."""
    monkeypatch.setattr(collection, limit, value)
    world.documents(TEN)

    assert world.run().failure is None
    assert (world.statuses(), [n for (n,) in world.sql(LANDINGS)]) == (TEN_GOOD, landings)


@pytest.mark.sampled
@pytest.mark.parametrize("n_together", [10, 1], ids=["together", "each-by-itself"])
@pytest.mark.parametrize("error", [WarehouseError("DuckDB: not this one"), OSError("gone"), KeyError("a validator's")])
def test_a_chunk_that_cannot_land_keeps_no_other_from_it(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception, n_together: int
) -> None:
    """Those before and after it land; the run fails with what it met, and the next one lands the rest at no cost."""
    monkeypatch.setattr(collection, "CHUNKS_TOGETHER", n_together)
    world.documents(TEN)
    read = SpooledReceipt.read

    def read_all_but_one(receipt: SpooledReceipt, file: Path) -> None:
        if receipt.n_requests == 2:
            raise error
        read(receipt, file)

    with monkeypatch.context() as patch:
        patch.setattr(SpooledReceipt, "read", read_all_but_one)
        with pytest.raises(type(error), match=str(error)):
            world.run()

    assert sorted(world.states()) == [State.APPLIED, State.APPLIED, State.ENDED]
    assert list(world.statuses().values()) == ["succeeded"] * 8
    assert world.run().failure is None
    assert (world.statuses(), world.n_billed) == (TEN_GOOD, [1] * 10)


@pytest.mark.verify
def test_results_that_are_never_enough_fail_the_run_beside_others_that_land(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the API hands out for half an hour is not looked at for ever, though the batches beside it are home."""
    world.documents(TEN)
    is_enough = Downloads.is_enough
    monkeypatch.setattr(
        Downloads, "is_enough", lambda self, chunk, **found: chunk.n_requests != 2 and is_enough(self, chunk, **found)
    )

    assert isinstance(world.run().failure, ApiResponseError)
    assert sorted(world.states()) == [State.APPLIED, State.APPLIED, State.ENDED]


@pytest.mark.verify
def test_a_ledger_that_cannot_be_written_is_not_tried_for_each_chunk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been waited for already; what has landed is closed by the next run."""
    world.documents(TEN)
    tried = list[str]()

    def refuse(_: SqlLedger, chunk_id: str, **__: object) -> None:
        tried.append(chunk_id)
        raise LedgerError("the ledger is held")

    with monkeypatch.context() as patch:
        patch.setattr(SqlLedger, "close", refuse)
        with pytest.raises(LedgerError, match="held"):
            world.run()

    assert len(tried) == 1
    assert world.run().failure is None
    assert (world.statuses(), world.n_billed, world.n_accepted) == (TEN_GOOD, [1] * 10, 3)


def test_batches_share_what_there_is_to_ask(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten requests, of which two are worth a batch of their own."""
    monkeypatch.setattr(chunks, "SMALLEST_SHARE", 2)
    world.documents(TEN)

    assert world.run(limits=Limits()).failure is None
    assert (world.n_accepted, world.statuses()) == (5, TEN_GOOD)


def test_two_threads_make_one_row_of_an_answer_that_was_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find it lacking in the table when they begin, and neither sees the row of the other."""
    world.documents(TEN)
    world.run()
    world.sql("DELETE FROM answers")
    engines, both, replacing = [world.engine(), world.engine()], Barrier(2), Projection._replace

    def replace_at_once(self: Projection, connection: duckdb.DuckDBPyConnection) -> None:
        with suppress(BrokenBarrierError):
            both.wait(1)
        replacing(self, connection)

    monkeypatch.setattr(Projection, "_replace", replace_at_once)
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(lambda engine: engine.run([Partition(key="p")]), engines))

    assert [report.failure for report in reports] == [None, None]
    assert world.sql("SELECT id, count(*) FROM answers GROUP BY id HAVING count(*) > 1") == []


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([(1, 1)], [1], id="one"),
        pytest.param([(60_000, 1), (40_000, 1), (1, 1)], [2, 1], id="requests"),
        pytest.param([(1, 1 << 26), (1, 1 << 26), (1, 1)], [2, 1], id="bytes"),
        pytest.param([(1, 1), (1, 1 << 30), (1, 1)], [1, 1, 1], id="a-large-one-lands-alone"),
        pytest.param([(1, 1)] * 21, [10, 10, 1], id="chunks"),
    ],
)
def test_groups_are_filled_in_order(sizes: Sequence[tuple[int, int]], groups: Sequence[int]) -> None:
    """Up to as many requests as one batch may have, and no more chunks than locks can be held; a large one alone."""
    fetched = [
        Fetched(str(n), n_requests, n_bytes, None, whatever=False) for n, (n_requests, n_bytes) in enumerate(sizes)
    ]

    found = list(in_groups(fetched))

    assert [one for group in found for one in group] == fetched
    assert [len(group) for group in found] == groups
