"""The emulator's own memory of what it accepted and what it billed: the truth to check a client against."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import RLock
from typing import Any

import orjson

from claude_batch_dagster.emulator.bill import Bill, Tokens, add, billed
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


@dataclass(frozen=True, kw_only=True)
class AnsweredCall:
    """A live message that was answered, and so billed, whether or not the client ever heard the answer."""

    at: str
    workspace: str
    params_sha256: str
    """As that of an `AcceptedRequest`: what is asked in a batch and live has one digest."""
    model: str
    """That has answered."""
    tokens: Tokens


class Audit:
    """Append-only: deleting a batch does not take back what it cost."""

    def __init__(self, store: Store, clock: Clock, lock: RLock) -> None:
        self._store, self._clock, self._lock = store, clock, lock

    def accepted(self) -> list[AcceptedBatch]:
        """Return every batch accepted, oldest first."""
        return [_accepted(batch) for batch in self._batches()]

    def ended_at(self) -> dict[str, datetime]:
        """Return when each batch has ended, of those that have."""
        now = self._clock.now()
        found = {batch.id: standing(batch, now).ended_at for batch in self._batches()}
        return {batch_id: at for batch_id, at in found.items() if at is not None}

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
        Add up the tokens of every answer of a batch, by model. It makes each answer.

        Live calls have other prices, and are on `live_bill()`. Batches `without` which it is to be are left out,
        unless they were deleted.
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

    def live_bill(self) -> Bill:
        """Add up the tokens of every live answer, by model. Batches have other prices, and are on `bill()`."""
        bill = Bill()
        for call in self.live():
            add(bill, call.model, call.tokens)
        return bill

    def live(self) -> list[AnsweredCall]:
        """Return every live message that was answered, oldest first."""
        with self._lock:
            rows = self._store.calls()
        return [
            AnsweredCall(at=stamp(at), workspace=workspace, params_sha256=digest.hex(), model=model, tokens=tokens)
            for at, workspace, digest, model, tokens in rows
        ]

    def billed(self) -> Counter[str]:
        """Count how often each params digest was answered and billed, in a batch or live."""
        return _billed(self.requests(), self.live())

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
        requests, live = list(self.requests()), self.live()
        return {
            "posts": self.n_posts(),
            "refused": self.n_refused(),
            "accepted": [vars(batch) for batch in self.accepted()],
            "billed": _billed(requests, live),
            "requests": [vars(request) for request in requests],
            "live": [{**vars(call), "tokens": vars(call.tokens)} for call in live],
        }

    def _batches(self) -> list[Batch]:
        with self._lock:
            return self._store.batches()


def _billed(requests: Iterable[AcceptedRequest], live: Iterable[AnsweredCall]) -> Counter[str]:
    counted = Counter(request.params_sha256 for request in requests if request.billed)
    counted.update(call.params_sha256 for call in live)
    return counted


def _accepted(batch: Batch) -> AcceptedBatch:
    return AcceptedBatch(
        id=batch.id,
        created_at=stamp(batch.created_at),
        workspace=batch.workspace,
        sha256=batch.sha256,
        n_requests=batch.n_requests,
        n_retries=batch.n_retries,
    )
