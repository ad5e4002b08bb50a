"""What the collect sensor is to bring home: what was submitted, and what else is on its way."""

import json
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Self

from claude_batch_dagster.core.ledger import OPEN, ChunkRecord, Ledger, State
from claude_batch_dagster.core.ports import RETENTION, Batch, BatchApi, place_of
from claude_batch_dagster.core.waiting import look

RUNNING = {State.ACCEPTED, State.ADOPTED}
"""States in which only the API can say whether a batch has ended."""

Positions = Mapping[str | None, int]
"""Where in Dagster's event log the latest materialization of each partition stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Travelling:
    """What the ledger knows to be on its way, by one look."""

    carriers: Mapping[str | None, AbstractSet[str]]
    """The chunks that may still be at the API, by partition."""
    chunks: Mapping[str, ChunkRecord]
    """Those of which only the API can say whether they have ended."""
    elsewhere: AbstractSet[str | None]
    """Partitions all of whose rows on their way were sent to another base URL or workspace."""

    @classmethod
    def of(cls, ledger: Ledger, pipelines: Sequence[str], *, account: str) -> Self:
        """Read the ledger. What was sent to another place than this account's cannot be brought home from here."""
        carriers: dict[str | None, AbstractSet[str]] = {}
        for pipeline in pipelines:
            for key, found in ledger.unfinished(pipeline).items():
                carriers[key] = carriers.get(key, frozenset()) | found
        here = {
            chunk.chunk_id: chunk
            for pipeline in pipelines
            for chunk in ledger.chunks(pipeline, OPEN)
            if place_of(chunk.account) == place_of(account)
        }
        return cls(
            carriers={key: found & here.keys() for key, found in carriers.items() if found & here.keys()},
            chunks={chunk_id: chunk for chunk_id, chunk in here.items() if chunk.state in RUNNING},
            elsewhere={key for key, found in carriers.items() if not found & here.keys()},
        )

    def seen(self, api: BatchApi, keys: Collection[str | None]) -> "Seen":
        """Look once at the API's list, if any batch of these partitions may be running."""
        asked = {chunk_id for key in keys for chunk_id in self.carriers.get(key, ())} & self.chunks.keys()
        if not asked:
            return Seen()
        found = look(api, [chunk.batch_id for chunk in self.chunks.values() if chunk.batch_id])
        if found.trouble is not None:
            raise found.trouble
        batches = {chunk_id: found.batches.get(chunk.batch_id or "") for chunk_id, chunk in self.chunks.items()}
        given_up = {one for one, chunk in self.chunks.items() if chunk.given_up_at is not None}
        return Seen(
            running=_carried(self, {one for one, batch in batches.items() if not _is_over(self.chunks[one], batch)}),
            canceled=_carried(self, {one for one, batch in batches.items() if batch and batch.was_canceled} - given_up),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the API says of partitions."""

    running: AbstractSet[str | None] = frozenset()
    """Those with rows in a batch that has not ended."""
    canceled: AbstractSet[str | None] = frozenset()
    """Those with rows in a batch that somebody has canceled."""


def _carried(travelling: Travelling, chunk_ids: AbstractSet[str]) -> set[str | None]:
    return {key for key, carriers in travelling.carriers.items() if carriers & chunk_ids}


def _is_over(chunk: ChunkRecord, batch: Batch | None) -> bool:
    """Whether there is something to do: to collect, if only the news that the results are gone, or to give it up."""
    now = datetime.now(UTC)
    if batch is not None:
        return batch.ended or (chunk.give_up_at is not None and chunk.give_up_at <= now)
    return now - (chunk.batch_created_at or chunk.intended_at) > RETENTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The partitions that the asset is to be materialized for, each with a mark that tells one time from another."""

    submitted: Mapping[str | None, str] = field(default_factory=dict)
    """Submitted since they were materialized last."""
    left: Mapping[str | None, str] = field(default_factory=dict)
    """
    Submitted before that, with rows on their way all the same, or landed since by a run for other partitions.

    The run that materialized them had looked at their documents before these rows were sent.
    """
    stray: Mapping[str | None, str] = field(default_factory=dict)
    """Never submitted to the end, with rows on their way: the run that sent them died."""

    @classmethod
    def of(cls, submitted: Positions, materialized: Positions, travelling: Travelling, memory: "Memory") -> Self:
        """Compare what was submitted with what was materialized, and with what is on its way."""
        waiting = {key: str(at) for key, at in submitted.items() if at > materialized.get(key, 0)}
        sent = {
            key: f"{submitted.get(key, 0)}:{max(chunk_ids)}"
            for key, chunk_ids in travelling.carriers.items()
            if key not in waiting
        }
        landed = {key: mark for key, mark in memory.marks(materialized).items() if key not in waiting | sent}
        return cls(
            submitted={key: mark for key, mark in waiting.items() if key not in travelling.elsewhere},
            left=landed | {key: mark for key, mark in sent.items() if key in submitted},
            stray={key: mark for key, mark in sent.items() if key not in submitted},
        )

    @property
    def marks(self) -> Mapping[str | None, str]:
        """All of them."""
        return {**self.submitted, **self.left, **self.stray}

    def without(self, stray: AbstractSet[str | None]) -> Self:
        """Leave out some of those that were never submitted to the end."""
        return replace(self, stray={key: mark for key, mark in self.stray.items() if key not in stray})


@dataclass(frozen=True, slots=True)
class Memory:
    """
    Partitions with rows on their way that their materialization does not know of, as the last tick saw them.

    If another run lands these rows before the next tick, nothing else tells that the partition is not up to date.
    """

    seen: Mapping[str | None, tuple[int, str]]

    @classmethod
    def of(cls, cursor: str | None) -> Self:
        """Read what a tick has written."""
        return cls({key: (at, mark) for key, at, mark in json.loads(cursor or "[]")})

    @classmethod
    def after(cls, pending: Pending, materialized: Positions) -> Self:
        """Remember what is left."""
        return cls({key: (materialized.get(key, 0), mark) for key, mark in pending.left.items()})

    def marks(self, materialized: Positions) -> Mapping[str | None, str]:
        """Return those that were not materialized since."""
        return {key: mark for key, (at, mark) in self.seen.items() if at == materialized.get(key, 0)}

    @property
    def cursor(self) -> str:
        """As text; also that nothing is remembered has to be written."""
        return json.dumps([[key, at, mark] for key, (at, mark) in self.seen.items()], separators=(",", ":"))
