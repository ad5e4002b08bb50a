"""What tests of storage share: SQL on the warehouse."""

from collections.abc import Callable
from typing import Any

import pytest

from claude_batch_dagster.storage.duckdb.warehouse import Warehouse


@pytest.fixture
def run(warehouse: Warehouse) -> Callable[[str], Any]:
    """Return a function that runs SQL on the warehouse."""

    def run(sql: str) -> Any:
        with warehouse.connect() as connection:
            return connection.execute(sql).fetchall()

    return run
