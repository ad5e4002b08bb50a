"""Answers that a test has written down, in place of made-up ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import orjson

from claude_batch_dagster.emulator.reading import last_user_text

Asked = str | Callable[[str], bool]
"""A text that the message contains, or a function of it."""

Scripted = Mapping[str, Any] | str
"""Fields of a structured answer, laid over made-up ones, or a whole text."""


@dataclass(frozen=True)
class Script:
    """What is answered where."""

    asked: Asked
    answer: Scripted
    model: str | None = None
    """The only model that answers so; None for all."""

    def fits(self, text: str, model: object) -> bool:
        """Whether it answers a message to a model."""
        if self.model is not None and self.model != model:
            return False
        return self.asked in text if isinstance(self.asked, str) else bool(self.asked(text))


class Scripts:
    """The answers written down; of several that fit, the last counts."""

    def __init__(self) -> None:
        self._scripts: tuple[Script, ...] = ()
        self._lock = Lock()
        self.problems: list[Exception] = []
        """What was wrong with scripts when they were needed: a batch is answered all the same."""

    def add(self, asked: Asked, answer: Scripted, *, model: str | None = None) -> None:
        """Let one model answer so, or all, from the next batch on; raise `TypeError` for what cannot be an answer."""
        # As it will be sent: a model as its fields.
        try:
            plain = answer if isinstance(answer, str) else orjson.loads(orjson.dumps(answer, default=_dumped))
        except orjson.JSONEncodeError as error:
            raise TypeError(f"{answer!r} cannot be an answer: {error.__cause__ or error}") from error
        with self._lock:
            self._scripts = (*self._scripts, Script(asked, plain, model))

    def clear(self) -> None:
        """Make up all answers again."""
        with self._lock:
            self._scripts = ()

    def of(self, params: Mapping[str, Any]) -> Scripted | None:
        """Return what is written down for a request."""
        if not self._scripts:
            return None
        text = last_user_text(params)
        for script in reversed(self._scripts):
            try:
                if script.fits(text, params.get("model")):
                    self._check_fields(script.answer, params)
                    return script.answer
            except Exception as error:  # noqa: BLE001  (of a function of somebody else's)
                self.problems.append(error)
        return None

    def _check_fields(self, answer: Scripted, params: Mapping[str, Any]) -> None:
        """Note fields that the schema does not have: the answer would be made up in their place."""
        schema = ((params.get("output_config") or {}).get("format") or {}).get("schema") or {}
        known = schema.get("properties")
        if known is None or isinstance(answer, str):
            return
        if unknown := sorted(answer.keys() - known.keys()):
            told = f"the answer written down has {', '.join(unknown)}, and the schema only {', '.join(known)}"
            self.problems.append(LookupError(told))


def _dumped(value: Any) -> Any:
    """Return a pydantic model as its fields."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot be a part of an answer")
