"""APIs with which something happens at one of their live calls."""

from collections.abc import Callable
from threading import Lock
from typing import Any

from claude_batch_dagster.core.ports import Body
from tests.core.clocks import CrashError


class Turning:
    """An API with which something happens before one of its live calls."""

    def __init__(self, api: Any, *, at: int, act: Callable[[], object]) -> None:
        self._api, self._left, self._act = api, at, act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def ask(self, body: Body) -> bytes:
        """Ask."""
        self._left -= 1
        if self._left == 0:
            self._act()
        message: bytes = self._api.ask(body)
        return message


class Dying:
    """An API whose client's process dies at one of its live calls."""

    def __init__(self, api: Any, *, at: int, before: bool) -> None:
        self._api, self._left, self._before, self._lock = api, at, before, Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)

    def ask(self, body: Body) -> bytes:
        """Ask, or die before that, or when the answer is there."""
        with self._lock:
            self._left -= 1
            dies = self._left == 0
        if dies and self._before:
            raise CrashError
        message: bytes = self._api.ask(body)
        if dies:
            raise CrashError
        return message
