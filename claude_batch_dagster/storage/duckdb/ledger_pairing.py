"""Which ledger knows of a table: a new, copied or older one must not send for it unnoticed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import duckdb

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.core.tables import TableName, quoted
from claude_batch_dagster.errors import StrangeLedgerError
from claude_batch_dagster.storage.duckdb.collecting.output_table import MARKERS
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse, exists
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger

LEDGERS = TableName("claude_batch", "ledgers")
"""Which ledger each output table was filled by, and since when: kept beside the table."""

_ADDED = ("mark", "home")
"""Columns that tables of earlier versions lack."""


class _Remembered(NamedTuple):
    """What stands beside a table of the ledger that filled it."""

    ledger_id: str
    mark: str | None
    """That of the latest run; None if it was of a version that left none."""
    home: str | None
    """Where that ledger was at the latest run."""
    landed: Sequence[str]
    """The chunks in the table."""


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
        with self.warehouse.writing(), self.warehouse.connect() as connection:
            if not exists(connection, LEDGERS):
                return  # dropped since: the next run is the first again
            _add_columns(connection)
            connection.execute(
                f"UPDATE {LEDGERS.sql} SET mark = ?, home = ? WHERE table_name = ?",
                [mark, self.ledger.home, str(self.target)],
            )

    def check(self) -> None:
        """
        Raise `StrangeLedgerError` unless the ledger knows all that was ever sent for the table.

        The first run remembers its ledger. A ledger that was lost and made anew has another id; one that was
        restored from a backup does not know the latest run, or the latest chunks; one that was copied finds the
        original.
        """
        if original := self.ledger.original():
            raise StrangeLedgerError(str(self.target), f"this ledger is a copy: the original is at {original}")
        known = self._remembered()
        if known is None:
            self.accept()
        elif known.ledger_id != self.ledger.ledger_id:
            place = f" ({known.home})" if known.home else ""
            reason = (
                f"the table was filled by ledger {known.ledger_id}{place}; "
                f"this is {self.ledger.ledger_id} ({self.ledger.home})"
            )
            raise StrangeLedgerError(str(self.target), reason)
        elif missing := self.ledger.unknown(known.landed):
            lacks = counted(len(missing), "batch", "batches")
            reason = f"the ledger is older than the table (from a backup?): it lacks {lacks} that landed"
            raise StrangeLedgerError(str(self.target), reason)
        elif known.mark and not self.ledger.has_mark(known.mark):
            reason = "the ledger is older than the table (from a backup?): it lacks the latest run, and what that sent"
            raise StrangeLedgerError(str(self.target), reason)

    def _remembered(self) -> _Remembered | None:
        """Return what stands beside the table, seen at once; None before the first run."""
        with self.warehouse.connect() as connection:
            if not exists(connection, LEDGERS):
                return None
            query = f"SELECT * FROM {LEDGERS.sql} WHERE table_name = ?"
            found = connection.execute(query, [str(self.target)])
            names, row = [name for name, *_ in found.description], found.fetchone()
            if row is None:
                return None
            noted = dict(zip(names, row, strict=True))
            landed = self._landed(connection) if exists(connection, MARKERS) else ()
        return _Remembered(noted["ledger_id"], noted.get("mark"), noted.get("home"), landed)

    def _landed(self, connection: duckdb.DuckDBPyConnection) -> Sequence[str]:
        """Return the chunks in the table, but for those from before the ledger took its place."""
        query = (
            f"SELECT m.chunk_id FROM {MARKERS.sql} AS m JOIN {LEDGERS.sql} AS l USING (table_name) "
            "WHERE m.table_name = ? AND m.landed_at >= l.since"
        )
        return [chunk_id for (chunk_id,) in connection.execute(query, [str(self.target)]).fetchall()]

    def accept(self) -> None:
        """Take the present ledger for the right one from now on."""
        self.ledger.settle_down()
        with self.warehouse.connect() as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(LEDGERS.schema)}")
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {LEDGERS.sql} "
                "(table_name VARCHAR PRIMARY KEY, ledger_id VARCHAR, since TIMESTAMP WITH TIME ZONE)"
            )
            _add_columns(connection)
            connection.execute(
                f"INSERT OR REPLACE INTO {LEDGERS.sql} (table_name, ledger_id, since, mark, home) "
                "VALUES (?, ?, now(), NULL, ?)",
                [str(self.target), self.ledger.ledger_id, self.ledger.home],
            )


def _add_columns(connection: duckdb.DuckDBPyConnection) -> None:
    for name in _ADDED:
        connection.execute(f"ALTER TABLE {LEDGERS.sql} ADD COLUMN IF NOT EXISTS {name} VARCHAR")


def homes(warehouse: Warehouse) -> frozenset[str]:
    """Return where the ledgers are that have filled tables of this database, as far as it remembers."""
    with warehouse.connect() as connection:
        if not exists(connection, LEDGERS):
            return frozenset()
        found = connection.execute(f"SELECT * FROM {LEDGERS.sql}")
        names = [name for name, *_ in found.description]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return frozenset(str(row["home"]) for row in rows if row.get("home"))


def filled_tables(warehouse: Warehouse) -> dict[str, str]:
    """Return every table that this database remembers a ledger for, with the id of that ledger."""
    with warehouse.connect() as connection:
        if not exists(connection, LEDGERS):
            return {}
        return dict(connection.execute(f"SELECT table_name, ledger_id FROM {LEDGERS.sql} ORDER BY ALL").fetchall())
