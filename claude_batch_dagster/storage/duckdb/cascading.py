"""The rows of a cascade that go up to the strong model, and the table that shows who has decided what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from claude_batch_dagster.core.asking.question_hash import digest
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.reporting.cascade import AgreementRule, Decided, Pairs
from claude_batch_dagster.core.tables import MAX_NAME_BYTES, TableName, listed, literal, quoted
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.storage.duckdb.asking.questions import SCHEMA, questions_of
from claude_batch_dagster.storage.duckdb.collecting.output_table import OutputTable
from claude_batch_dagster.storage.duckdb.warehouse import exists

UNUSABLE = (Verdict.INVALID, Verdict.TRUNCATED, Verdict.REFUSED)
"""What the first model could not answer: another may. What the service failed at is asked again by itself."""

ANSWERED = (Verdict.SUCCEEDED, *UNUSABLE, Verdict.REJECTED, Verdict.ERRORED)
"""What the strong model can say of a row for good. Others are on their way, or wait for money."""

QUESTION, REASON = "_cb_question", "_cb_reason"
"""Columns beside the key of a row that went up: what it asked the first model then, and why it did."""

SAMPLE, UNSURE = "sample", "unsure"
"""Why a row goes up."""

DECIDED_BY = "decided_by"
SUMMED = ("input_tokens", "output_tokens", "cost_usd")
"""What of a row that went up is of both answers."""


@dataclass(frozen=True, kw_only=True)
class Cascading:
    """The tables of one cascade, within one opening of the database."""

    connection: duckdb.DuckDBPyConnection
    first: TableName
    """What the first model has answered."""
    second: TableName
    """What the strong one has answered, of the rows that went up."""
    vote: TableName | None
    """What the first model has answered when it was asked in other words, if it was."""
    final: TableName
    """What the asset shows."""
    rule: AgreementRule

    @property
    def escalated(self) -> TableName:
        """The table of the rows that went up, each with the question that it asked the first model then."""
        return escalated_of(self.final)

    def prepare(self) -> None:
        """Create the table of rows that go up, with the keys of today; one of other keys is made again."""
        kinds = self._key_types()
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in kinds.items())
        present = self.connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = current_database() "
            "AND schema_name = ? AND table_name = ? ORDER BY column_index",
            [self.escalated.schema, self.escalated.table],
        ).fetchall()
        if present and not self._adapted(dict(present), kinds):
            self.connection.execute(f"DROP TABLE {self.escalated.sql}")
        self.connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self.escalated.sql} "
            f"({columns}, partition_key VARCHAR, {QUESTION} VARCHAR, {REASON} VARCHAR)"
        )

    def _adapted(self, present: Mapping[str, str], kinds: Mapping[str, str]) -> bool:
        """Give the keys the types of today, as where upstream has wider ones; return whether that can be done."""
        if [*present][: len(kinds)] != [*kinds]:
            return False
        try:
            for name, kind in kinds.items():
                if present[name] != kind:
                    column = f"{self.escalated.sql} ALTER COLUMN {quoted(name)}"
                    self.connection.execute(f"ALTER TABLE {column} SET DATA TYPE {kind}")
        except (duckdb.ConversionException, duckdb.BinderException):
            return False
        return True

    def raise_sample(self, partition_keys: Sequence[str | None], n: int) -> None:
        """
        Let a random sample go up: the n rows of the whole table, or fewer, that come first by a hash of their keys.

        The same rows each time, and as the table grows the first of more rows: a sample of each table that there was.
        """
        self._forget_changed(partition_keys)
        self._insert(
            f"SELECT {self._keys('q.')}, q.partition_key, q.request_hash, '{SAMPLE}' FROM {self._asked} AS q "
            f"{self._scope('q', partition_keys)} WHERE {self._hash('q')} <= {self._limit(n)}"
        )

    def raise_unsure(self, partition_keys: Sequence[str | None], threshold: float | None) -> None:
        """Let rows go up that the first model is less sure of than a threshold, or had no usable answer to."""
        confidence, vote = self._confidence
        sure = "false" if threshold is None else f"coalesce({confidence} >= {threshold!r}, false)"
        unusable = ", ".join(f"'{verdict}'" for verdict in UNUSABLE)
        self._insert(
            f"SELECT {self._keys('t.')}, t.partition_key, q.request_hash, '{UNSURE}' FROM {self.first.sql} AS t "
            f"JOIN {self._asked} AS q ON {self._same('t', 'q')} {self._scope('t', partition_keys)} {vote} "
            f"WHERE (t.status = '{Verdict.SUCCEEDED}' AND NOT {sure}) OR t.status IN ({unusable})"
        )

    def pairs(self, n: int) -> Pairs:
        """
        Return the rows of the sample: how sure the first model was of each, and whether the strong one agrees.

        Of partitions only whose sample is answered as a whole: of one that is on its way, those that come first are no
        random ones. What the strong model had no usable answer to counts as if it did not agree.
        """
        confidence, vote = self._confidence
        good = f"= '{Verdict.SUCCEEDED}'"
        scope = "ANTI JOIN _cb_open AS w ON t.partition_key IS NOT DISTINCT FROM w.partition_key"
        self._find_open(n)
        found = self.connection.execute(
            f"SELECT CASE WHEN t.status {good} THEN {confidence} END, "
            f"coalesce(s.status {good} AND {self._agree('t', 's')}, false) FROM {self.first.sql} AS t {scope} {vote} "
            f"JOIN {self._current} AS e ON {self._same('t', 'e')} "
            f"JOIN {self.second.sql} AS s ON {self._same('t', 's')} WHERE {self._hash('t')} <= {self._limit(n)}"
        ).fetchall()
        [(n_rows,)] = self.connection.execute(f"SELECT count(*) FROM {self.first.sql} AS t {scope}").fetchall()
        return Pairs(
            confidences=[confidence for confidence, _ in found],
            agrees=[agreed for _, agreed in found],
            n_rows=int(n_rows),
        )

    def waiting(self, partition_keys: Sequence[str | None] | None = None) -> list[str | None]:
        """Return those partitions, of all or of these, whose sample is not answered as a whole; `pairs` finds them."""
        found = [key for (key,) in self.connection.execute("SELECT partition_key FROM _cb_open").fetchall()]
        return found if partition_keys is None else [key for key in partition_keys if key in found]

    def _find_open(self, n: int) -> None:
        """Find the partitions of which a row of the sample is not answered, and may be yet."""
        answered = ", ".join(f"'{verdict}'" for verdict in ANSWERED)
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_open AS SELECT DISTINCT q.partition_key FROM {self._asked} AS q "
            f"LEFT JOIN {self._current} AS e ON {self._same('q', 'e')} "
            f"LEFT JOIN {self.second.sql} AS s ON {self._same('e', 's')} WHERE {self._hash('q')} <= {self._limit(n)} "
            f"AND coalesce(s.status NOT IN ({answered}), true)"
        )

    def show(
        self,
        partition_keys: Sequence[str | None],
        schema: OutputSchema,
        models: tuple[str, str],
        gone: Sequence[str | None] = (),
    ) -> Decided:
        """
        Bring the asset's table up to date: the strong model's answer where a row went up and has one, else the first's.

        `models` are the names of both, for the column `decided_by`; `gone` are partitions that there are no more.
        In one transaction.
        """
        table = OutputTable(target=self.final, key_types=self._key_types(), schema=schema)
        table.prepare(self.connection)
        self.connection.execute(f"ALTER TABLE {self.final.sql} ADD COLUMN IF NOT EXISTS {DECIDED_BY} VARCHAR")
        names = [*table.columns]
        up = f"(s.status IS NOT NULL AND s.status = '{Verdict.SUCCEEDED}')"
        columns = [self._shown(name, up, models[1]) for name in names]
        chosen = f"CASE WHEN {up} THEN {literal(models[1])} WHEN t.status = '{Verdict.SUCCEEDED}' THEN "
        self.connection.begin()
        self._drop_of([*partition_keys, *gone])
        self.connection.execute(
            f"INSERT INTO {self.final.sql} ({listed(names)}, {DECIDED_BY}) "
            f"SELECT {', '.join(columns)}, {chosen}{literal(models[0])} END FROM {self.first.sql} AS t "
            f"{self._scope('t', partition_keys)} LEFT JOIN {self._current} AS e ON {self._same('t', 'e')} "
            f"LEFT JOIN {self.second.sql} AS s ON {self._same('e', 's')} {self._voted}"
        )
        self.connection.commit()
        return self._decided(partition_keys)

    # --- parts of queries --------------------------------------------------------------------------

    @property
    def _confidence(self) -> tuple[str, str]:
        """Return the SQL of how sure the first model is of a row t, and of the join that it takes."""
        if self.vote is None:
            return f"t.{quoted(self.rule.confidence or '')}", ""
        same = f"coalesce(v.status = '{Verdict.SUCCEEDED}' AND {self._agree('t', 'v')}, false)::INT"
        return same, self._voted

    @property
    def _voted(self) -> str:
        """Return the SQL of a join with the second vote on a row t, if there is one."""
        return "" if self.vote is None else f"LEFT JOIN {self.vote.sql} AS v ON {self._same('t', 'v')}"

    def _agree(self, one: str, other: str) -> str:
        """Return the SQL of two answers being the same."""
        return " AND ".join(
            f"{one}.{quoted(name)} IS NOT DISTINCT FROM {other}.{quoted(name)}" for name in self.rule.compared
        )

    @property
    def _asked(self) -> str:
        """The rows that ask something, each with its question."""
        return f"(SELECT * FROM {questions_of(self.first).sql} WHERE error IS NULL)"

    @property
    def _current(self) -> str:
        """The rows that went up and ask the first model today what they asked then."""
        return (
            f"(SELECT e.* FROM {self.escalated.sql} AS e JOIN {self._asked} AS q ON {self._same('e', 'q')} "
            f"AND e.{QUESTION} = q.request_hash)"
        )

    def _shown(self, name: str, up: str, strong: str) -> str:
        """Return the SQL of one column of a row."""
        column = quoted(name)
        if name in self.rule.key or name == "partition_key":
            return f"t.{column}"
        if name in SUMMED:
            others = [f"coalesce({table}.{column}, 0)" for table in ("s", *(["v"] if self.vote else []))]
            both = f"coalesce(t.{column}, 0) + {' + '.join(others)}"
            return f"CASE WHEN t.{column} IS NULL AND s.status IS NULL THEN NULL ELSE {both} END"
        if name == "error":
            waits = literal(f"unsure, and {strong} has no usable answer: ")
            unsure = f"e.{REASON} = '{UNSURE}' AND t.status = '{Verdict.SUCCEEDED}'"
            return (
                f"CASE WHEN {up} THEN s.error WHEN {unsure} THEN "
                f"{waits} || coalesce(s.error, 'it was not asked yet') ELSE t.error END"
            )
        return f"CASE WHEN {up} THEN s.{column} ELSE t.{column} END"

    def _decided(self, partition_keys: Sequence[str | None]) -> Decided:
        scope = self._scope("t", partition_keys)
        counted = self.connection.execute(
            f"SELECT t.partition_key, count(e.{QUESTION}), count(*) FILTER (e.{QUESTION} IS NOT NULL "
            f"AND s.status IS DISTINCT FROM '{Verdict.SUCCEEDED}') FROM {self.first.sql} AS t {scope} "
            f"LEFT JOIN {self._current} AS e ON {self._same('t', 'e')} LEFT JOIN {self.second.sql} AS s "
            f"ON {self._same('e', 's')} GROUP BY t.partition_key"
        ).fetchall()
        return Decided(
            n_escalated=sum(n for _, n, _ in counted),
            n_waiting=sum(n for *_, n in counted),
            by_partition={key: n for key, n, _ in counted},
        )

    def _forget_changed(self, partition_keys: Sequence[str | None]) -> None:
        """Forget rows that ask something else by now: whether the first model is sure of that is another question."""
        self.connection.execute(
            f"DELETE FROM {self.escalated.sql} WHERE rowid IN (SELECT e.rowid FROM {self.escalated.sql} AS e "
            f"{self._scope('e', partition_keys)} LEFT JOIN {self._asked} AS q ON {self._same('e', 'q')} "
            f"WHERE q.request_hash IS DISTINCT FROM e.{QUESTION})"
        )

    def partitions(self) -> list[str | None]:
        """Return the partitions that the asset's table has rows of."""
        if not exists(self.connection, self.final):
            return []
        found = self.connection.execute(f"SELECT DISTINCT partition_key FROM {self.final.sql}").fetchall()
        return [key for (key,) in found]

    def _drop_of(self, partition_keys: Sequence[str | None]) -> None:
        """Delete the rows of partitions."""
        self.connection.execute(
            f"DELETE FROM {self.final.sql} WHERE rowid IN (SELECT t.rowid FROM {self.final.sql} AS t "
            f"{self._scope('t', partition_keys)})"
        )

    def _insert(self, query: str) -> None:
        """Add rows that are not there."""
        self.connection.execute(
            f"INSERT INTO {self.escalated.sql} SELECT n.* FROM ({query}) AS n "
            f"({self._keys()}, partition_key, {QUESTION}, {REASON}) "
            f"ANTI JOIN {self.escalated.sql} AS e ON {self._same('n', 'e')}"
        )

    def _limit(self, n: int) -> str:
        """Return the SQL of the hash of the nth row, the last if there are fewer."""
        return f"(SELECT max(h) FROM (SELECT {self._hash('q')} AS h FROM {self._asked} AS q ORDER BY h LIMIT {n}))"

    def _hash(self, table: str) -> str:
        """Return the SQL of what puts rows in a random order that stays: MD5, for DuckDB's own hash may change."""
        parts = ", ".join(f"{table}.{quoted(name)}::VARCHAR" for name in (*self.rule.key, "partition_key"))
        return f"md5(concat_ws(chr(31), 'cascade', {parts}))"

    def _same(self, one: str, other: str) -> str:
        """Return the SQL of two rows being the same one."""
        keys = [f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in self.rule.key]
        return " AND ".join([*keys, f"{one}.partition_key IS NOT DISTINCT FROM {other}.partition_key"])

    def _keys(self, prefix: str = "") -> str:
        return listed(self.rule.key, prefix)

    def _scope(self, table: str, partition_keys: Sequence[str | None]) -> str:
        """Return the SQL of a join that leaves rows of these partitions."""
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_cascaded AS SELECT unnest($keys::VARCHAR[]) AS _cb_partition",
            {"keys": list(partition_keys)},
        )
        return f"JOIN _cb_cascaded AS c ON {table}.partition_key IS NOT DISTINCT FROM c._cb_partition"

    def _key_types(self) -> Mapping[str, str]:
        described = self.connection.execute(f"DESCRIBE {self.first.sql}").fetchall()
        kinds = {name.lower(): kind for name, kind, *_ in described}
        return {name: kinds[name.lower()] for name in self.rule.key}


def escalated_of(final: TableName) -> TableName:
    """Return the name of the table of the rows that went up."""
    name = f"{final} escalated"
    return TableName(SCHEMA, name if len(name.encode()) <= MAX_NAME_BYTES else digest(name))
