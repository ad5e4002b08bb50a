"""How time passes, and one poller for all the batches of a run."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from claude_batch_dagster.core.ports import Batch, BatchApi, Clock
from claude_batch_dagster.errors import ApiError, ApiRefusedError, CredentialError

MAX_RETRY_AFTER_SECONDS = 900.0
"""A server may ask for any pause; we do not sleep longer than this at a time."""

LIST_FROM = 3
"""From this many batches on, pages of the list are cheaper than a call for each."""

MAX_PAGES = 50
"""Pages of 1,000 batches read in one look; a batch deeper down is retrieved by id."""


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        time.sleep(seconds)


@dataclass(slots=True, kw_only=True)
class Pace:
    """How long to wait between two looks: longer each time nothing has changed."""

    first_seconds: float = 10.0
    longest_seconds: float = 60.0
    growth: float = 1.5
    _next: float | None = field(default=None, init=False)

    def pause(self, clock: Clock, *, at_least: float = 0.0, until: datetime | None = None) -> None:
        """Sleep, but not beyond a time that is to come, if one is given, and make the next pause longer."""
        wait = self.first_seconds if self._next is None else self._next
        self._next = min(self.longest_seconds, wait * self.growth)
        wait = max(wait, min(at_least, MAX_RETRY_AFTER_SECONDS))
        left = wait if until is None else (until - clock.now()).total_seconds()
        clock.sleep(min(wait, left) if left > 0 else wait)

    def restart(self) -> None:
        """Go back to the first pause: something has changed."""
        self._next = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the API showed."""

    batches: dict[str, Batch]
    """By id; a batch the API did not show this time is left out (a 404 can pass)."""
    trouble: ApiError | None = None
    """Why the look is not complete, if it is not."""

    @property
    def retry_after_seconds(self) -> float:
        """The pause the server asked for, in seconds."""
        wait = self.trouble.retry_after_seconds if isinstance(self.trouble, ApiRefusedError) else None
        return wait or 0.0


def look(api: BatchApi, batch_ids: Iterable[str]) -> Look:
    """
    Ask after batches: each by its id, or page by page when there are many.

    Trouble on the way is never a verdict on a batch: it is returned, and the caller looks again.
    Only a key that is no longer accepted raises (`CredentialError`).
    """
    wanted = set(batch_ids)
    found: dict[str, Batch] = {}
    try:
        if len(wanted) >= LIST_FROM:
            found = _listed(api, wanted)
        for batch_id in sorted(wanted - found.keys()):
            if (batch := _retrieved(api, batch_id)) is not None:
                found[batch_id] = batch
    except CredentialError:
        raise
    except ApiError as error:
        return Look(found, trouble=error)
    return Look(found)


def _listed(api: BatchApi, wanted: set[str]) -> dict[str, Batch]:
    found: dict[str, Batch] = {}
    after_id: str | None = None
    for _ in range(MAX_PAGES):
        page = api.list_batches(after_id=after_id)
        found |= {batch.id: batch for batch in page.batches if batch.id in wanted}
        if len(found) == len(wanted) or not page.has_more or not page.batches:
            break
        after_id = page.batches[-1].id
    return found


def _retrieved(api: BatchApi, batch_id: str) -> Batch | None:
    try:
        return api.retrieve(batch_id)
    except ApiRefusedError as error:
        if error.status == 404:  # noqa: PLR2004  (the API is known to lose sight of live batches for minutes)
            return None
        raise
