"""Which ledger knows of a table: a new, copied or older one must not send for it unnoticed."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from claude_batch_dagster.core.tables import TableName, quoted
from claude_batch_dagster.errors import StrangeLedgerError
from claude_batch_dagster.plural import counted
from claude_batch_dagster.storage.duckdb.collecting.output_table import MARKERS
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger

LEDGERS = TableName("claude_batch", "ledgers")
"""Which ledger each output table was filled by, and since when: kept beside the table."""

_ADD_MARK = f"ALTER TABLE {LEDGERS.sql} ADD COLUMN IF NOT EXISTS mark VARCHAR"
"""Tables of earlier versions lack it."""


@dataclass(frozen=True, kw_only=True)
class LedgerPairing:
    """Between one output table and the ledger of its chunks."""

    warehouse: Warehouse
    ledger: SqlLedger
    target: TableName

    def begin(self) -> None:
        """Check, and leave a mark before anything is sent."""
        self.check()
        self.mark()

    def mark(self) -> None:
        """
        Leave one mark in the ledger and beside the table.

        At the start of a run, since what it sends leaves no other trace outside the ledger until it has landed; and
        at its end. A ledger from a backup made before lacks the mark.
        """
        mark = self.ledger.new_mark()  # first: what the table remembers, the ledger knows
        with self.warehouse.connect() as connection:
            if not _exists(connection, LEDGERS):
                return  # dropped since: the next run is the first again
            connection.execute(_ADD_MARK)
            connection.execute(f"UPDATE {LEDGERS.sql} SET mark = ? WHERE table_name = ?", [mark, str(self.target)])

    def check(self) -> None:
        """
        Raise `StrangeLedgerError` unless the ledger knows all that was ever sent for the table.

        The first run remembers its ledger. A ledger that was lost and made anew has another id; one that was
        restored from a backup does not know the latest run, or the latest chunks; one that was copied finds the
        original.
        """
        if original := self.ledger.original():
            raise StrangeLedgerError(str(self.target), f"this ledger is a copy: the original is at {original}")
        known = self.filled_by()
        if known is None:
            self.accept()
        elif known != self.ledger.ledger_id:
            reason = f"the table was filled by ledger {known}; this is {self.ledger.ledger_id}"
            raise StrangeLedgerError(str(self.target), reason)
        elif missing := self.ledger.unknown(self._landed()):
            lacks = counted(len(missing), "batch", "batches")
            reason = f"the ledger is older than the table (from a backup?): it lacks {lacks} that landed"
            raise StrangeLedgerError(str(self.target), reason)
        elif (mark := self._latest_mark()) and not self.ledger.has_mark(mark):
            reason = "the ledger is older than the table (from a backup?): it lacks the latest run, and what that sent"
            raise StrangeLedgerError(str(self.target), reason)

    def filled_by(self) -> str | None:
        """Return the id of the ledger that the table was filled by; None before the first run."""
        query = f"SELECT ledger_id FROM {LEDGERS.sql} WHERE table_name = ?"
        with self.warehouse.connect() as connection:
            if not _exists(connection, LEDGERS):
                return None
            found = connection.execute(query, [str(self.target)]).fetchone()
        return str(found[0]) if found else None

    def accept(self) -> None:
        """Take the present ledger for the right one from now on."""
        self.ledger.settle_down()
        with self.warehouse.connect() as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(LEDGERS.schema)}")
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {LEDGERS.sql} "
                "(table_name VARCHAR PRIMARY KEY, ledger_id VARCHAR, since TIMESTAMP WITH TIME ZONE)"
            )
            connection.execute(_ADD_MARK)
            connection.execute(
                f"INSERT OR REPLACE INTO {LEDGERS.sql} (table_name, ledger_id, since, mark) VALUES (?, ?, now(), NULL)",
                [str(self.target), self.ledger.ledger_id],
            )

    def _latest_mark(self) -> str | None:
        """Return the mark of the latest run; None if it was of a version that left none."""
        with self.warehouse.connect() as connection:
            if not _exists(connection, LEDGERS, column="mark"):
                return None
            query = f"SELECT mark FROM {LEDGERS.sql} WHERE table_name = ?"
            found = connection.execute(query, [str(self.target)]).fetchone()
        return found[0] if found else None

    def _landed(self) -> Sequence[str]:
        """Return the chunks in the table, but for those from before the ledger took its place."""
        query = (
            f"SELECT m.chunk_id FROM {MARKERS.sql} AS m JOIN {LEDGERS.sql} AS l USING (table_name) "
            "WHERE m.table_name = ? AND m.landed_at >= l.since"
        )
        with self.warehouse.connect() as connection:
            if not _exists(connection, MARKERS):
                return []
            return [chunk_id for (chunk_id,) in connection.execute(query, [str(self.target)]).fetchall()]


def filled_tables(warehouse: Warehouse) -> dict[str, str]:
    """Return every table that this database remembers a ledger for, with the id of that ledger."""
    with warehouse.connect() as connection:
        if not _exists(connection, LEDGERS):
            return {}
        return dict(connection.execute(f"SELECT table_name, ledger_id FROM {LEDGERS.sql} ORDER BY ALL").fetchall())


def _exists(connection: duckdb.DuckDBPyConnection, table: TableName, *, column: str = "table_name") -> bool:
    query = "SELECT 1 FROM duckdb_columns() WHERE schema_name = ? AND table_name = ? AND column_name = ?"
    return connection.execute(query, [table.schema, table.table, column]).fetchone() is not None
