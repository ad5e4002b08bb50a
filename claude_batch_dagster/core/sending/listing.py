"""The API's list of batches as evidence: what is in it, and whether what is not in it counts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from claude_batch_dagster.core.ports import Batch, BatchApi, Clock
from claude_batch_dagster.errors import ApiResponseError

SKEW = timedelta(hours=1)
"""How far the API's clock may be behind what we know of it: a wide window costs a look, no more."""


@dataclass(frozen=True, slots=True)
class Walk:
    """All pages of the list once, newest first, back to some time."""

    batches: Mapping[str, Batch]
    behind: timedelta
    """How far the API's clock is behind ours; never negative."""
    served_at: datetime | None
    """The API's clock at the latest page, if it told."""
    age_seconds: float
    """Age of the oldest page, if a cache on the way handed it out."""

    def created_until(self, moment: datetime) -> frozenset[str]:
        """Return the ids of batches created at or before a moment."""
        return frozenset(batch.id for batch in self.batches.values() if batch.created_at <= moment)


@dataclass(frozen=True, slots=True)
class Listing:
    """The list walked twice, which a batch cannot slip through."""

    batches: Mapping[str, Batch]
    behind: timedelta
    """How far the API's clock is behind ours; never negative."""
    doubt: str | None
    """Why silence in it proves nothing; None if it counts."""
    served_at: datetime | None = None
    """The API's clock when it answered, if it told."""

    def created_since(self, moment: datetime) -> Iterator[Batch]:
        """Pick the batches that may have been created at or after a moment of our clock."""
        oldest = moment - self.behind - SKEW
        return (batch for batch in self.batches.values() if batch.created_at >= oldest)


def list_since(api: BatchApi, clock: Clock, since: datetime) -> Listing:
    """
    Walk the list twice, back to `since` in our time.

    Batches may be created while pages are turned, and a page may be skipped or come from a cache. So
    absence counts only if both walks agree on everything that was there at the first, and none is stale.
    """
    first, second = walk(api, clock, since), walk(api, clock, since)
    age = max(first.age_seconds, second.age_seconds)
    doubt = None
    if age > 0:
        doubt = f"the list of batches came from a cache on the way, {age:.0f} s old, and proves nothing"
    elif not _agree(first, second):
        doubt = "two walks through the list of batches differ"
    batches = {**first.batches, **second.batches}
    return Listing(batches, max(first.behind, second.behind), doubt, second.served_at or first.served_at)


def _agree(first: Walk, second: Walk) -> bool:
    newest = max((batch.created_at for batch in first.batches.values()), default=None)
    return not second.batches if newest is None else first.batches.keys() == second.created_until(newest)


def walk(api: BatchApi, clock: Clock, since: datetime) -> Walk:
    """Read the list page by page, back to an hour before `since`, a moment of our clock."""
    found: dict[str, Batch] = {}
    behind, age, served_at, after_id = timedelta(0), 0.0, None, None
    while True:
        page = api.list_batches(after_id=after_id)
        age = max(age, page.age_seconds)
        if page.served_at is not None:
            behind, served_at = max(behind, clock.now() - page.served_at), page.served_at
        n_before = len(found)
        for batch in page.batches:
            if batch.created_at < since - behind - SKEW:
                return Walk(found, behind, served_at, age)
            found[batch.id] = batch
        if not page.has_more:
            return Walk(found, behind, served_at, age)
        if len(found) == n_before:
            raise ApiResponseError("the API's list of batches does not go on: a page repeats or is empty")
        after_id = page.batches[-1].id
