"""Sort the upstream rows: which have their answer, which are to be asked, which never can be."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claude_batch_dagster.core.chunks import Candidate
from claude_batch_dagster.core.ledger import RowKey, RowRecord
from claude_batch_dagster.core.requests import RejectedRowError, Request, RequestBuilder
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.errors import ConfigurationError

NO_KEY = "null"
"""Key of the one row of the output table that stands for all rows without a usable key."""

NO_KEY_ERROR = "the key is NULL or not UTF-8, so the row cannot be told from others; fill it upstream"

N_RENDERED_TWICE = 5
"""Rows of which a prompt function must make the same request twice, before any is sent."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row read from upstream, and what the output table holds for its key."""

    row: RowKey
    values: Mapping[str, Any]
    standing_status: str | None = None
    standing_hash: str | None = None


@dataclass(kw_only=True)
class Survey:
    """What stands upstream, held against what the output table already has."""

    n_rows: Counter[str | None] = field(default_factory=Counter)
    """Rows upstream by partition."""
    n_keys: Counter[str | None] = field(default_factory=Counter)
    """Different keys upstream by partition, as they were read."""
    n_answered: Counter[str | None] = field(default_factory=Counter)
    """Keys by partition whose answer stands already."""
    n_to_ask: Counter[str | None] = field(default_factory=Counter)
    """Keys by partition without a usable answer: to be sent, unless the ledger knows better."""
    rejected: dict[RowKey, str] = field(default_factory=dict)
    """Rows that can never be sent, and why."""
    shared: dict[RowKey, str] = field(default_factory=dict)
    """Rows that ask the same as another row, by request hash: they take over its answer."""
    wanted: dict[RowKey, str] = field(default_factory=dict)
    """What those rows ask now, by request hash, whose answers to some question may still come."""
    removed: list[RowKey] = field(default_factory=list)
    """Rows of the output table that are no longer upstream."""
    n_homeless: int = 0
    """Rows upstream whose partition expression is NULL: no partition ever asks them."""
    _read: "array[int]" = field(default_factory=lambda: array("q"), repr=False)
    """Hashes of the keys that were read: 8 bytes for each."""

    def count(self, row: RowKey) -> None:
        """Count a key that was read."""
        self.n_keys[row.partition_key] += 1
        self._read.append(hash(row))

    def n_unread(self, rows: Iterable[RowKey]) -> Counter[str | None]:
        """Count, by partition, those of the rows that were not there when upstream was read."""
        known = frozenset(self._read)
        return Counter(row.partition_key for row in rows if hash(row) not in known)

    @property
    def n_shared(self) -> Counter[str | None]:
        """Rows by partition that take over the answer of a row that asks the same."""
        return Counter(row.partition_key for row in self.shared)


@dataclass(frozen=True, slots=True)
class Sharing:
    """The question that a row shares with another one, while the table holds no good answer to it."""

    request_hash: str
    shown: str | None
    """The custom_id of the failure that the table shows for it in this row, if it shows one."""


def withdrawals(awaited: Iterable[RowRecord], wanted: Mapping[RowKey, str]) -> dict[tuple[str, int], bool]:
    """
    Return what has changed, by chunk and ordinal: whether nobody asks any more for an answer that may still come.

    It was asked for earlier than the one that the row asks for now, or shares, or has: it must not take its place.
    """
    return {
        (record.chunk_id, record.ordinal): not record.withdrawn
        for record in awaited
        if record.withdrawn != (wanted.get(record.row) != record.request_hash)
    }


@dataclass(kw_only=True)
class Sorter:
    """Takes windows of records and fills a `Survey`; rows to ask go to `put`."""

    builder: RequestBuilder
    repeated: frozenset[RowKey]
    """Keys that more than one upstream row has."""
    answered_elsewhere: Callable[[Sequence[str]], frozenset[str]]
    """Which of these request hashes have an answer in the table, under whatever key."""
    put: Callable[[Candidate], None]
    awaited: frozenset[RowKey] = frozenset()
    """Rows with an answer on its way, to whatever question."""
    survey: Survey = field(default_factory=Survey)
    _twins: dict[RowKey, list[tuple[Record, Request | None]]] = field(default_factory=dict)
    _leaders: set[str] = field(default_factory=set)
    _n_rendered_twice: int = 0

    def sort(self, windows: Iterable[Sequence[Record]]) -> Survey:
        """Sort all records; each key ends in exactly one place of the survey."""
        for window in windows:
            self._place([placed for record in window if (placed := self._rendered(record))])
        self._place([placed for twins in self._twins.values() if (placed := self._only_one(twins))])
        return self.survey

    def _rendered(self, record: Record) -> tuple[Record, Request] | None:
        """Render a row; None when it has found its place: rejected, or one of several with its key."""
        partition_key, key = record.row
        self.survey.n_rows[partition_key] += 1
        if key == NO_KEY:
            self._reject(record.row, NO_KEY_ERROR)
            return None
        try:
            request = self._build(record.values)
        except RejectedRowError as error:
            self._reject(record.row, str(error))
            request = None
        if record.row in self.repeated:
            self._twins.setdefault(record.row, []).append((record, request))
            return None
        return (record, request) if request else None

    def _build(self, values: Mapping[str, Any]) -> Request:
        request = self.builder.build(values)
        if self._n_rendered_twice < N_RENDERED_TWICE and self.builder.columns is None:
            self._n_rendered_twice += 1
            if self.builder.build(values) != request:
                raise ConfigurationError(
                    "the prompt function makes two different requests from one row (does it use the time, or chance?), "
                    "so every materialization would pay anew. Nothing was sent; make it depend on the row alone."
                )
        return request

    def _reject(self, row: RowKey, error: str) -> None:
        if row not in self.survey.rejected:
            self.survey.count(row)
        self.survey.rejected[row] = error

    def _only_one(self, twins: Sequence[tuple[Record, Request | None]]) -> tuple[Record, Request] | None:
        """Rows that share a key pass as one if they ask the very same thing; else none is sent."""
        record, request = twins[0]
        if request is not None and all(other == request for _, other in twins):
            return record, request
        if record.row in self.survey.rejected and all(other is None for _, other in twins):
            return None  # each for a reason of its own, told already
        self._reject(
            record.row,
            f"{len(twins)} upstream rows share this key and differ; make the key unique, or name more key columns",
        )
        return None

    def _place(self, rendered: Sequence[tuple[Record, Request]]) -> None:
        """Find out who is answered, who shares a question, and who is to be asked."""
        asking = []
        for record, request in rendered:
            self.survey.count(record.row)
            if record.row in self.awaited:
                self.survey.wanted[record.row] = request.request_hash
            if record.standing_status == Verdict.SUCCEEDED and record.standing_hash == request.request_hash:
                self.survey.n_answered[record.row.partition_key] += 1
            else:
                asking.append((record, request))
        elsewhere = self.answered_elsewhere([request.request_hash for _, request in asking]) if asking else frozenset()
        for record, request in asking:
            if request.request_hash in elsewhere or request.request_hash in self._leaders:
                self.survey.shared[record.row] = request.request_hash
                continue
            self._leaders.add(request.request_hash)
            self.survey.n_to_ask[record.row.partition_key] += 1
            self.put(Candidate(record.row, request, landed=record.standing_hash == request.request_hash))
