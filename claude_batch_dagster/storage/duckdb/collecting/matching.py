"""
Match the results of one chunk with its requests, by custom_id, and price them.

The database does it in columns; the odd line is read alone, with care.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

import duckdb

from claude_batch_dagster.core.collecting.answer_records import came_of, recorded, word
from claude_batch_dagster.core.collecting.answer_records import spending as added_up
from claude_batch_dagster.core.collecting.results import (
    MAX_TOKENS,
    USUAL,
    Result,
    Succeeded,
    UnreadableLineError,
    decode,
)
from claude_batch_dagster.core.ledger import ChunkRecord, Lane, Requests, Spend
from claude_batch_dagster.core.ports import Lack
from claude_batch_dagster.core.pricing import FEMTO, rates_of
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.tables import literal
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over
from claude_batch_dagster.storage.duckdb.collecting import answers, spending
from claude_batch_dagster.storage.files.spool import lines_of

MESSAGE = (
    "STRUCT(model VARCHAR, stop_reason VARCHAR, stop_details JSON, "
    'content STRUCT("type" VARCHAR, "text" VARCHAR)[], '
    "usage STRUCT(input_tokens BIGINT, output_tokens BIGINT, cache_creation_input_tokens BIGINT, "
    "cache_read_input_tokens BIGINT, cache_creation STRUCT(ephemeral_1h_input_tokens BIGINT), "
    f"server_tool_use JSON, {', '.join(f'{name} VARCHAR' for name in USUAL)}))"
)
RESULT = f'STRUCT("type" VARCHAR, message {MESSAGE})'
"""What is read of a result; a line that is not of this form is found to be odd."""

TOKENS = ("plain_tokens", "output_tokens", "written_tokens", "written_1h_tokens", "cached_tokens")
"""Tokens by kind, in the order of the rates."""

THOUGHTS = "('thinking', 'redacted_thinking')"
"""Types of a block that may stand before the text, and are no part of the answer."""

PATTERNS = frozenset("*?[")
"""Characters with a meaning in the name of a file that DuckDB is to read."""

SMALLEST_BUFFER = 1 << 16

LONGEST_LINE = 4_000_000
"""Bytes of a line for which the database may take its memory, twelve times as many: no answer is nearly as long."""

CUSTOM_ID = re.compile(rb'\{"custom_id": ?"([^"\\]+)"')
"""How a line begins, as the API writes it."""

SENT = {
    "ordinal": "INTEGER",
    "partition_key": "VARCHAR",
    "custom_id": "VARCHAR",
    "question": "VARCHAR",
    "attempt": "INTEGER",
}


@dataclass
class Gathered:
    """What lands together: what came back for some chunks, in temporary tables of one connection."""

    chunk_ids: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    """Each of some of it, in the columns of the answers."""
    bills: list[str] = field(default_factory=list)
    """Queries of the Messages among it, in the columns of a bill."""
    n_names: int = 0

    def new_name(self) -> str:
        """Name a table that may be added."""
        self.n_names += 1
        return f"_cb_gathered_{self.n_names}"

    def add(self, chunk_id: str, *queries: str) -> None:
        """Let a chunk land, with all that these queries yield."""
        self.chunk_ids.append(chunk_id)
        self.queries += queries


@dataclass(kw_only=True)
class SpooledReceipt:
    """Reads what came back for one chunk, with one open connection."""

    connection: duckdb.DuckDBPyConnection
    gathered: Gathered
    chunk: ChunkRecord
    requests: Requests
    now: datetime
    is_contradictory: bool = field(default=False, init=False)
    """Whether there were two different results for one request; the first one counts."""
    _odd: dict[int, Result] = field(default_factory=dict, init=False, repr=False)
    """Results that were read with care, by ordinal."""

    def read(self, file: Path) -> None:
        """Match the results in a file of the spool with the requests, by custom_id, in any order."""
        self._lay_out_requests()
        self._read_lines(file)
        self._match()
        self._read_odd(file)
        self.connection.execute("DROP TABLE _cb_lines; DROP TABLE _cb_sent")  # what lands needs the memory

    @cached_property
    def _plain(self) -> str:
        """The table of results that the database has read by itself."""
        return self.gathered.new_name()

    @property
    def n_requests(self) -> int:
        """How many requests the chunk has."""
        return len(self.requests.custom_ids)

    @cached_property
    def lacking(self) -> frozenset[int]:
        """Requests without a result, by ordinal."""
        return self._unmatched - self._odd.keys()

    @property
    def n_succeeded(self) -> int:
        """How many results are Messages."""
        odd = sum(isinstance(result, Succeeded) for result in self._odd.values())
        return self.n_requests - len(self._unmatched) + odd

    def outcomes(self) -> dict[int, str]:
        """Return the ledger's word for each result that is no Message, by ordinal."""
        others = {place: one for place, one in self._odd.items() if not isinstance(one, Succeeded)}
        return {place: word(came_of(one)) for place, one in others.items()}

    def spends(self, ordinals: Collection[int] | None = None) -> list[Spend]:
        """Return what the Messages cost: all of them, or those of some requests."""
        among = "" if ordinals is None else "WHERE list_contains($ordinals::INTEGER[], ordinal)"
        found = self.connection.execute(
            "SELECT partition_key, count(*), sum(input_tokens), sum(output_tokens), "
            "CASE WHEN count(paid_femto) = count(*) THEN sum(paid_femto) END, "
            f"CASE WHEN count(live_femto) = count(*) THEN sum(live_femto) END FROM {self._plain} {among} GROUP BY ALL",
            {} if ordinals is None else {"ordinals": sorted(ordinals)},
        ).fetchall()
        odd = [
            (self.requests.partition_keys[place], one)
            for place, one in self._odd.items()
            if isinstance(one, Succeeded) and (ordinals is None or place in ordinals)
        ]
        plain = [
            Spend(
                partition_key=partition_key,
                n_requests=n,
                input_tokens=int(input_tokens),
                output_tokens=int(output_tokens),
                cost_usd=None if batch is None else int(batch) / FEMTO,
                live_cost_usd=None if live is None else int(live) / FEMTO,
            )
            for partition_key, n, input_tokens, output_tokens, batch, live in found
        ]
        return [*plain, *added_up(odd, self.chunk.lane)]

    def land(self, without: Mapping[int, Lack]) -> None:
        """Add what came back to what lands."""
        records = recorded(self.chunk, self.requests, {**self._odd, **without}, self.now)
        answers.lay_out(self.connection, records, odd := self.gathered.new_name())
        same = {
            "chunk_id": self.chunk.chunk_id,
            "batch_id": self.chunk.batch_id,
            "answered_at": (self.chunk.ended_at or self.now).isoformat(),
            "came": Came.SUCCEEDED,
        }
        shared = "".join(f", {literal(value)} AS {name}" for name, value in same.items())
        plain = f"SELECT *, false AS sanitized, NULL AS explanation{shared} FROM {self._plain}"
        self.gathered.add(self.chunk.chunk_id, plain, f"FROM {odd}")
        odd_bill = self.gathered.new_name()
        spending.lay_out(self.connection, self.requests, self._odd, odd_bill, lane=self.chunk.lane)
        self.gathered.bills += [spending.billed(self.chunk, table) for table in (self._plain, odd_bill)]

    # --- reading -----------------------------------------------------------------------------------

    def _lay_out_requests(self) -> None:
        requests = self.requests
        values = {
            "ordinal": range(self.n_requests),
            "partition_key": requests.partition_keys,
            "custom_id": requests.custom_ids,
            "question": requests.questions,
            "attempt": requests.attempts,
        }
        hand_over(self.connection, "_cb_sent", SENT, values)

    def _read_lines(self, file: Path) -> None:
        """Read every line that is what most are: a Message with one text, perhaps after a thought, and sane numbers."""
        with file.open("rb") as lines:
            longest = max(map(len, lines), default=0)
        usage, message, content = "result.message.usage", "result.message", "result.message.content"
        written = f"coalesce({usage}.cache_creation_input_tokens, 0)"
        laid = {
            "model": f"{message}.model",
            "stop_reason": f"{message}.stop_reason",
            "text": f"{content}[len({content})].text",
            "plain_tokens": f"{usage}.input_tokens",
            "output_tokens": f"{usage}.output_tokens",
            "written_1h_tokens": f"least(coalesce({usage}.cache_creation.ephemeral_1h_input_tokens, 0), {written})",
            "written_tokens": f"{written} - written_1h_tokens",
            "cached_tokens": f"coalesce({usage}.cache_read_input_tokens, 0)",
        }
        is_plain = " AND ".join(
            [
                "result.type = 'succeeded'",
                f"{message}.stop_details IS NULL",
                f"NOT regexp_matches(coalesce({usage}.server_tool_use::VARCHAR, ''), '[1-9]')",
                *(
                    f"coalesce({usage}.{name} IN ({', '.join(map(literal, values))}), true)"
                    for name, values in USUAL.items()
                ),
                f"{content}[len({content})].type = 'text'",
                f"(len({content}) = 1 OR len({content}) = 2 AND {content}[1].type IN {THOUGHTS})",
                *(f"{name} IS NOT NULL" for name in ("text", "model", "stop_reason")),
                *(f"{name} BETWEEN 0 AND {MAX_TOKENS}" for name in TOKENS),
            ]
        )
        source, values = self._lines(file, longest)
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE _cb_lines AS SELECT custom_id, "
            f"{', '.join(f'{text} AS {name}' for name, text in laid.items())}, "
            f"coalesce({is_plain}, false) AS is_plain FROM {source} WHERE custom_id IS NOT NULL",
            values,
        )

    def _lines(self, file: Path, longest: int) -> tuple[str, dict[str, str]]:
        """Return what is read, with its values: the lines of the file, or nothing if the database should not."""
        if longest > LONGEST_LINE or not self._can_read(file):
            return f"(SELECT NULL::VARCHAR AS custom_id, NULL::{RESULT} AS result WHERE false)", {}
        columns = f"{{custom_id: 'VARCHAR', result: '{RESULT}'}}"
        largest = f"maximum_object_size = {max(longest + 1, SMALLEST_BUFFER)}"
        options = f"format = 'newline_delimited', columns = {columns}, ignore_errors = true, {largest}"
        return f"read_json($file, {options})", {"file": str(file)}

    def _can_read(self, file: Path) -> bool:
        """Whether the database may read other files, which its owner can forbid, and would read this one alone."""
        allowed = self.connection.execute("SELECT current_setting('enable_external_access')").fetchall()
        return bool(allowed[0][0]) and not PATTERNS.intersection(str(file))

    def _match(self) -> None:
        """Join the plain results with their requests, and price them."""
        connection = self.connection
        models = connection.execute("SELECT DISTINCT model FROM _cb_lines WHERE is_plain").fetchall()
        rates = {model: rates_of(model) for (model,) in models}
        names = [f"{side}_{kind}" for side in (Lane.BATCH, Lane.LIVE) for kind in TOKENS]
        known = {model: one for model, one in rates.items() if one is not None}
        table = zip(*([*one.batch, *one.live] for one in known.values()), strict=True)
        hand_over(
            connection,
            "_cb_rates",
            {"model": "VARCHAR", "below": "BIGINT", **dict.fromkeys(names, "BIGINT")},
            {
                "model": list(known),
                "below": [one.below for one in known.values()],
                **dict(zip(names, table if known else [()] * len(names), strict=True)),
            },
        )
        lane = self.chunk.lane
        paid, live = (" + ".join(f"{kind}::HUGEINT * r.{side}_{kind}" for kind in TOKENS) for side in (lane, Lane.LIVE))
        uncached = f"input_tokens::HUGEINT * r.{lane}_{TOKENS[0]} + l.output_tokens::HUGEINT * r.{lane}_{TOKENS[1]}"
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {self._plain} AS SELECT s.*, l.text, l.stop_reason AS detail, l.model, "
            "plain_tokens + written_tokens + written_1h_tokens + cached_tokens AS input_tokens, l.output_tokens, "
            "cached_tokens AS cache_read_tokens, written_tokens + written_1h_tokens AS cache_write_tokens, "
            f"{paid} AS paid_femto, {live} AS live_femto, paid_femto::DOUBLE / {FEMTO} AS cost_usd, "
            f"live_femto::DOUBLE / {FEMTO} AS live_cost_usd, ({uncached})::DOUBLE / {FEMTO} AS uncached_cost_usd "
            "FROM _cb_lines AS l JOIN _cb_sent AS s USING (custom_id) LEFT JOIN _cb_rates AS r ON r.model = l.model "
            "WHERE l.is_plain AND coalesce(input_tokens < r.below, true) AND l.custom_id NOT IN "
            "(SELECT custom_id FROM _cb_lines GROUP BY custom_id HAVING count(*) > 1)"
        )

    @cached_property
    def _unmatched(self) -> frozenset[int]:
        """Requests without a plain result, by ordinal."""
        query = f"SELECT ordinal FROM _cb_sent ANTI JOIN {self._plain} USING (ordinal)"
        return frozenset(place for (place,) in self.connection.execute(query).fetchall())

    def _read_odd(self, file: Path) -> None:
        """Read what is left of the lines as they are: the first of two results for one request counts."""
        if not self._unmatched:
            return
        wanted = {self.requests.custom_ids[place]: place for place in self._unmatched}
        for line in lines_of(file):
            named = CUSTOM_ID.match(line)
            if named and named[1].decode(errors="replace") not in wanted:
                continue
            try:
                result = decode(line)
            except UnreadableLineError:
                continue
            place = wanted.get(result.custom_id)
            if place is not None and self._odd.setdefault(place, result) != result:
                self.is_contradictory = True
