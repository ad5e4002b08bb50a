"""Answers that a test has written down, in place of made-up ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

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

    def fits(self, text: str) -> bool:
        """Whether it answers a message."""
        return self.asked in text if isinstance(self.asked, str) else bool(self.asked(text))


class Scripts:
    """The answers written down; of several that fit, the last counts."""

    def __init__(self) -> None:
        self._scripts: tuple[Script, ...] = ()
        self._lock = Lock()

    def add(self, asked: Asked, answer: Scripted) -> None:
        """Answer so, from the next batch on."""
        with self._lock:
            self._scripts = (*self._scripts, Script(asked, answer))

    def clear(self) -> None:
        """Make up all answers again."""
        with self._lock:
            self._scripts = ()

    def of(self, params: Mapping[str, Any]) -> Scripted | None:
        """Return what is written down for a request."""
        if not self._scripts:
            return None
        text = last_user_text(params)
        return next((script.answer for script in reversed(self._scripts) if script.fits(text)), None)
