"""Evaluate upstream once: write down what each row asks now, and keep the documents of those without an answer."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from claude_batch_dagster.core.asking.asked import Asked
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.tables import listed, quoted
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.storage.duckdb.asking import definitions, questions, refreshes
from claude_batch_dagster.storage.duckdb.asking.key_types import agreed
from claude_batch_dagster.storage.duckdb.asking.reading import Reading, good_answers
from claude_batch_dagster.storage.duckdb.asking.rendering import Put, Rendering
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.asking.upstream_columns import Shape
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over
from claude_batch_dagster.storage.duckdb.collecting import answers
from claude_batch_dagster.storage.duckdb.collecting.answers import ANSWERS

FOUND = {"place": "BIGINT", "found": "VARCHAR", "problem": "VARCHAR"}
"""Place, question and problem of rows of which Python knows better than SQL."""


@dataclass(kw_only=True)
class Asking:
    """Asks for the rows of one upstream, with one open connection."""

    reader: Reader
    partitions: Sequence[Partition]
    builder: RequestBuilder
    put: Put
    rename: Callable[[Mapping[str, str]], None] | None = None
    """Gives questions that the ledger knows by hashes of an earlier version their hashes of today."""
    is_partition: Callable[[str | None], bool] = lambda _: True
    """Whether there still is a partition of this key: rows of one that is gone are asked about elsewhere by now."""
    refresh: str | None = None
    """A token, if every row is to be asked again: those that were asked with this very token are not."""
    is_dry_run: bool = False
    """Whether the transaction is open already, and comes to nothing."""
    is_new: bool = field(default=False, init=False)
    """Whether nobody has written down before what rows of this table ask."""
    shape: Shape = field(init=False)
    """Known once it has looked."""

    def look(self) -> Mapping[str, str]:
        """
        Look at the columns upstream; return the SQL types of the key columns.

        Raises `UpstreamError`, before anything is changed, when the table or a column is missing.
        """
        reader = self.reader
        types = reader.types()
        needed = self.builder.columns if self.builder.columns is not None else tuple(types)
        key_types = agreed(reader.connection, reader.target, reader.check_columns(types, needed))
        self.shape = Shape(builder=self.builder, types=types, key_types=key_types, recoded=reader.recoded)
        self.is_new = questions.prepare(reader.connection, reader.target, key_types)
        answers.prepare(reader.connection)
        definitions.prepare(reader.connection)
        return key_types

    def ask(self) -> Asked:
        """
        Write down what each row of the partitions asks, in place of what stood there; the transaction is left open.

        Raises `UpstreamError`, before anything is changed, when the partition expression does not work or a value
        cannot be read.
        """
        reader, shape = self.reader, self.shape
        keys = [partition.key for partition in self.partitions]
        reading = Reading(reader=reader, shape=shape, partitions=self.partitions, refresh=self.refresh)
        rendering = Rendering(
            reader=reader, shape=shape, put=self.put, is_renamed=self.rename is not None, refresh=self.refresh
        )
        reading.read()
        if reading.has_open_rows:
            reading.check_stable()
        rendering.render()
        if not self.is_dry_run:
            reader.connection.begin()  # not before: another run of this process may have written while this one read
        if self.refresh is not None:
            refreshes.write(reader.connection, rendering.refreshed)
        self._rename(rendering.earlier)
        self._write(rendering)
        changed = definitions.changed(reader.connection, reader.target, keys, self.builder.parts)
        asked = replace(self._counted(reading.n_homeless()), changed=changed)
        asked.n_gone.update(self._forget())
        return asked

    def answered_by_today(self, partition_keys: Sequence[str | None]) -> None:
        """Write down that no row of these partitions shows an answer to what an earlier definition asked."""
        definitions.write(self.reader.connection, self.reader.target, partition_keys, self.builder.parts)

    def _forget(self) -> Mapping[str | None, int]:
        """Let nobody ask for partitions that are gone; return how many rows of them stand in the output table."""
        connection, target = self.reader.connection, self.reader.target
        asked_now = {partition.key for partition in self.partitions}
        n_rows = Counter(dict.fromkeys(questions.counted(connection, target), 0))
        if self.reader.has_target():
            query = f"SELECT partition_key, count(*) FROM {target.sql} GROUP BY partition_key"
            n_rows.update(dict(connection.execute(query).fetchall()))
        gone = [key for key in n_rows.keys() - asked_now if not self.is_partition(key)]
        questions.forget(connection, target, gone)
        return {key: n_rows[key] for key in gone}

    def _rename(self, earlier: Mapping[str, str]) -> None:
        """Take answers that stand under hashes of an earlier version for what they are."""
        if not earlier:
            return
        if self.rename is not None and not self.is_dry_run:
            self.rename(earlier)
        names = {"earlier": list(earlier), "today": list(earlier.values())}
        hand_over(self.reader.connection, "_cb_names", dict.fromkeys(names, "VARCHAR"), names)
        self.reader.connection.execute(
            f"UPDATE {self.reader.target.sql} AS t SET request_hash = n.today FROM _cb_names AS n "
            "WHERE t.request_hash = n.earlier"
        )
        self.reader.connection.execute(
            f"UPDATE {ANSWERS.sql} AS a SET question = n.today FROM _cb_names AS n WHERE a.question = n.earlier"
        )

    def _write(self, rendered: Rendering) -> None:
        """Put the questions of these partitions in place of those that stand there; rows that share a key make one."""
        connection, keys = self.reader.connection, listed(self.shape.key_types)
        if rendered.found:
            hand_over(connection, "_cb_found", FOUND, dict(zip(FOUND, zip(*rendered.found, strict=True), strict=True)))
            connection.execute(
                "UPDATE _cb_rows SET request_hash = f.found, error = f.problem FROM _cb_found AS f "
                "WHERE _cb_rows._cb_place = f.place"
            )
        if rendered.refused:
            refused = {"refused": list(rendered.refused), "problem": list(rendered.refused.values())}
            hand_over(connection, "_cb_refused", dict.fromkeys(refused, "VARCHAR"), refused)
            connection.execute(
                "UPDATE _cb_rows SET request_hash = NULL, error = f.problem FROM _cb_refused AS f "
                "WHERE _cb_rows.request_hash = f.refused"
            )
        table = questions.questions_of(self.reader.target).sql
        connection.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT q.rowid FROM {table} AS q JOIN _cb_partitions AS p "
            "ON q.partition_key IS NOT DISTINCT FROM p._cb_partition)"
        )
        alike = "count(request_hash) = count(*) AND count(DISTINCT request_hash) = 1"
        connection.execute(
            f"INSERT INTO {table} BY NAME SELECT {keys}, partition_key, "
            f"CASE WHEN {alike} THEN any_value(request_hash) END AS request_hash, "
            f"CASE WHEN {alike} THEN NULL WHEN count(request_hash) = 0 THEN max(error) ELSE concat(count(*), "
            "' upstream rows share this key and differ; make the key unique, or name more key columns') END AS error "
            "FROM _cb_rows GROUP BY ALL ORDER BY min(_cb_place)"
        )

    def _counted(self, n_homeless: int) -> Asked:
        connection, keys = self.reader.connection, [*self.shape.key_types, "partition_key"]
        table = questions.questions_of(self.reader.target).sql
        same_row = " AND ".join(f"t.{quoted(name)} IS NOT DISTINCT FROM q.{quoted(name)}" for name in keys)
        own = f"LEFT JOIN {self.reader.target.sql} AS t ON {same_row}" if self.reader.has_target() else ""
        stands = f"t.status = '{Verdict.SUCCEEDED}' AND t.request_hash = q.request_hash" if own else "false"
        counted = connection.execute(
            "SELECT partition_key, count(*), count(*) FILTER (stands), count(*) FILTER (problem IS NOT NULL), "
            "count(*) FILTER (problem IS NULL AND NOT stands AND _cb_good IS NULL AND place = 1) FROM "
            f"(SELECT q.partition_key, q.error AS problem, coalesce({stands}, false) AS stands, g._cb_good, "
            f"row_number() OVER (PARTITION BY q.request_hash ORDER BY q.rowid) AS place FROM {table} AS q "
            f"JOIN _cb_partitions AS p ON q.partition_key IS NOT DISTINCT FROM p._cb_partition {own} "
            f"LEFT JOIN ({good_answers(self.reader)}) AS g ON g._cb_good = q.request_hash) GROUP BY partition_key"
        ).fetchall()
        asked = Asked(n_homeless=n_homeless)
        rows = connection.execute("SELECT partition_key, count(*) FROM _cb_rows GROUP BY ALL").fetchall()
        asked.n_rows.update(dict(rows))
        for partition_key, n, n_answered, n_rejected, n_to_ask in counted:
            asked.n_keys[partition_key] = n
            asked.n_answered[partition_key] = n_answered
            asked.n_rejected[partition_key] = n_rejected
            asked.n_to_ask[partition_key] = n_to_ask
            asked.n_shared[partition_key] = n - n_answered - n_rejected - n_to_ask
        return asked
