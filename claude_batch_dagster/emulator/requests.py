"""
The fate of every request, decided when its batch is accepted.

Deciding is cheap and happens once; answering is dear and waits until somebody
reads the results.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from zlib import crc32

import orjson

from claude_batch_dagster.emulator.caching import CONTROL, CacheUse, Visit, unmarked
from claude_batch_dagster.emulator.faults import Fault, Faults
from claude_batch_dagster.emulator.ids import digest, identifier
from claude_batch_dagster.emulator.lifecycle import Batch, Standing
from claude_batch_dagster.emulator.messages import message
from claude_batch_dagster.emulator.models import ability_of
from claude_batch_dagster.emulator.params import Params, Setting, complaint_about
from claude_batch_dagster.emulator.reading import last_user_text
from claude_batch_dagster.emulator.scripts import Scripted, Scripts
from claude_batch_dagster.emulator.store import RequestRow

Pair = tuple[str, dict[str, Any]]
Error = tuple[str, str]
"""Type and message of an errored request."""

_ERRORED = (("api_error", "Internal server error"), ("overloaded_error", "Overloaded"))
_UNDONE = frozenset(["errored", "invalid_request", "invalid", "expired", "canceled"])
_PIECE_BYTES = 1 << 16
_LAST_OF_LINE: tuple[Any, ...] = (None, None, 1.0)
_SHORTEST_LINE = 4


@dataclass(frozen=True)
class Fate:
    """What will become of one request, unless its batch is canceled or expires first."""

    name: str
    """A row fault, `invalid`, or empty for an ordinary answer."""
    error: Error | None = None
    scripted: Scripted | None = None
    """What is answered, where that was written down."""
    cache: CacheUse | None = None
    """What it reads from the cache and writes to it, if it asks for that."""
    ability: float = 1.0
    """Of the model that answers."""

    @property
    def kind(self) -> str:
        """The `type` of its result."""
        if self.name not in _UNDONE:
            return "succeeded"
        return self.name if self.name in {"expired", "canceled"} else "errored"


class Queue:
    """The requests of a batch in the order they are worked on."""

    def __init__(self, pairs: list[Pair], fates: "Fates", visit: Visit, *, number: int, seed: int) -> None:
        self._start = digest(seed, number)
        self._pairs, self._fates, self._visit, self._number = pairs, fates, visit, number
        self.rows: list[RequestRow] = []
        """What the audit keeps of each request; complete once the lines were taken."""

    def lines(self) -> Iterator[bytes]:
        """Yield each request with its fate, ready to be kept; works once, for it lets go of what it yields."""
        pairs = self._pairs
        order = sorted(range(len(pairs)), key=lambda index: crc32(pairs[index][0].encode(), self._start))
        for position, index in enumerate(order):
            custom_id, params = pairs[index]
            # A batch may have 256 MB: what was written out is let go.
            pairs[index] = ("", {})
            fate = self._fates.of(custom_id, params, self._number)
            known, marked = identified(params)
            cached = marked and fate.kind == "succeeded"
            use = self._visit.use(params, salt=custom_id, position=position) if cached else None
            kept = (custom_id, fate.name, fate.error, params, fate.scripted, use, fate.ability)
            self.rows.append((position, custom_id, known, fate.kind))
            yield orjson.dumps(kept)


class Fates:
    """Decides for each request of one batch."""

    def __init__(self, faults: Faults, scripts: Scripts, setting: Setting, *, seed: int, unlike_models: bool) -> None:
        self._faults, self._scripts, self._setting, self._seed = faults, scripts, setting, seed
        self._unlike_models = unlike_models
        self._active = faults.of_rows()

    def of(self, custom_id: str, params: Params, number: int) -> Fate:
        """Return the fate of one request."""
        if complaint := complaint_about(params, self._setting):
            return Fate("invalid", (complaint.kind, complaint.message))
        ability = ability_of(params["model"], unlike_models=self._unlike_models)
        for fault in self._active:
            aimed = not fault.text or fault.text in last_user_text(params)
            if aimed and self._faults.strikes(fault, custom_id, number):
                return replace(self._struck(fault, custom_id, number), ability=ability)
        return Fate("", scripted=self._scripts.of(params), ability=ability)

    def _struck(self, fault: Fault, custom_id: str, number: int) -> Fate:
        if fault.name == "errored":
            return Fate("errored", _ERRORED[digest(self._seed, custom_id, number) % 2])
        if fault.name == "invalid_request":
            return Fate("invalid_request", ("invalid_request_error", "Could not process image"))
        return Fate(fault.name)


def identified(params: Params) -> tuple[bytes, bool]:
    """Return the digest that the audit knows params by, and whether they have a breakpoint of the cache."""
    # Two requests that ask the same are the same, whatever the order of their keys, cached or not.
    canonical = orjson.dumps(params, option=orjson.OPT_SORT_KEYS)
    marked = CONTROL in canonical
    if marked:
        canonical = orjson.dumps(unmarked(params), option=orjson.OPT_SORT_KEYS)
    return sha256(canonical).digest(), marked


def result_lines(batch: Batch, standing: Standing, lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the results of an ended batch, one line at a time, computing each answer when it is due."""
    for position, line in enumerate(lines):
        kept: list[Any] = orjson.loads(line)
        # Lines of before say less: they have nothing scripted or cached, and their models are alike.
        kept += _LAST_OF_LINE[len(kept) - _SHORTEST_LINE :]
        custom_id, name, error, params, scripted, cache, ability = kept
        if position >= standing.n_done:
            result: dict[str, Any] = {"type": standing.rest}
        else:
            fate = Fate(name, error, scripted, CacheUse(**cache) if cache else None, ability)
            result = _result(batch, custom_id, params, fate)
        yield orjson.dumps({"custom_id": custom_id, "result": result}, option=orjson.OPT_APPEND_NEWLINE)


def in_pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Gather lines into pieces worth sending."""
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _result(batch: Batch, custom_id: str, params: Params, fate: Fate) -> dict[str, Any]:
    if fate.error:
        return {"type": "errored", "error": _error(batch, custom_id, fate, *fate.error)}
    if fate.kind != "succeeded":
        return {"type": fate.kind}
    salt = f"{batch.id}:{custom_id}"
    answer = message(params, salt=salt, shape=fate.name, scripted=fate.scripted, cache=fate.cache, ability=fate.ability)
    return {"type": "succeeded", "message": answer}


def _error(batch: Batch, custom_id: str, fate: Fate, kind: str, text: str) -> dict[str, Any]:
    # Requests refused before they ran carry no id of a worker; those that failed while running do.
    refused = fate.name == "invalid"
    details = {"error_visibility": "user_facing"} if refused else None
    worker = None if refused else identifier("workerreq", batch.id, custom_id)
    return {
        "type": "error",
        "error": {"details": details, "type": kind, "message": text},
        "request_id": worker,
    }
