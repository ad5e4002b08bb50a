"""What there is to do for the questions of some partitions: for each question, and counted by row and reason."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import duckdb

from claude_batch_dagster.core.ledger import ChunkRecord, Claimed
from claude_batch_dagster.core.planning.canary import Evidence
from claude_batch_dagster.core.planning.forecast import REPAID, Reason
from claude_batch_dagster.core.planning.prompt_caching import CacheUse
from claude_batch_dagster.core.retries import Came, Plan, Rules
from claude_batch_dagster.core.tables import TableName, literal, quoted
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.storage.duckdb.asking.questions import questions_of
from claude_batch_dagster.storage.duckdb.bulk_load import hand_over
from claude_batch_dagster.storage.duckdb.collecting import answers
from claude_batch_dagster.storage.duckdb.collecting.answers import ANSWERS
from claude_batch_dagster.storage.duckdb.collecting.projection import KEPT
from claude_batch_dagster.storage.duckdb.costs import SPENDING

OPEN = "_cb_open"
"""A temporary table of the questions to which there is no good answer."""

KNOWN = {"question": "VARCHAR", "reason": "VARCHAR"}


@dataclass(frozen=True, kw_only=True)
class Planning:
    """Plans for some partitions of one output table, with one open connection."""

    connection: duckdb.DuckDBPyConnection
    target: TableName
    key: Sequence[str]
    """The key columns."""
    partition_keys: Sequence[str | None]

    def plan(self, claimed: Claimed, *, run_chunks: Collection[str], rules: Rules) -> Plan:
        """Return what is to be done for each question; `run_chunks` are the chunks that the run has sent."""
        self._find_open()
        found: Any = self.connection.execute(f"SELECT question FROM {OPEN}").fetchnumpy()
        past = answers.pasts(self.connection, OPEN, run_chunks)
        return Plan.of(
            set(found["question"].tolist()),
            past=past,
            in_flight=claimed.in_flight,
            known=claimed.chunk_ids,
            rules=rules,
        )

    def questions_of(self, keys: Collection[str]) -> dict[str, set[str]]:
        """
        Return what the rows with these keys ask, by key as it was written; nothing for a key that no row has.

        A key is text, that of several columns a JSON list; a row whose question is rejected has none.
        """
        named = {key: parts for key in keys for parts in _read(key, n_columns=len(self.key))}
        if not named:
            return {}
        parts = [f"_cb_part{n}" for n in range(len(self.key))]
        columns = dict(
            zip(["_cb_named", *parts], [list(named), *map(list, zip(*named.values(), strict=True))], strict=True)
        )
        hand_over(self.connection, "_cb_named_keys", dict.fromkeys(columns, "VARCHAR"), columns)
        same = (f"n.{part} = q.{quoted(name)}::VARCHAR" for part, name in zip(parts, self.key, strict=True))
        on = " AND ".join(same)
        rows = self.connection.execute(
            f"SELECT n._cb_named, q.request_hash FROM {self._questions} JOIN _cb_named_keys AS n ON {on}"
        ).fetchall()
        found: dict[str, set[str]] = defaultdict(set)
        for key, question in rows:
            found[key] |= set() if question is None else {question}
        return found

    def count(self, plan: Plan, changed: Reason) -> tuple[dict[str | None, Counter[Reason]], set[str]]:
        """
        Count rows by partition and reason; `changed` is that of rows with an answer to something else.

        Also returns the questions of those, if they would be paid for again.
        """
        self._find_open()
        known = dict(_known(plan))
        hand_over(self.connection, "_cb_known", KNOWN, {"question": list(known), "reason": list(known.values())})
        same_row = " AND ".join(f"t.{quoted(name)} IS NOT DISTINCT FROM q.{quoted(name)}" for name in self.key)
        good = f"t.status = '{Verdict.SUCCEEDED}'"
        reason = (
            f"CASE WHEN q.error IS NOT NULL THEN '{Reason.REJECTED}' WHEN o.question IS NULL THEN '{Reason.ANSWERED}' "
            f"WHEN q._cb_nth > 1 THEN '{Reason.SHARED}' WHEN k.reason IS NOT NULL THEN k.reason "
            f"WHEN {good} AND t.request_hash IS DISTINCT FROM q.request_hash THEN '{changed}' ELSE '{Reason.NEW}' END"
        )
        placed = (
            "(SELECT *, row_number() OVER (PARTITION BY request_hash ORDER BY _cb_row) AS _cb_nth "
            f"FROM (SELECT q.*, q.rowid AS _cb_row FROM {self._questions}))"
        )
        source = (
            f"{placed} AS q LEFT JOIN {OPEN} AS o ON o.question = q.request_hash "
            "LEFT JOIN _cb_known AS k ON k.question = q.request_hash "
            f"LEFT JOIN {self.target.sql} AS t ON {same_row} AND t.partition_key IS NOT DISTINCT FROM q.partition_key"
        )
        rows = self.connection.execute(
            f"SELECT q.partition_key, {reason} AS reason, count(*) FROM {source} GROUP BY ALL"
        ).fetchall()
        found: dict[str | None, Counter[Reason]] = {key: Counter() for key in self.partition_keys}
        for partition_key, name, n in rows:
            found[partition_key][Reason(name)] += n
        if changed not in REPAID or not any(rows[changed] for rows in found.values()):
            return found, set()
        repaid = self.connection.execute(f"SELECT q.request_hash FROM {source} WHERE {reason} = '{changed}'").fetchall()
        return found, {question for (question,) in repaid}

    def evidence(self, chunk_ids: Collection[str]) -> Evidence:
        """Return what the rows are worth that ask now what some chunks have answered, and what their answers cost."""
        verdict = (
            f"CASE WHEN t.request_hash = q.request_hash THEN t.status WHEN starts_with(t.error, {literal(KEPT)}) "
            f"THEN regexp_extract(substr(t.error, {len(KEPT) + 1}), '^[a-z]+') END"
        )
        same_row = " AND ".join(f"t.{quoted(name)} IS NOT DISTINCT FROM q.{quoted(name)}" for name in self.key)
        came = f"{ANSWERS.sql} WHERE chunk_id IN (SELECT unnest(?::VARCHAR[]))"
        verdicts = self.connection.execute(
            "SELECT verdict, count(*), any_value(error) FROM "
            f"(SELECT DISTINCT ON (q.request_hash) {verdict} AS verdict, "
            f"replace(t.error, {literal(KEPT)}, '') AS error FROM {questions_of(self.target).sql} AS q "
            f"JOIN {self.target.sql} AS t ON {same_row} AND t.partition_key IS NOT DISTINCT FROM q.partition_key "
            f"WHERE q.request_hash IN (SELECT question FROM {came})) WHERE verdict IS NOT NULL GROUP BY verdict",
            [list(chunk_ids)],
        ).fetchall()
        [(n_paid, n_priced, usd)] = self.connection.execute(
            f"SELECT count(*), count(cost_usd), coalesce(sum(cost_usd), 0) FROM {came} AND came = '{Came.SUCCEEDED}'",
            [list(chunk_ids)],
        ).fetchall()
        return Evidence(
            verdicts=Counter({name: n for name, n, _ in verdicts}),
            errors={name: error for name, _, error in verdicts if error is not None},
            n_paid=n_paid,
            cost_usd=usd if n_priced == n_paid else None,
        )

    def cache_use(self, chunks: Sequence[ChunkRecord]) -> CacheUse:
        """Return what the requests of some chunks did with the prompt cache."""
        found = self.connection.execute(
            f"SELECT chunk_id, sum(cache_read_tokens), sum(cache_write_tokens) FROM {SPENDING.sql} "
            "WHERE chunk_id IN (SELECT unnest(?::VARCHAR[])) AND cache_read_tokens + cache_write_tokens > 0 "
            "GROUP BY chunk_id",
            [[chunk.chunk_id for chunk in chunks]],
        ).fetchall()
        marked = {chunk_id for chunk_id, *_ in found}
        ends = [chunk.ended_at for chunk in chunks if chunk.ended_at and chunk.chunk_id in marked]
        return CacheUse(
            read_tokens=sum(int(read) for _, read, _ in found),
            written_tokens=sum(int(written) for *_, written in found),
            last_ended_at=max(ends, default=None),
        )

    def _find_open(self) -> None:
        self.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {OPEN} AS FROM {open_questions(self.target)}", [list(self.partition_keys)]
        )

    @property
    def _questions(self) -> str:
        """The questions of these partitions, as q."""
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE _cb_planned AS SELECT unnest(?::VARCHAR[]) AS _cb_partition",
            [list(self.partition_keys)],
        )
        return (
            f"{questions_of(self.target).sql} AS q "
            "JOIN _cb_planned AS p ON q.partition_key IS NOT DISTINCT FROM p._cb_partition"
        )


def open_questions(target: TableName) -> str:
    """Return a query of the questions of partitions to which there is no good answer; it takes the partitions."""
    return (
        f"(SELECT DISTINCT q.request_hash AS question FROM {questions_of(target).sql} AS q "
        "JOIN (SELECT unnest(?::VARCHAR[]) AS partition_key) AS p "
        "ON q.partition_key IS NOT DISTINCT FROM p.partition_key "
        f"ANTI JOIN (SELECT request_hash FROM {target.sql} WHERE status = '{Verdict.SUCCEEDED}') AS t "
        "ON t.request_hash = q.request_hash WHERE q.request_hash IS NOT NULL)"
    )


def _known(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the reason of each question that is neither new nor changed."""
    reasons: Mapping[Reason, Collection[str]] = {
        Reason.IN_FLIGHT: plan.in_flight,
        Reason.RETRY: plan.again,
        Reason.FINAL: plan.final,
        Reason.LEFT_OUT: plan.left_out,
    }
    return ((question, reason) for reason, questions in reasons.items() for question in questions)


def _read(key: str, *, n_columns: int) -> Iterator[list[str]]:
    """Yield the parts of a key as text, if it has as many as there are columns."""
    if n_columns == 1:
        yield [key]
        return
    with suppress(ValueError):
        parts = json.loads(key)
        if isinstance(parts, list) and len(parts) == n_columns:
            yield [part if isinstance(part, str) else json.dumps(part) for part in parts]
