"""Where a call is held on its way, and what becomes of it then."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Event

PATIENCE_SECONDS = 60.0
"""How long anything is held at most: who forgets to let go of it fails, and does not hang."""


class Part(StrEnum):
    """Where in a call it is held."""

    UPLOAD = "upload"
    """A share of the body is read and passed on, and no more."""
    TAIL = "tail"
    """The body is read to its end; so many of its last bytes are not passed on."""
    ANSWER = "answer"
    """All is passed on, and the API has answered; nothing of the answer is passed back."""
    DOWNLOAD = "download"
    """So many bytes of the answer are passed back."""


class Fate(StrEnum):
    """What becomes of a call that was held."""

    PASSED = "passed"
    """It goes on as if nothing had happened, whether or not its caller still lives."""
    DROPPED = "dropped"
    """Nothing more is passed on."""


@dataclass(kw_only=True, eq=False)
class Hold:
    """One call to be held, once."""

    endpoint: str
    part: Part
    nth: int = 1
    """The how-manieth call to this endpoint from now on."""
    at: float = 0
    """`UPLOAD`: share of the body; `TAIL`: bytes held back; `DOWNLOAD`: bytes of the answer passed back."""
    stops: bool = True
    """If not, the call goes on at once; that it got there is told all the same."""
    cuts: bool = False
    """Whether the caller loses its connection there."""
    on_reached: Callable[[], None] = lambda: None
    reached: Event = field(default_factory=Event)
    """The call is where it is to be held."""
    ended: Event = field(default_factory=Event)
    """The API has answered it, or never will."""
    _released: Event = field(default_factory=Event)
    _fate: Fate = Fate.DROPPED

    def release(self, fate: Fate) -> None:
        """Let the call go to its fate."""
        self._fate = fate
        self._released.set()

    def reach(self) -> Fate:
        """Tell that the call is there; wait for its fate."""
        self.reached.set()
        self.on_reached()
        if not self.stops:
            return Fate.PASSED
        self._released.wait(PATIENCE_SECONDS)
        return self._fate

    def n_passed_on(self, n_body: int) -> int:
        """How many bytes of the body are passed on before the call is held."""
        if self.part is Part.UPLOAD:
            return int(n_body * self.at)
        return max(n_body - int(self.at), 0) if self.part is Part.TAIL else n_body
