"""Chunks that land together: in one transaction, as many as fit, and none kept from it by another."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from claude_batch_dagster.core.collecting import collection
from claude_batch_dagster.core.collecting.collection import Fetched, in_groups
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.errors import WarehouseError
from claude_batch_dagster.storage.duckdb.matching import SpooledReceipt
from tests.core.world import TEN, TEN_GOOD, World

LANDINGS = "SELECT count(*) FROM claude_batch.landed_chunks GROUP BY landed_at ORDER BY landed_at"
"""Chunks by transaction: `now()` is the same all through one."""


def test_chunks_that_have_ended_land_in_one_transaction(world: World) -> None:
    """The tables are looked at once for all of them."""
    world.documents(TEN)

    assert world.run().failure is None
    assert (world.statuses(), world.n_billed, world.sql(LANDINGS)) == (TEN_GOOD, [1] * 10, [(3,)])


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


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([(1, 1)], [1], id="one"),
        pytest.param([(60_000, 1), (40_000, 1), (1, 1)], [2, 1], id="requests"),
        pytest.param([(1, 1 << 25), (1, 1 << 25), (1, 1)], [2, 1], id="bytes"),
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
