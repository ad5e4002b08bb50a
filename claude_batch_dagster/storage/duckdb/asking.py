"""Evaluate upstream once: write down what each row asks now, and keep the documents of those without an answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import duckdb

from claude_batch_dagster.core.asking.asked import Asked
from claude_batch_dagster.core.asking.identity import LENGTH, VERSION, earlier_hash
from claude_batch_dagster.core.asking.keys import NO_KEY, canonical_key
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.asking.requests import RejectedRowError, Request, RequestBuilder
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.sending.chunks import OpenRow
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.errors import ConfigurationError, UpstreamError
from claude_batch_dagster.storage.duckdb import questions
from claude_batch_dagster.storage.duckdb.columns import hand_over
from claude_batch_dagster.storage.duckdb.names import listed, quoted
from claude_batch_dagster.storage.duckdb.upstream import FRAME, Reader, encodable
from claude_batch_dagster.storage.duckdb.warehouse import without_values

BLOCK = 2_000
"""Rows that are rendered together at least."""

FOUND = {"place": "BIGINT", "found": "VARCHAR", "problem": "VARCHAR"}
"""Place, question and problem of rows of which Python knows better than SQL."""

WINDOW_BYTES = 16_000_000
"""Bytes of documents that are rendered together at most, but for one block."""

FILLED = r"[^\p{Z}\t-\r\x1c-\x1f\x85]"
"""A character that is no white space, as Python sees it."""

NO_KEY_ERROR = "the key is NULL or not UTF-8, so the row cannot be told from others; fill it upstream"

N_RENDERED_TWICE = 5
"""Rows of which a prompt function must make the same request twice, before any is sent."""

FLOATING = frozenset({"FLOAT", "DOUBLE"})
"""Types with values that are no key: NaN and infinity."""


@dataclass(kw_only=True)
class Asking:
    """Reads one upstream with one open connection."""

    reader: Reader
    partitions: Sequence[Partition]
    builder: RequestBuilder
    put: Callable[[Sequence[OpenRow]], None]
    """Takes what may have to be sent: one row for each question."""
    rename: Callable[[Mapping[str, str]], None] | None = None
    """Gives questions that the ledger knows by hashes of an earlier version their hashes of today."""
    _types: dict[str, str] = field(default_factory=dict)
    _key_types: dict[str, str] = field(default_factory=dict)
    _recoded: frozenset[str] = frozenset()
    _found: list[tuple[int, str | None, str | None]] = field(default_factory=list)
    _refused: dict[str, str] = field(default_factory=dict)
    """Questions that cannot be asked after all, each with the reason."""
    _rendered: set[str] = field(default_factory=set)
    _earlier: dict[str, str] = field(default_factory=dict)
    """Hashes of an earlier version, with those of today for the same questions."""
    _n_rendered_twice: int = 0
    _placed: str = "TRUE"
    """How a row that was read and a place in the partitions belong together."""
    is_new: bool = field(default=False, init=False)
    """Whether nobody has written down before what rows of this table ask."""

    def look(self) -> dict[str, str]:
        """
        Look at the columns upstream; return the SQL types of the key columns.

        Raises `UpstreamError`, before anything is changed, when the table or a column is missing.
        """
        reader = self.reader
        if reader.upstream.frame is not None:
            frame, self._recoded = encodable(reader.upstream.frame, key=reader.upstream.key)
            reader.connection.register(FRAME, frame)
        self._types = reader.types()
        self._key_types = reader.check_columns(self._types, self._columns)
        self.is_new = questions.prepare(reader.connection, reader.target, self._key_types)
        return self._key_types

    def ask(self) -> Asked:
        """
        Write down what each row of the partitions asks, in place of what stood there; the transaction is left open.

        Raises `UpstreamError`, before anything is changed, when the partition expression does not work or a value
        cannot be read.
        """
        reader = self.reader
        try:
            self._read()
        except duckdb.DataError as error:
            raise UpstreamError(
                f"a value of the upstream {reader.upstream.shown_as} cannot be read as partition_expr or sql= say: "
                f"{without_values(error)}. Nothing was sent. Use try_cast, or mend the value upstream."
            ) from None
        self._place()
        self._render()
        reader.connection.begin()  # not before: another run of this process may have written while this one read
        self._rename()
        self._write()
        return self._counted()

    @property
    def _in_sql(self) -> bool:
        """Whether SQL can say what a row asks: not what a function makes of it, nor whether bytes are UTF-8."""
        kinds = {self._kind(name) for name in self._columns}
        return isinstance(self.builder.prompt, Template) and "BLOB" not in kinds

    def _kind(self, name: str) -> str:
        return {column.lower(): kind for column, kind in self._types.items()}[name.lower()]

    def _as_text(self, name: str) -> str:
        """Return the SQL of a column as the text that stands in a prompt."""
        plain = self._kind(name) in {"VARCHAR", "BLOB"}
        return f"u.{quoted(name)}" if plain else f"CAST(u.{quoted(name)} AS VARCHAR)"

    @property
    def _columns(self) -> tuple[str, ...]:
        return self.builder.columns if self.builder.columns is not None else tuple(self._types)

    # --- in SQL ------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Read every row once: its key and question, and its columns unless the question has a good answer."""
        reader, columns = self.reader, self._columns
        dimensions, conditions, values = self._dimensions()
        names = [f"_cb_c{n}" for n in range(len(columns))]
        templated = isinstance(self.builder.prompt, Template)
        texts = [self._as_text(name) if templated else f"u.{quoted(name)}" for name in columns]
        laid = [*dimensions, *self._keys(), *(f"{text} AS {name}" for text, name in zip(texts, names, strict=True))]
        size = " + ".join(["0", *(f"coalesce(strlen(r.{name}::VARCHAR), 0)" for name in names)])
        kept = ", ".join(f"CASE WHEN g._cb_good IS NULL THEN r.{name} END AS {name}" for name in names)
        reader.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_read AS SELECT r.* EXCLUDE ({', '.join(names)}), "
            f"g._cb_good IS NOT NULL AS _cb_answered, {size} AS _cb_size, {kept} FROM "
            f"(SELECT *, row_number() OVER () AS _cb_place, {self._question(names)} AS _cb_question "
            f"FROM (SELECT {', '.join(laid)} "
            f"FROM {reader.upstream.relation} AS u WHERE {' AND '.join(conditions)})) AS r "
            f"LEFT JOIN ({self._good}) AS g ON g._cb_good = r._cb_question",
            values,
        )

    def _question(self, names: Sequence[str]) -> str:
        """Return the SQL of a row's question; NULL where Python has to say it, or why there is none."""
        if not self._in_sql:
            return "NULL::VARCHAR"
        hashed = ", ".join(f"':', strlen({name}), ':', {name}" for name in names)
        filled = " OR ".join(f"regexp_matches({name}, '{FILLED}')" for name in names)
        there = " AND ".join(f"{name} IS NOT NULL" for name in (quoted(self.reader.upstream.key[0]), *names))
        return (
            f"CASE WHEN {there} AND ({filled}) THEN "
            f"left(concat('{VERSION}', sha256(concat('{self.builder.definition}', {hashed}))), {LENGTH}) END"
        )

    @cached_property
    def _good(self) -> str:
        """A query of the questions to which the output table holds a good answer."""
        if not self.reader.has_target():
            return "SELECT NULL::VARCHAR AS _cb_good WHERE false"
        return (
            f"SELECT DISTINCT request_hash AS _cb_good FROM {self.reader.target.sql} "
            f"WHERE status = '{Verdict.SUCCEEDED}' AND request_hash IS NOT NULL"
        )

    def _keys(self) -> Iterator[str]:
        """Yield the key columns as the output table has them: without one of them a row has none."""
        names = self.reader.upstream.key
        missing = " OR ".join(
            f"u.{quoted(name)} IS NULL" + (f" OR NOT isfinite(u.{quoted(name)})" * (self._kind(name) in FLOATING))
            for name in names
        )
        for name in names:
            value = f"CASE WHEN {missing} THEN NULL ELSE u.{quoted(name)} END"
            yield f"CAST({value} AS {self._key_types[name]}) AS {quoted(name)}"

    def _dimensions(self) -> tuple[list[str], list[str], dict[str, Any]]:
        """Return what places a row in each dimension, and what a row must have to be read at all."""
        self.reader.list_partitions(self.partitions)
        laid: list[str] = []
        conditions, values = ["TRUE"], dict[str, Any]()
        for n, rule in enumerate(self.reader.upstream.rule.dimensions):
            if rule.expr is None:
                continue
            parts = [partition.dimensions[n] for partition in self.partitions]
            starts = [part.start for part in parts if part.start]
            if starts:
                moment = self.reader.moment(rule)
                values |= {f"from{n}": min(starts), f"until{n}": max(part.end for part in parts if part.end)}
                conditions.append(f"({moment} IS NULL OR ({moment} >= $from{n} AND {moment} < $until{n}))")
            else:
                self.reader.moment(rule)  # raises if the expression does not work
                moment = f"CAST(({rule.expr}) AS VARCHAR)"
                conditions.append(f"({moment} IS NULL OR {moment} IN (SELECT _cb_key{n} FROM _cb_partitions))")
            laid.append(f"{moment} AS _cb_d{n}")
        return laid, conditions, values

    def _place(self) -> None:
        """Find the partition of each row, by the different moments and keys that there are."""
        dimensions = [
            (n, any(partition.dimensions[n].start for partition in self.partitions))
            for n, rule in enumerate(self.reader.upstream.rule.dimensions)
            if rule.expr is not None
        ]
        names = [f"_cb_d{n}" for n, _ in dimensions]
        different = f"(SELECT DISTINCT {', '.join(names)} FROM _cb_read)" if names else "(SELECT 1)"
        within = [
            f"v._cb_d{n} >= p._cb_start{n} AND v._cb_d{n} < p._cb_end{n}" if windows else f"v._cb_d{n} = p._cb_key{n}"
            for n, windows in dimensions
        ]
        connection = self.reader.connection
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_places AS SELECT {''.join(f'v.{name}, ' for name in names)}"
            f"p._cb_partition FROM {different} AS v JOIN _cb_partitions AS p ON {' AND '.join(within) or 'TRUE'}"
        )
        self._placed = " AND ".join(f"r.{name} = l.{name}" for name in names) or "TRUE"
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_rows AS SELECT r._cb_place, l._cb_partition AS partition_key, "
            f"{listed(self._key_types, 'r.')}, r._cb_question AS request_hash, r._cb_answered, "
            f"NULL::VARCHAR AS error FROM _cb_read AS r JOIN _cb_places AS l ON {self._placed}"
        )

    # --- in Python ---------------------------------------------------------------------------------

    def _render(self) -> None:
        """Render one row for each question without a good answer, and find out what SQL could not say."""
        names = [f"_cb_c{n}" for n in range(len(self._columns))]
        keys = listed(self._key_types)
        whole = "SELECT _cb_place FROM _cb_rows WHERE NOT _cb_answered AND request_hash IS NULL"
        first = "SELECT min(_cb_place) FROM _cb_rows WHERE NOT _cb_answered AND request_hash IS NOT NULL"
        wanted = (
            f"{whole} UNION ALL {first} GROUP BY request_hash" if self._in_sql else "SELECT _cb_place FROM _cb_rows"
        )
        connection = self.reader.connection
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_wanted AS SELECT _cb_place, partition_key, request_hash, {keys} "
            f"FROM _cb_rows SEMI JOIN ({wanted}) AS w (_cb_place) USING (_cb_place)"
        )
        for start, end in self._windows():
            within = f"_cb_place BETWEEN {start} AND {end}"
            self._render_these(
                connection.execute(
                    f"SELECT w._cb_place, w.partition_key, w.request_hash, {listed(self._key_types, 'w.')}, "
                    f"{', '.join(names)} FROM (SELECT * FROM _cb_wanted WHERE {within}) AS w "
                    f"JOIN (SELECT * FROM _cb_read WHERE {within}) AS r USING (_cb_place) ORDER BY w._cb_place"
                ).fetchall()
            )

    def _windows(self) -> Iterator[tuple[int, int]]:
        """Yield first and last place of rows that are rendered together: thousands, unless they are large."""
        blocks = self.reader.connection.execute(
            f"SELECT _cb_place // {BLOCK} AS block, sum(_cb_size) FROM _cb_read SEMI JOIN _cb_wanted USING (_cb_place) "
            "GROUP BY block ORDER BY block"
        ).fetchall()
        start, end, n_bytes = None, 0, 0
        for block, size_of_block in blocks:
            if start is not None and n_bytes + size_of_block > WINDOW_BYTES:
                yield start, end
                start, n_bytes = None, 0
            start = block * BLOCK if start is None else start
            end, n_bytes = (block + 1) * BLOCK - 1, n_bytes + size_of_block
        if start is not None:
            yield start, end

    def _render_these(self, window: Sequence[tuple[Any, ...]]) -> None:
        n_keys = len(self._key_types)
        asking = []
        for place, partition_key, question, *cells in window:
            request = self._request(place, question, cells[:n_keys], cells[n_keys:])
            if request is None:
                continue
            if self._looks_back:
                self._earlier[earlier_hash(request.params, asked_of=self.builder.asked_of)] = request.request_hash
            key = canonical_key(cells[:n_keys]) or NO_KEY
            asking.append(OpenRow(partition_key, key, request.request_hash, request.params))
        self.put(asking if self._in_sql else self._not_put(asking))

    def _request(self, place: int, question: str | None, key: Sequence[Any], cells: Sequence[Any]) -> Request | None:
        """Render a row; note what SQL did not know of it."""
        if key[0] is None:
            self._found.append((place, None, NO_KEY_ERROR))
            return None
        try:
            if question is not None:
                return self.builder.build_known(cells, question)
            request = self._built(self._row(cells))
        except RejectedRowError as error:
            if question is None:
                self._found.append((place, None, str(error)))
            else:  # whoever asks the same asks in vain
                self._refused[question] = str(error)
            return None
        self._found.append((place, request.request_hash, None))
        return request

    def _row(self, cells: Sequence[Any]) -> dict[str, Any]:
        row = dict(zip(self._columns, cells, strict=True))
        for name in self._recoded.intersection(row):
            if row[name] is not None:
                row[name] = row[name].decode(errors="surrogatepass")
        return row

    @cached_property
    def _renders_twice(self) -> bool:
        """Whether a function makes the requests, which may make another one each time."""
        return self.builder.columns is None

    def _built(self, row: Mapping[str, Any]) -> Request:
        request = self.builder.build(row)
        if self._renders_twice and self._n_rendered_twice < N_RENDERED_TWICE:
            self._n_rendered_twice += 1
            if self.builder.build(row) != request:
                raise ConfigurationError(
                    "the prompt function makes two different requests from one row (does it use the time, or chance?), "
                    "so every materialization would pay anew. Nothing was sent; make it depend on the row alone."
                )
        return request

    def _not_put(self, asking: Sequence[OpenRow]) -> list[OpenRow]:
        """Return what has no good answer and was not put yet; of questions that Python said it is known only now."""
        asked = {"question": [row.question for row in asking]}
        hand_over(self.reader.connection, "_cb_asked", {"question": "VARCHAR"}, asked)
        query = f"SELECT _cb_good FROM ({self._good}) SEMI JOIN _cb_asked ON _cb_good = question"
        known = {name for (name,) in self.reader.connection.execute(query).fetchall()} | self._rendered
        new = dict[str, OpenRow]()
        for row in asking:
            if row.question not in known:
                new.setdefault(row.question, row)
        self._rendered.update(new)
        return list(new.values())

    @cached_property
    def _looks_back(self) -> bool:
        """Whether somebody knows questions by hashes of an earlier version."""
        return self.rename is not None or self._has_earlier_names

    @property
    def _has_earlier_names(self) -> bool:
        """Whether the output table has answers to questions by hashes of an earlier version."""
        if not self.reader.has_target():
            return False
        query = f"SELECT 1 FROM {self.reader.target.sql} WHERE request_hash NOT LIKE '{VERSION}%' LIMIT 1"
        return self.reader.connection.execute(query).fetchone() is not None

    def _rename(self) -> None:
        """Take answers that stand under hashes of an earlier version for what they are."""
        if not self._earlier:
            return
        if self.rename is not None:
            self.rename(self._earlier)
        names = {"earlier": list(self._earlier), "today": list(self._earlier.values())}
        hand_over(self.reader.connection, "_cb_names", dict.fromkeys(names, "VARCHAR"), names)
        self.reader.connection.execute(
            f"UPDATE {self.reader.target.sql} AS t SET request_hash = n.today FROM _cb_names AS n "
            "WHERE t.request_hash = n.earlier"
        )

    # --- written down ------------------------------------------------------------------------------

    def _write(self) -> None:
        """Put the questions of these partitions in place of those that stand there; rows that share a key make one."""
        connection, keys = self.reader.connection, listed(self._key_types)
        if self._found:
            hand_over(connection, "_cb_found", FOUND, dict(zip(FOUND, zip(*self._found, strict=True), strict=True)))
            connection.execute(
                "UPDATE _cb_rows SET request_hash = f.found, error = f.problem FROM _cb_found AS f "
                "WHERE _cb_rows._cb_place = f.place"
            )
        if self._refused:
            refused = {"refused": list(self._refused), "problem": list(self._refused.values())}
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

    def _counted(self) -> Asked:
        connection, keys = self.reader.connection, [*self._key_types, "partition_key"]
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
            f"LEFT JOIN ({self._good}) AS g ON g._cb_good = q.request_hash) GROUP BY partition_key"
        ).fetchall()
        asked = Asked(n_homeless=self._n_homeless())
        rows = connection.execute("SELECT partition_key, count(*) FROM _cb_rows GROUP BY ALL").fetchall()
        asked.n_rows.update(dict(rows))
        for partition_key, n, n_answered, n_rejected, n_to_ask in counted:
            asked.n_keys[partition_key] = n
            asked.n_answered[partition_key] = n_answered
            asked.n_rejected[partition_key] = n_rejected
            asked.n_to_ask[partition_key] = n_to_ask
            asked.n_shared[partition_key] = n - n_answered - n_rejected - n_to_ask
        return asked

    def _n_homeless(self) -> int:
        exprs = [n for n, rule in enumerate(self.reader.upstream.rule.dimensions) if rule.expr is not None]
        if not exprs:
            return 0
        nowhere = " OR ".join(f"_cb_d{n} IS NULL" for n in exprs)
        return int(self.reader.connection.execute(f"SELECT count(*) FROM _cb_read WHERE {nowhere}").fetchall()[0][0])
