"""Documents and answers that are too large for the memory that DuckDB takes by itself."""

from collections.abc import Iterator
from dataclasses import replace

import duckdb
import pytest

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.more_memory import with_more_memory
from claude_batch_dagster.errors import WarehouseMemoryError
from claude_batch_dagster.storage.duckdb import warehouse
from claude_batch_dagster.storage.duckdb.asking.partition_fingerprints import Contents
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from tests.core.world import World

LITTLE = "24MB"
N_DOCUMENTS, N_BYTES = 12, 2_500_000


@pytest.fixture
def large(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Return a world with documents of 30 MB in all, where DuckDB takes less by itself."""
    world.let_go()
    with duckdb.connect(world.warehouse.database) as connection:
        connection.execute(
            "CREATE TABLE docs AS SELECT range::INTEGER AS id, concat(range, repeat(' war', ?)) AS text, 'p' AS part "
            "FROM range(?)",
            [N_BYTES // 4, N_DOCUMENTS],
        )
    monkeypatch.setattr(warehouse, "MEMORY_LIMIT", LITTLE)
    yield world
    world.let_go()


@pytest.mark.verify
def test_large_documents_are_asked_with_all_the_memory_there_is(large: World) -> None:
    """Each once, though the first try to read them was given up."""
    engine = large.engine()

    report = engine.run([Partition(key="p")])

    assert (report.failure, large.n_billed) == (None, [1] * N_DOCUMENTS)
    assert set(large.statuses().values()) == {"succeeded"}
    with engine.warehouse.connect() as connection:
        assert not engine.warehouse.lift_limit(connection), "the limit did for them: they are not large"


def test_a_limit_of_the_users_own_is_kept_and_told(large: World) -> None:
    """Nothing is sent, and it is said what to do."""
    own = replace(large, warehouse=Warehouse(large.warehouse.database, {"memory_limit": LITTLE}))

    with pytest.raises(WarehouseMemoryError, match="memory_limit in the connection_config"):
        own.run()

    assert large.n_posts == 0


def test_large_documents_are_looked_at_with_all_the_memory_there_is(large: World) -> None:
    """As sensors do it."""
    upstream = large.engine().task.upstream

    with Contents.opened(large.warehouse, upstream) as contents:
        assert contents.fingerprints([Partition(key="p")]).keys() == {"p"}
        assert not large.warehouse.lift_limit(contents.connection), "the limit did for them: they are not large"


@pytest.mark.parametrize(("n_failures", "n_calls"), [(0, 1), (1, 2), (2, 2)])
def test_work_is_done_again_once(n_failures: int, n_calls: int) -> None:
    """If there is more memory to be had; what fails for another reason, or again, is not repeated."""
    calls = []

    @with_more_memory
    def work(word: str) -> str:
        calls.append(word)
        if len(calls) <= n_failures:
            raise WarehouseMemoryError("file", may_take_more=len(calls) == 1)
        return word

    if n_failures < n_calls:
        assert work("done") == "done"
    else:
        with pytest.raises(WarehouseMemoryError):
            work("done")
    assert calls == ["done"] * n_calls
