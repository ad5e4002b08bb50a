"""The live endpoints: the same answers as in a batch, at once, and billed at once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Any

from claude_batch_dagster.emulator.batches import betas
from claude_batch_dagster.emulator.bill import Tokens
from claude_batch_dagster.emulator.caching import Cache
from claude_batch_dagster.emulator.calls import Call
from claude_batch_dagster.emulator.clock import Clock
from claude_batch_dagster.emulator.envelope import parse_json
from claude_batch_dagster.emulator.faults import Faults
from claude_batch_dagster.emulator.ids import digest
from claude_batch_dagster.emulator.messages import message
from claude_batch_dagster.emulator.models import ability_of
from claude_batch_dagster.emulator.params import Setting, complaint_about
from claude_batch_dagster.emulator.reading import last_user_text, n_input_tokens
from claude_batch_dagster.emulator.refusals import REFUSALS
from claude_batch_dagster.emulator.reply import ApiError, Reply, invalid, json_reply
from claude_batch_dagster.emulator.requests import identified
from claude_batch_dagster.emulator.scripts import Scripts
from claude_batch_dagster.emulator.store import Store

_SHAPES = frozenset(["refusal", "max_tokens", "not_json", "misfit", "wrong_case", "empty_content"])


@dataclass(frozen=True, kw_only=True)
class Live:
    """What answers at once, and writes down what that has cost."""

    store: Store
    lock: RLock
    numbers: Iterator[int]
    """Of the messages that it answers."""
    asked: Counter[int] = field(default_factory=Counter)
    """How often each body has come."""
    faults: Faults
    scripts: Scripts
    cache: Cache
    clock: Clock
    seed: int
    unlike_models: bool

    def handle(self, call: Call, workspace: str, body: bytes | bytearray) -> Reply:
        """Answer a live message, or count its tokens."""
        params = parse_json(body)
        if not isinstance(params, dict):
            raise invalid("Input should be a valid dictionary or object to extract fields from")
        counting = call.endpoint == "count_tokens"
        # Counting tokens takes the params of a message, only without a limit.
        _refuse(call, {"max_tokens": 1, **params} if counting else params)
        if counting:
            return json_reply({"input_tokens": n_input_tokens(params)})
        return json_reply(self._answer(params, workspace, digest(self.seed, bytes(body))))

    def _answer(self, params: dict[str, Any], workspace: str, text: int) -> dict[str, Any]:
        shape = self._shape(params, text)
        scripted = None if shape else self.scripts.of(params)
        known, marked = identified(params)
        now, number = self.clock.now(), next(self.numbers)
        cache = self.cache.live(params, workspace=workspace, at=now) if marked else None
        # The number: who asks the same twice gets two messages, and pays for both.
        salt = f"live:{number}:{text}"
        ability = ability_of(params["model"], unlike_models=self.unlike_models)
        answer = message(
            params, salt=salt, shape=shape, tier="standard", scripted=scripted, cache=cache, ability=ability
        )
        # Before the answer leaves: it is billed whether or not anybody hears it.
        with self.lock:
            self.store.add_call((now, workspace, known, answer["model"], Tokens.of(answer["usage"])), number=number)
        return answer

    def _shape(self, params: dict[str, Any], text: int) -> str:
        with self.lock:
            self.asked[text] += 1
            time = self.asked[text]
        for fault in self.faults.of_rows():
            if fault.text and fault.text not in last_user_text(params):
                continue
            # What is asked again may fare better, as in another batch.
            if fault.name in {"errored", *_SHAPES} and self.faults.strikes(fault, text, "live", time):
                if fault.name == "errored":
                    # A copy: an exception that is raised twice would carry the traceback of both.
                    raise replace(REFUSALS["529"])
                return fault.name
        return ""


def _refuse(call: Call, params: dict[str, Any]) -> None:
    setting = Setting(version=call.headers["anthropic-version"], betas=betas(call), in_batch=False)
    if complaint := complaint_about(params, setting):
        status = 404 if complaint.kind == "not_found_error" else 400
        raise ApiError(status=status, kind=complaint.kind, message=complaint.message)
