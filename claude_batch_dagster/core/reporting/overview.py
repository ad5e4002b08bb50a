"""What a ledger tells of the batches on their way, as data."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from claude_batch_dagster.core.ledger import OPEN, ChunkRecord, Lane, Sighting, State
from claude_batch_dagster.core.ports import RETENTION, place_of

OLD = timedelta(days=20)
"""From this age on results should be brought home soon."""

NOT_FOUND = frozenset({State.RELEASED, State.AMBIGUOUS, State.HELD, State.UNSEEN})
"""The API may have accepted the chunk, and nobody knows as which batch."""

AT_RISK = frozenset({State.RELEASED, State.AMBIGUOUS, State.HELD, State.ACCEPTED, State.ADOPTED, State.ENDED})
"""The API may have results of ours that are not on our disk yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """One chunk of a table's pipeline."""

    chunk_id: str
    pipeline: str
    state: State
    batch_id: str | None
    n_requests: int
    n_partitions: int
    spent_usd: float | None
    max_cost_usd: float | None
    age_seconds: float
    results_until: datetime | None
    """Until when the API keeps the results; None where it has none of ours, as far as is known."""
    results_are_old: bool
    """Whether they exist at the API only, and more than 20 of their 29 days are over."""
    base_url: str
    workspace_id: str
    run_id: str
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatus:
    """All chunks of one pipeline that were sent to one place."""

    pipeline: str
    base_url: str
    workspace_id: str
    n_in_flight: int
    n_landed: int
    spent_usd: float | None
    """None when the price of an answer is not known."""
    n_unconfirmed_sends: int
    """Batches of which it is not known whether they were accepted."""
    n_possible_duplicates: int
    """Requests that were set free although they may have been accepted."""
    possible_duplicate_usd: float | None
    """What those cost, or can cost at most; None when a price is not known."""


def batch_status(sighting: Sighting, now: datetime) -> BatchStatus:
    """Tell of one chunk."""
    chunk = sighting.chunk
    base_url, workspace_id = place_of(chunk.account).rsplit(" ", 1)
    # Of what was asked live the API keeps nothing.
    created_at = None if chunk.lane is Lane.LIVE else chunk.batch_created_at or chunk.released_at
    return BatchStatus(
        chunk_id=chunk.chunk_id,
        pipeline=chunk.pipeline,
        state=chunk.state,
        batch_id=chunk.batch_id,
        n_requests=chunk.n_requests,
        n_partitions=sighting.n_partitions,
        spent_usd=sighting.spent_usd,
        max_cost_usd=chunk.max_cost_usd,
        age_seconds=(now - chunk.intended_at).total_seconds(),
        results_until=created_at + RETENTION if created_at and chunk.state is not State.REFUSED else None,
        results_are_old=chunk.state in AT_RISK and created_at is not None and now - created_at > OLD,
        base_url=base_url,
        workspace_id=workspace_id,
        run_id=chunk.run_id,
        note=chunk.note,
    )


def table_statuses(sightings: Iterable[Sighting]) -> list[TableStatus]:
    """Sum up by pipeline, and by base URL and workspace: silence of one says nothing of another."""
    groups: dict[tuple[str, str], list[Sighting]] = {}
    for sighting in sightings:
        groups.setdefault((sighting.chunk.pipeline, place_of(sighting.chunk.account)), []).append(sighting)
    return [_table_status(pipeline, place, groups[pipeline, place]) for pipeline, place in sorted(groups)]


def _table_status(pipeline: str, place: str, sightings: Sequence[Sighting]) -> TableStatus:
    base_url, workspace_id = place.rsplit(" ", 1)
    chunks = [sighting.chunk for sighting in sightings]
    set_free = [sighting for sighting in sightings if sighting.chunk.set_free_at]
    return TableStatus(
        pipeline=pipeline,
        base_url=base_url,
        workspace_id=workspace_id,
        n_in_flight=_requests(chunks, OPEN),
        n_landed=_requests(chunks, {State.APPLIED}),
        spent_usd=total(sighting.spent_usd for sighting in sightings),
        n_unconfirmed_sends=sum(chunk.state in NOT_FOUND for chunk in chunks),
        n_possible_duplicates=sum(one.chunk.n_requests for one in set_free),
        possible_duplicate_usd=total(
            one.spent_usd if one.chunk.state is State.APPLIED else one.chunk.max_cost_usd for one in set_free
        ),
    )


def _requests(chunks: Iterable[ChunkRecord], states: Iterable[State]) -> int:
    wanted = frozenset(states)
    return sum(chunk.n_requests for chunk in chunks if chunk.state in wanted)


def total(costs: Iterable[float | None]) -> float | None:
    """Add up dollars; None as soon as one of them is not known."""
    known = list(costs)
    return None if None in known else sum(cost for cost in known if cost is not None)
