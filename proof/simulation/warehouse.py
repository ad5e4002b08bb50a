"""The real DuckDB with a gate in front of each opening, each statement that writes, and each commit."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import duckdb

from claude_batch_dagster.errors import WarehouseLockedError
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from proof.simulation.gate import LOCAL, Gate
from proof.simulation.turns import Turns

WRITES = re.compile(
    r"\s*(CREATE (SCHEMA|TABLE)|DROP TABLE|ALTER TABLE|INSERT (OR REPLACE )?INTO|DELETE FROM|UPDATE) (?!_cb_)"
)
"""Statements after which the database is another one. Temporary tables, `_cb_...`, end with their connection."""


@dataclass(frozen=True)
class GatedWarehouse(Warehouse):
    """The database as one run sees it."""

    gate: Gate = field(kw_only=True)
    turns: Turns = field(kw_only=True)
    opened: list[duckdb.DuckDBPyConnection] = field(default_factory=list, kw_only=True)
    """The connections of this process."""

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the database."""
        with ExitStack() as stack:
            with self.gate.call("warehouse open", LOCAL, failure=self._locked):
                if not self.opened:
                    stack.enter_context(
                        self.turns.hold(self.database)
                    )  # one process at a time can, as often as it likes
                connection = stack.enter_context(super().connect())
            self.opened.append(connection)
            stack.callback(self.opened.pop)
            yield cast("duckdb.DuckDBPyConnection", _Connection(connection, self.gate))

    def _locked(self) -> Exception:
        return WarehouseLockedError(self.database, waited_seconds=120, reason="simulated: held by process 1")


def _full() -> Exception:
    return duckdb.IOException("simulated: No space left on device")


class _Connection:
    def __init__(self, connection: duckdb.DuckDBPyConnection, gate: Gate) -> None:
        self._connection, self._gate = connection, gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: Any) -> Any:
        writes = WRITES.match(statement)
        if not writes:
            return self._connection.execute(statement, *values)
        with self._gate.call(f"warehouse {writes[1].lower()}", LOCAL, failure=_full):
            return self._connection.execute(statement, *values)

    def commit(self) -> None:
        with self._gate.call("warehouse commit", LOCAL, failure=_full):
            self._connection.commit()
