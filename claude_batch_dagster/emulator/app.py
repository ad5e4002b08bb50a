"""The emulator: HTTP calls in, HTTP replies out, and nothing else."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from email.utils import format_datetime
from itertools import count
from pathlib import Path
from threading import RLock

from claude_batch_dagster.emulator import control
from claude_batch_dagster.emulator.access import ORGANIZATION, Access
from claude_batch_dagster.emulator.audit import Audit
from claude_batch_dagster.emulator.bad_replies import instead, spoiled
from claude_batch_dagster.emulator.batches import Batches
from claude_batch_dagster.emulator.caching import Cache
from claude_batch_dagster.emulator.calls import Body, BodyTooLargeError, Call, gather, read_half
from claude_batch_dagster.emulator.clock import Clock, ManualClock
from claude_batch_dagster.emulator.fault_names import RESULTS, SPOILING
from claude_batch_dagster.emulator.faults import Fault, Faults
from claude_batch_dagster.emulator.ids import identifier
from claude_batch_dagster.emulator.live import Live
from claude_batch_dagster.emulator.reply import (
    TOO_LARGE,
    ApiError,
    Connection,
    Reply,
    invalid,
    json_reply,
    not_found,
)
from claude_batch_dagster.emulator.scripts import Scripts
from claude_batch_dagster.emulator.settings import Limits, Pace
from claude_batch_dagster.emulator.store import Store

_OFFSET = "clock_advanced_seconds"


class Emulator:
    """
    The Claude Message Batches API as a value.

    It speaks HTTP without a socket, has its own clock, never sleeps and may be
    used by many threads. Its answers are lexical, not Claude's.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own, all have defaults
        self,
        *,
        clock: Clock | None = None,
        seed: int = 0,
        batch_seconds: float = 60,
        request_seconds: float = 0,
        progressive_counts: bool = False,
        keys: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        state: Path | str | None = None,
        faults: Iterable[Fault] = (),
        cache_reads: float = 0.98,
        unlike_models: bool = False,
    ) -> None:
        folder = None if state is None else Path(state)
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        self.clock = clock or ManualClock()
        self.faults = Faults(seed)
        for fault in faults:
            self.faults.put(fault)
        self.answers = Scripts()
        self.pace = Pace(
            batch_seconds=batch_seconds,
            request_seconds=request_seconds,
            progressive_counts=progressive_counts,
        )
        self.limits = limits or Limits()
        self._seed, self._lock, self._store = seed, RLock(), Store(folder)
        self.clock.advance(seconds=max(0, (self._store.get(_OFFSET) or 0) - self.clock.advanced.total_seconds()))
        self.audit = Audit(self._store, self.clock, self._lock)
        self._access = Access(keys, self.clock, self.limits.requests_per_minute)
        self.cache = Cache(store=self._store, lock=self._lock, seed=seed, reads=cache_reads)
        self._live = Live(
            store=self._store,
            lock=self._lock,
            numbers=count(self._store.next_call_number()),
            faults=self.faults,
            scripts=self.answers,
            cache=self.cache,
            clock=self.clock,
            seed=seed,
            unlike_models=unlike_models,
        )
        self._batches = Batches(
            store=self._store,
            faults=self.faults,
            scripts=self.answers,
            clock=self.clock,
            pace=self.pace,
            limits=self.limits,
            seed=seed,
            lock=self._lock,
            cache=self.cache,
            unlike_models=unlike_models,
        )
        self._numbers = count(1)
        self._started = self.clock.now().timestamp()

    def handle(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Body = b"") -> Reply:
        """Answer one HTTP request; `path` includes the query, `body` may come in pieces."""
        call = Call.parse(method, path, headers or {})
        if call.path.startswith(control.PREFIX):
            return control.handle(self, call, gather(body, max_bytes=self.limits.max_body_bytes))
        number = next(self._numbers)
        fault = self.faults.for_call(call, number)
        # The start is part of it: ids of two lives of one server must differ.
        request_id = identifier("req", self._seed, self._started, number)
        reply, batch_number = self._answered(call, body, fault, request_id)
        if call.endpoint == "create" and reply.connection is not Connection.REFUSED:
            status = 0 if reply.connection is not Connection.KEPT else reply.status
            with self._lock:
                self._store.add_post(at=self.clock.now(), status=status, batch=batch_number, n_retries=call.n_retries)
        workspace = self._access.of_key(call.key)
        told = {"date": format_datetime(self.clock.now(), usegmt=True), **self._access.count(workspace)}
        return _with_headers(reply, request_id, workspace, told)

    def advance(self, *, seconds: float) -> None:
        """Advance the clock, and remember it in the state."""
        self.clock.advance(seconds=seconds)
        with self._lock:
            self._store.set(_OFFSET, self.clock.advanced.total_seconds())

    def close(self) -> None:
        """Let go of the state's files."""
        with self._lock:
            self._store.close()

    def _answered(self, call: Call, body: Body, fault: Fault | None, request_id: str) -> tuple[Reply, int | None]:
        if fault and fault.strikes_unread:
            if fault.name == "drop_mid_body":
                read_half(body, n_bytes=call.n_bytes)
            return instead(fault, call, request_id), None
        try:
            # A server that answers early still takes the body; clients rely on being able to send it.
            gathered = gather(body, max_bytes=self._most_bytes(call))
            if fault and not fault.strikes_after and fault.name not in RESULTS:
                return instead(fault, call, request_id), None
            reply, batch_number = self._served(call, gathered, fault)
        except BodyTooLargeError:
            return TOO_LARGE, None
        except ApiError as error:
            return json_reply(error.body(request_id), status=error.status, headers=error.headers), None
        if fault and fault.strikes_after:
            reply = spoiled(fault, reply) if fault.name in SPOILING else instead(fault, call, request_id)
        return reply, batch_number

    def _most_bytes(self, call: Call) -> int:
        live_call = call.endpoint in {"message", "count_tokens"}
        return self.limits.max_live_body_bytes if live_call else self.limits.max_body_bytes

    def _served(self, call: Call, body: bytes | bytearray, fault: Fault | None) -> tuple[Reply, int | None]:
        workspace = self._access.workspace(call)
        self._access.refuse_haste(workspace)
        match call.endpoint:
            case "create":
                batch, reply = self._batches.create(call, workspace, body)
                return reply, batch.number
            case "results":
                bend = fault if fault and fault.name in RESULTS else None
                return self._batches.results(call, workspace, bend), None
            case "retrieve" | "cancel" | "delete" as name:
                return getattr(self._batches, name)(call, workspace), None
            case "list":
                return self._batches.page(call, workspace), None
            case "message" | "count_tokens":
                return self._live.handle(call, workspace, body), None
            case _:
                raise invalid("Method Not Allowed", status=405) if call.known_path else not_found("Not found")


def _with_headers(reply: Reply, request_id: str, workspace: str, told: Mapping[str, str]) -> Reply:
    if reply is TOO_LARGE:
        return reply
    own = {
        "request-id": request_id,
        "anthropic-organization-id": ORGANIZATION,
        "anthropic-workspace-id": workspace,
    }
    return replace(reply, headers={**reply.headers, **own, **told})
