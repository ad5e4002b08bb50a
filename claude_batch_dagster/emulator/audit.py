"""The emulator's own memory of what it accepted and what it billed: the truth to check a client against."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from threading import RLock
from typing import Any

import orjson

from claude_batch_dagster.emulator.bill import Bill, add, billed
from claude_batch_dagster.emulator.clock import Clock, stamp
from claude_batch_dagster.emulator.lifecycle import Batch, standing
from claude_batch_dagster.emulator.requests import result_lines
from claude_batch_dagster.emulator.store import Store


@dataclass(frozen=True, kw_only=True)
class AcceptedBatch:
    """A batch that was accepted, whether or not the client ever heard of it."""

    id: str
    created_at: str
    workspace: str
    sha256: str
    """Of the body."""
    n_requests: int
    n_retries: int | None
    """The `x-stainless-retry-count` it came with."""


@dataclass(frozen=True, kw_only=True)
class AcceptedRequest:
    """A request of an accepted batch."""

    batch_id: str
    custom_id: str
    params_sha256: str
    """Of the params as JSON with sorted keys and no spaces, without breakpoints of the cache."""
    billed: bool
    """Whether it has been answered, by now."""


class Audit:
    """Append-only: deleting a batch does not take back what it cost."""

    def __init__(self, store: Store, clock: Clock, lock: RLock) -> None:
        self._store, self._clock, self._lock = store, clock, lock

    def accepted(self) -> list[AcceptedBatch]:
        """Return every batch accepted, oldest first."""
        return [_accepted(batch) for batch in self._batches()]

    def requests(self) -> Iterator[AcceptedRequest]:
        """Yield every request accepted."""
        now = self._clock.now()
        for batch in self._batches():
            n_done = standing(batch, now).n_done
            with self._lock:
                rows = self._store.requests(batch)
            for position, custom_id, digest, kind in rows:
                yield AcceptedRequest(
                    batch_id=batch.id,
                    custom_id=custom_id,
                    params_sha256=digest,
                    billed=position < n_done and kind == "succeeded",
                )

    def asked(self) -> Iterator[Mapping[str, Any]]:
        """Yield the params of every request accepted whose batch was not deleted, in no particular order."""
        for batch in self._batches():
            for line in () if batch.deleted else self._store.shelf.lines(batch.id):
                yield orjson.loads(line)[3]

    def bill(self, *, without: Collection[str] = ()) -> Bill:
        """
        Add up the tokens of every answer of a batch, by model; live calls are not on it. It makes each answer.

        Batches `without` which it is to be are left out, unless they were deleted.
        """
        now, bill = self._clock.now(), Bill()
        with self._lock:
            kept = self._store.bill_of_deleted()
        for batch in self._batches():
            if not batch.deleted and batch.id not in without:
                lines = result_lines(batch, standing(batch, now), self._store.shelf.lines(batch.id))
                kept += billed(lines).items()
        for model, tokens in kept:
            add(bill, model, tokens)
        return bill

    def billed(self) -> Counter[str]:
        """Count how often each params digest was answered and billed."""
        return Counter(request.params_sha256 for request in self.requests() if request.billed)

    def by_custom_id(self) -> dict[str, list[AcceptedRequest]]:
        """Return the requests accepted under each custom_id."""
        grouped: dict[str, list[AcceptedRequest]] = {}
        for request in self.requests():
            grouped.setdefault(request.custom_id, []).append(request)
        return grouped

    def n_posts(self) -> int:
        """Count the attempts to create a batch, refused ones included."""
        with self._lock:
            return self._store.n_posts()

    def n_refused(self) -> int:
        """Count the attempts to create a batch that came to nothing."""
        with self._lock:
            return self._store.n_posts(refused=True)

    def report(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        # Once: with 100,000 requests a second pass would be felt.
        requests = list(self.requests())
        return {
            "posts": self.n_posts(),
            "refused": self.n_refused(),
            "accepted": [vars(batch) for batch in self.accepted()],
            "billed": Counter(request.params_sha256 for request in requests if request.billed),
            "requests": [vars(request) for request in requests],
        }

    def _batches(self) -> list[Batch]:
        with self._lock:
            return self._store.batches()


def _accepted(batch: Batch) -> AcceptedBatch:
    return AcceptedBatch(
        id=batch.id,
        created_at=stamp(batch.created_at),
        workspace=batch.workspace,
        sha256=batch.sha256,
        n_requests=batch.n_requests,
        n_retries=batch.n_retries,
    )
