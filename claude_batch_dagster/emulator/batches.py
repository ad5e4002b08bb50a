"""Message batches: their six endpoints, apart from HTTP."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from math import ceil
from threading import RLock
from typing import Any

from claude_batch_dagster.emulator.bill import billed
from claude_batch_dagster.emulator.caching import Cache, Visit
from claude_batch_dagster.emulator.calls import Call
from claude_batch_dagster.emulator.clock import Clock, stamp
from claude_batch_dagster.emulator.downloads import HEADERS, bent
from claude_batch_dagster.emulator.envelope import parse_envelope
from claude_batch_dagster.emulator.faults import Fault, Faults
from claude_batch_dagster.emulator.ids import identifier
from claude_batch_dagster.emulator.lifecycle import RETENTION, WINDOW, Batch, Standing, Status, standing
from claude_batch_dagster.emulator.params import Setting
from claude_batch_dagster.emulator.reply import ApiError, Framing, Reply, invalid, json_reply, not_found
from claude_batch_dagster.emulator.requests import Fates, Queue, in_pieces, result_lines
from claude_batch_dagster.emulator.scripts import Scripts
from claude_batch_dagster.emulator.settings import Limits, Pace
from claude_batch_dagster.emulator.store import Store

_MOST_PER_PAGE = 1000
_PER_PAGE = 20
_LONGEST_PAUSE = 10
_KINDS = ("succeeded", "errored", "canceled", "expired")


class Batches:
    """Everything that can be done with batches."""

    def __init__(  # noqa: PLR0913 - the parts of one emulator
        self,
        *,
        store: Store,
        faults: Faults,
        scripts: Scripts,
        clock: Clock,
        pace: Pace,
        limits: Limits,
        seed: int,
        lock: RLock,
        cache: Cache,
        unlike_models: bool,
    ) -> None:
        self._store, self._faults, self._scripts, self._clock = store, faults, scripts, clock
        self._pace, self._limits, self._seed, self._lock = pace, limits, seed, lock
        self._cache, self._unlike_models = cache, unlike_models
        self._next = store.next_number()

    def create(self, call: Call, workspace: str, body: bytes | bytearray) -> tuple[Batch, Reply]:
        """Accept a batch, durably, or refuse it."""
        digest = sha256(body).hexdigest()
        pairs = parse_envelope(body, max_requests=self._limits.max_requests)
        if isinstance(body, bytearray):
            body.clear()  # everything in it has been parsed; a large body is not kept twice
        self._refuse_overflow(workspace, len(pairs))
        batch = self._new(call, workspace, n_requests=len(pairs), digest=digest)
        setting = Setting(version=batch.version, betas=betas(call))
        fates = Fates(self._faults, self._scripts, setting, seed=self._seed, unlike_models=self._unlike_models)
        visit = Visit(cache=self._cache, workspace=workspace, at=batch.created_at, number=batch.number)
        queue = Queue(pairs, fates, visit, number=batch.number, seed=self._seed)
        # The lines come first: without its row in the database a batch does not count.
        self._store.shelf.put(batch.id, queue.lines())
        with self._lock:
            self._store.add(batch, queue.rows, visit.rows())
        return batch, json_reply(self._view(batch, call, at=batch.created_at))

    def retrieve(self, call: Call, workspace: str) -> Reply:
        """Show one batch."""
        batch = self._find(call, workspace)
        return json_reply(self._view(batch, call), headers=self._pause(batch))

    def page(self, call: Call, workspace: str) -> Reply:
        """Show one page of the batches of a workspace, newest first."""
        limit = _limit(call.query.get("limit", str(_PER_PAGE)))
        batches = self._listed(call, workspace)
        page, has_more = _page(batches, call.query, limit)
        data = [self._view(batch, call) for batch in page]
        ends = {"first_id": page[0].id if page else None, "last_id": page[-1].id if page else None}
        return json_reply({"data": data, "has_more": has_more, **ends})

    def cancel(self, call: Call, workspace: str) -> Reply:
        """Ask a batch to stop; a second time changes nothing."""
        batch = self._find(call, workspace)
        now = self._clock.now()
        if standing(batch, now).ended:
            raise invalid(f"Batch {batch.id} has already ended and cannot be canceled.")
        with self._lock:
            self._store.cancel(batch, now)
        batch = replace(batch, cancel_at=batch.cancel_at or now)
        return json_reply(self._view(batch, call, at=now, canceling=True))

    def delete(self, call: Call, workspace: str) -> Reply:
        """Forget an ended batch."""
        batch = self._find(call, workspace)
        stands = standing(batch, self._clock.now())
        if not stands.ended:
            raise invalid("In progress batches cannot be deleted. Consider canceling the batch instead.")
        bill = billed(result_lines(batch, stands, self._store.shelf.lines(batch.id)))
        with self._lock:
            self._store.delete(batch, bill)
        return json_reply({"id": batch.id, "type": "message_batch_deleted"})

    def results(self, call: Call, workspace: str, fault: Fault | None) -> Reply:
        """Stream the results of an ended batch, in no particular order, as a fault leaves them."""
        batch = self._find(call, workspace)
        now, stands = self._clock.now(), standing(batch, self._clock.now())
        if not stands.ended or now >= batch.created_at + RETENTION or self._is_late(call, stands, now):
            raise not_found(f"Message Batch {batch.id} has no available results.")
        lines = result_lines(batch, stands, self._store.shelf.lines(batch.id))
        if fault:
            return bent(fault, lines, batch.n_requests)
        return Reply(headers=HEADERS, body=in_pieces(lines), framing=Framing.CHUNKED)

    def _new(self, call: Call, workspace: str, *, n_requests: int, digest: str) -> Batch:
        with self._lock:
            number, self._next = self._next, self._next + 1
        now = self._clock.now()
        never = self._faults.for_batch("never_ends", call, number)
        return Batch(
            number=number,
            id=identifier("msgbatch", self._seed, number, now.timestamp()),
            workspace=workspace,
            created_at=now,
            seconds=None if never else self._pace.seconds(n_requests),
            n_requests=n_requests,
            version=call.headers["anthropic-version"],
            sha256=digest,
            n_retries=call.n_retries,
        )

    def _refuse_overflow(self, workspace: str, n_requests: int) -> None:
        most = self._limits.queued_requests
        if most is None:
            return
        now = self._clock.now()
        queued = sum(b.n_requests for b in self._of(workspace) if not standing(b, now).ended)
        if queued + n_requests > most:
            raise ApiError(
                status=429,
                kind="rate_limit_error",
                message="This request would exceed your organization's limit "
                f"of {most} batch requests in the processing queue.",
                headers={"retry-after": "60"},
            )

    def _find(self, call: Call, workspace: str) -> Batch:
        with self._lock:
            batch = self._store.batch(call.batch_id)
        if batch is None or batch.deleted or batch.workspace != workspace or self._is_young(call, batch):
            raise not_found(f"Message Batch {call.batch_id} not found.")
        return batch

    def _is_young(self, call: Call, batch: Batch) -> bool:
        fault = self._faults.lasting("404_after_create", call)
        return fault is not None and _age(self._clock.now(), batch.created_at) < fault.lasting

    def _is_late(self, call: Call, stands: Standing, now: datetime) -> bool:
        fault = self._faults.lasting("404_after_end", call)
        return fault is not None and _age(now, stands.ended_at or now) < fault.lasting

    def _of(self, workspace: str) -> list[Batch]:
        with self._lock:
            batches = self._store.batches()
        return [batch for batch in reversed(batches) if batch.workspace == workspace and not batch.deleted]

    def _listed(self, call: Call, workspace: str) -> list[Batch]:
        batches, lag = self._of(workspace), self._faults.lasting("list_lag", call)
        now = self._clock.now()
        return [batch for batch in batches if lag is None or _age(now, batch.created_at) >= lag.lasting]

    def _pause(self, batch: Batch) -> dict[str, str]:
        now = self._clock.now()
        stands = standing(batch, now)
        if stands.ended:
            return {}
        # The API always says 10; a batch that ends sooner here should be polled sooner.
        left = _LONGEST_PAUSE if stands.ends_at is None else ceil((stands.ends_at - now).total_seconds())
        return {"retry-after": str(min(max(left, 1), _LONGEST_PAUSE))}

    def _view(self, batch: Batch, call: Call, *, at: datetime | None = None, canceling: bool = False) -> dict[str, Any]:
        now = at or self._clock.now()
        stands = standing(batch, now)
        if call.endpoint == "create":
            # The reply to a create is written before any request is looked at.
            stands = replace(stands, status=Status.IN_PROGRESS, n_done=0, ended_at=None)
        if canceling:
            stands = replace(stands, status=Status.CANCELING, ended_at=None)
        archived = batch.created_at + RETENTION
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": str(stands.status),
            "request_counts": self._counts(batch, stands),
            "ended_at": stamp(stands.ended_at) if stands.ended_at else None,
            "created_at": stamp(batch.created_at),
            "expires_at": stamp(batch.created_at + WINDOW),
            "archived_at": stamp(archived) if now >= archived else None,
            "cancel_initiated_at": stamp(batch.cancel_at) if batch.cancel_at else None,
            "results_url": self._results_url(batch, call) if stands.ended and now < archived else None,
        }

    def _counts(self, batch: Batch, stands: Standing) -> dict[str, int]:
        counts = dict.fromkeys(("processing", *_KINDS), 0)
        if stands.ended or (self._pace.progressive_counts and stands.n_done):
            with self._lock:
                counts |= self._store.counts(batch, stands.n_done)
        counts[stands.rest if stands.ended else "processing"] += batch.n_requests - sum(counts.values())
        return counts

    def _results_url(self, batch: Batch, call: Call) -> str:
        foreign = self._faults.lasting("foreign_results_url", call)
        return foreign.url if foreign else f"{call.origin}/v1/messages/batches/{batch.id}/results"


def betas(call: Call) -> frozenset[str]:
    """Return the betas a call asks for."""
    return frozenset(name.strip() for name in call.headers.get("anthropic-beta", "").split(","))


def _age(now: datetime, since: datetime) -> float:
    return (now - since).total_seconds()


def _limit(text: str) -> int:
    if not text.isdecimal():
        raise invalid("limit: Input should be a valid integer, unable to parse string as an integer")
    limit = int(text)
    if limit < 1:
        raise invalid("limit: Input should be greater than or equal to 1")
    if limit > _MOST_PER_PAGE:
        raise invalid(f"limit: Input should be less than or equal to {_MOST_PER_PAGE}")
    return limit


def _page(batches: "list[Batch]", query: Mapping[str, str], limit: int) -> "tuple[list[Batch], bool]":
    after, before = query.get("after_id"), query.get("before_id")
    if after and before:
        raise invalid("after_id and before_id cannot be used together")
    places = {batch.id: place for place, batch in enumerate(batches)}
    cursor = after or before
    if cursor and cursor not in places:
        raise invalid(f"{'after_id' if after else 'before_id'}: no batch has the id {cursor}")
    if before:
        newer = batches[: places[before]]
        return newer[-limit:], len(newer) > limit
    older = batches[places[after] + 1 :] if after else batches
    return older[:limit], len(older) > limit
