"""Render what may have to be sent, one row for each question, and find out what SQL could not say of a row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from claude_batch_dagster.core.asking.keys import NO_KEY, canonical_key
from claude_batch_dagster.core.asking.question_hash import VERSION, earlier_hash, refreshed
from claude_batch_dagster.core.asking.requests import RejectedRowError, Request
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.sending.chunks import OpenRow
from claude_batch_dagster.core.tables import listed
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.storage.duckdb.asking.reading import good_answers
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.asking.upstream_columns import Shape
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over
from claude_batch_dagster.storage.duckdb.warehouse import in_order

BLOCK = 2_000
"""Rows that are in memory together at least."""

FETCHED = 500
"""Rows that are fetched together: of so few the garbage collector takes no notice."""

WINDOW_BYTES = 16_000_000
"""Bytes of requests that Python renders together at most, but for one block."""

LARGE_BYTES = 5_000
"""Bytes of a request from which on Python renders it: SQL holds thousands at once, several times each."""

EVERY_ROW = "true"

NO_KEY_ERROR = "the key is NULL, no number, or not UTF-8, so the row cannot be told from others; fill it upstream"

N_RENDERED_TWICE = 5
"""Rows of which a prompt function must make the same request twice, before any is sent."""


class Put(Protocol):
    """Takes what may have to be sent, one row for each question, in columns."""

    def __call__(
        self,
        partition_keys: Sequence[str | None],
        keys: Sequence[str],
        questions: Sequence[str],
        params: Sequence[bytes],
        /,
    ) -> None:
        """Take some rows."""


@dataclass(kw_only=True)
class Rendering:
    """Renders rows that were read, in windows of bounded size."""

    reader: Reader
    shape: Shape
    put: Put
    is_renamed: bool
    """Whether the ledger knows questions by hashes of an earlier version."""
    refresh: str | None = None
    """A token, if every row is to be asked again: it makes of each question another."""
    found: list[tuple[int, str | None, str | None]] = field(default_factory=list, init=False)
    """Place, question and problem of rows of which Python knows better than SQL."""
    refused: dict[str, str] = field(default_factory=dict, init=False)
    """Questions that cannot be asked after all, each with the reason."""
    earlier: dict[str, str] = field(default_factory=dict, init=False)
    """Hashes of an earlier version, with those of today for the same questions."""
    refreshed: dict[str, str] = field(default_factory=dict, init=False)
    """Other names of questions that SQL could not say, each with the question."""
    _rendered: set[str] = field(default_factory=set, init=False)
    _n_rendered_twice: int = field(default=0, init=False)

    def render(self) -> None:
        """Render one row for each question without a good answer, and find out what SQL could not say."""
        keys = listed(self.shape.key_types)
        whole = "SELECT _cb_place FROM _cb_rows WHERE NOT _cb_answered AND request_hash IS NULL"
        first = "SELECT min(_cb_place) FROM _cb_rows WHERE NOT _cb_answered AND request_hash IS NOT NULL"
        wanted = (
            f"{whole} UNION ALL {first} GROUP BY request_hash"
            if self.shape.in_sql
            else "SELECT _cb_place FROM _cb_rows"
        )
        connection = self.reader.connection
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_wanted AS SELECT _cb_place, partition_key, request_hash, {keys} "
            f"FROM _cb_rows SEMI JOIN ({wanted}) AS w (_cb_place) USING (_cb_place) ORDER BY _cb_place"
        )
        if self._alone != EVERY_ROW:
            self._render_in_order()
        for start, end in self._windows(self._alone):
            self._render_alone(f"{_between(start, end)} WHERE {self._alone} ORDER BY w._cb_place")

    def _render_in_order(self) -> None:
        """Let SQL render what it can, stretch by stretch; sorted, for which documents move, where they lie about."""
        together, stretches = f"NOT {self._alone}", self._stretches()
        if stretches is None:
            for start, end in self._windows(together):
                self._render_together(f"{_between(start, end)} WHERE {together} ORDER BY w._cb_place")
            return
        with in_order(self.reader.connection):
            for start, end in stretches:
                self._render_together(f"{_between(start, end)} WHERE {together}")

    @cached_property
    def _alone(self) -> str:
        """The SQL condition of rows that Python renders: all but those of which SQL knows the whole request."""
        if not self.shape.in_sql or self._looks_back:
            return EVERY_ROW
        return f"(w.request_hash IS NULL OR {self._n_bytes} > {LARGE_BYTES})"

    @cached_property
    def _n_bytes(self) -> str:
        """The SQL of the bytes of a row's request, about: documents count as often as the template says them."""
        builder, n_times = self.shape.builder, 1
        shared = sum(map(len, builder.around))
        if isinstance(builder.prompt, Template):
            shared += len(builder.prompt.source.encode())
            n_times = max(1, sum(place is not None for _, place in builder.prompt.parts))
        return f"({shared} + {n_times} * r._cb_size)"

    def _stretches(self) -> list[tuple[int, int]] | None:
        """
        Return first and last place of rows that stand in order; None if these are too short to be worth a query each.

        Threads that read together leave a few long ones. A join with more answers than rows leaves none.
        """
        found: Any = self.reader.connection.execute("SELECT _cb_place FROM _cb_read").fetchnumpy()
        places = found["_cb_place"]
        if not len(places):
            return []
        breaks = (places[1:] != places[:-1] + 1).nonzero()[0]
        if len(breaks) > len(places) // BLOCK + 1:
            return None
        return sorted(zip(places[[0, *(breaks + 1)]].tolist(), places[[*breaks, -1]].tolist(), strict=True))

    def _windows(self, condition: str) -> Iterator[tuple[int, int]]:
        """Yield first and last place of rows of which those that fulfil the condition may be in memory at once."""
        blocks = self.reader.connection.execute(
            f"SELECT w._cb_place // {BLOCK} AS block, sum({self._n_bytes}) FROM _cb_wanted AS w "
            f"JOIN _cb_read AS r USING (_cb_place) WHERE {condition} GROUP BY block ORDER BY block"
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

    def _render_together(self, rows: str) -> None:
        """Let SQL render requests in which nothing but the message differs; they are fetched while it does."""
        template, (before, after) = self.shape.builder.prompt, self.shape.builder.around
        if not isinstance(template, Template):
            return  # so that types know it: Python renders every row then
        values, message = {"before": before.decode(), "after": after.decode()}, []
        for n, (literal, place) in enumerate(template.parts):
            values[f"literal{n}"] = literal
            message += [f"$literal{n}::VARCHAR", *([] if place is None else [self.shape.names[place]])]
        query = (
            "SELECT w.partition_key, w.request_hash, "
            f"encode(concat($before::VARCHAR, to_json(concat({', '.join(message)}))::VARCHAR, $after::VARCHAR)), "
            f"{listed(self.shape.key_types, 'w.')} {rows}"
        )
        rendered = self.reader.connection.execute(query, values)
        while found := rendered.fetchmany(FETCHED):
            partition_keys, questions, params, *keys = zip(*found, strict=True)
            names = [canonical_key(key) or NO_KEY for key in zip(*keys, strict=True)]
            self.put(partition_keys, names, questions, params)

    def _render_alone(self, window: str) -> None:
        """Render a window row by row."""
        n_keys = len(self.shape.key_types)
        rows = self.reader.connection.execute(
            f"SELECT w._cb_place, w.partition_key, w.request_hash, {listed(self.shape.key_types, 'w.')}, "
            f"{', '.join(self.shape.names)} {window}"
        ).fetchall()
        asking = []
        for place, partition_key, question, *cells in rows:
            request = self._request(place, question, cells[:n_keys], cells[n_keys:])
            if request is None:
                continue
            if self._looks_back and self.refresh is None:
                builder = self.shape.builder
                before = earlier_hash(builder.as_before(request.params), asked_of=builder.asked_of)
                self.earlier[before] = request.request_hash
            key = canonical_key(cells[:n_keys]) or NO_KEY
            asking.append(OpenRow(partition_key, key, request.request_hash, request.params))
        if new := asking if self.shape.in_sql else self._not_put(asking):
            partition_keys, names, questions, requests, *_ = zip(*new, strict=True)
            self.put(partition_keys, names, questions, requests)

    def _request(self, place: int, question: str | None, key: Sequence[Any], cells: Sequence[Any]) -> Request | None:
        """Render a row; note what SQL did not know of it."""
        if key[0] is None:
            self.found.append((place, None, NO_KEY_ERROR))
            return None
        try:
            if question is not None:
                return self.shape.builder.build_known(cells, question)
            request = self._built(self._row(cells))
            if self.refresh is not None:
                other = refreshed(request.request_hash, self.refresh)
                self.refreshed[other], request = request.request_hash, request._replace(request_hash=other)
        except RejectedRowError as error:
            if question is None:
                self.found.append((place, None, str(error)))
            else:  # whoever asks the same asks in vain
                self.refused[question] = str(error)
            return None
        self.found.append((place, request.request_hash, None))
        return request

    def _row(self, cells: Sequence[Any]) -> dict[str, Any]:
        row = dict(zip(self.shape.columns, cells, strict=True))
        for name in self.shape.recoded.intersection(row):
            if row[name] is not None:
                row[name] = row[name].decode(errors="surrogatepass")
        return row

    @cached_property
    def _renders_twice(self) -> bool:
        """Whether a function makes the requests, which may make another one each time."""
        return self.shape.builder.columns is None

    def _built(self, row: Mapping[str, Any]) -> Request:
        request = self.shape.builder.build(row)
        if self._renders_twice and self._n_rendered_twice < N_RENDERED_TWICE:
            self._n_rendered_twice += 1
            if self.shape.builder.build(row) != request:
                raise ConfigurationError(
                    "the prompt function makes two different requests from one row (does it use the time, or chance?), "
                    "so every materialization would pay anew. Nothing was sent; make it depend on the row alone."
                )
        return request

    def _not_put(self, asking: Sequence[OpenRow]) -> list[OpenRow]:
        """Return what has no good answer and was not put yet; of questions that Python said it is known only now."""
        asked = {"question": [row.question for row in asking]}
        hand_over(self.reader.connection, "_cb_asked", {"question": "VARCHAR"}, asked)
        query = f"SELECT _cb_good FROM ({good_answers(self.reader)}) SEMI JOIN _cb_asked ON _cb_good = question"
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
        return self.is_renamed or self._has_earlier_names

    @property
    def _has_earlier_names(self) -> bool:
        """Whether the output table has answers to questions by hashes of an earlier version."""
        if not self.reader.has_target():
            return False
        query = f"SELECT 1 FROM {self.reader.target.sql} WHERE request_hash NOT LIKE '{VERSION}%' LIMIT 1"
        return self.reader.connection.execute(query).fetchone() is not None


def _between(start: int, end: int) -> str:
    """Return the SQL of the wanted rows in a range of places, beside what was read of them."""
    within = f"_cb_place BETWEEN {start} AND {end}"
    return (
        f"FROM (SELECT * FROM _cb_wanted WHERE {within}) AS w "
        f"JOIN (SELECT * FROM _cb_read WHERE {within}) AS r USING (_cb_place)"
    )
