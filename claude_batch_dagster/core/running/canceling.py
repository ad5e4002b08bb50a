"""Which batches are canceled when a person terminates a run, and which go on."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from claude_batch_dagster.core.ledger import ChunkRecord, State
from claude_batch_dagster.core.running.following import Following
from claude_batch_dagster.errors import ApiError


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """What became of the batches of a run that was terminated: ids, and what went wrong."""

    canceled: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Those that go on, since other runs or partitions need them."""
    failures: list[ApiError] = field(default_factory=list)


def cancel(
    following: Following, *, run_id: str, partition_keys: AbstractSet[str | None], is_over: Callable[[str], bool]
) -> Cancellation:
    """
    Ask the API to stop what this run has sent, and what it waits for that nobody else has a use for.

    A batch of another run goes on if that has not ended (`is_over`, by its id), or if it has rows of partitions that
    are not this run's.
    """

    def is_needed(chunk: ChunkRecord) -> bool:
        if chunk.run_id == run_id:
            return False
        parts = set(following.ledger.requests(chunk.chunk_id).partition_keys)
        return not (parts <= partition_keys and is_over(chunk.run_id))

    done = Cancellation()
    for chunk in (following.ledger.chunk(chunk_id) for chunk_id in sorted(following.followed | following.sent)):
        if chunk.state not in {State.ACCEPTED, State.ADOPTED} or not chunk.batch_id:
            continue
        if is_needed(chunk):
            done.left.append(chunk.batch_id)
            continue
        try:
            following.api.cancel(chunk.batch_id)
            done.canceled.append(chunk.batch_id)
        except ApiError as error:
            done.failures.append(error)
    return done
