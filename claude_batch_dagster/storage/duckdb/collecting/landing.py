"""Chunks that land together: what came back is written down, and shown, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb

from claude_batch_dagster.core.ledger import ChunkRecord, Requests
from claude_batch_dagster.core.ports import AnswerRecord
from claude_batch_dagster.storage.duckdb.collecting import answers, spending
from claude_batch_dagster.storage.duckdb.collecting.matching import Gathered, SpooledReceipt
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection


@dataclass(kw_only=True)
class Landing:
    """
    What came back for some chunks, with one open connection.

    It is gathered first: reading takes as long as it takes, and the transaction does not. One transaction for several
    chunks looks at the tables once, however many of them there are.
    """

    connection: duckdb.DuckDBPyConnection
    projection: Projection
    gathered: Gathered = field(default_factory=Gathered, init=False)

    def receive(self, chunk: ChunkRecord, requests: Requests, file: Path, now: datetime) -> SpooledReceipt:
        """Read the results of a chunk from a file of the spool. What is asked of it is asked before the next one."""
        receipt = SpooledReceipt(
            connection=self.connection, gathered=self.gathered, chunk=chunk, requests=requests, now=now
        )
        receipt.read(file)
        return receipt

    def add(self, chunk_id: str, records: Sequence[AnswerRecord]) -> None:
        """Add to what lands what is known of a chunk without a file."""
        answers.lay_out(self.connection, records, table := self.gathered.new_name())
        self.gathered.add(chunk_id, f"FROM {table}")

    def write(self) -> None:
        """Write down what was gathered, and show it in every row that asks for it now."""
        if not self.gathered.chunk_ids:
            return
        self.connection.begin()
        answers.land(self.connection, self.gathered.queries)
        judged = self.projection.show(self.connection, self.gathered.chunk_ids)
        spending.land(self.connection, self.gathered.bills, judged, self.projection.schema)
        self.connection.commit()
