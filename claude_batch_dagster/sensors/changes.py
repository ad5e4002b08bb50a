"""What the sensor of new documents remembers from tick to tick."""

import json
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple, Self

from claude_batch_dagster.amounts import counted

FAILED = "failed"
"""What is remembered in place of the fingerprint of a partition whose run has failed: it is like none."""

WHOLE = ""
"""How the cursor names an asset without partitions, since JSON has no other name for it than text."""

LONGEST_UNREST = 10
"""How many times `settle_seconds` documents may go on changing before their partition is started all the same."""

FORM = 2
"""Of the cursor. The first form does not say its number, and holds fingerprints as they come from the database."""


def short(fingerprint: str) -> str:
    """
    Return as much of a fingerprint as is remembered: Dagster stores the cursor again with every tick.

    Of four thousand million changes one would go unnoticed, until the next.
    """
    return sha256(fingerprint.encode()).hexdigest()[:8]


class Change(NamedTuple):
    """Documents that are not those that their partition was last started with."""

    mark: str
    """Their fingerprint now."""
    since: float
    """Since when it is this one, in seconds since 1970."""
    first: float
    """When it was first another than the one started with."""

    def seen(self, mark: str, moment: float) -> "Change":
        """Return the change as it is after another look; a clock that was set back does not make it younger."""
        first = min(self.first, moment)
        return Change(mark, min(self.since, moment) if mark == self.mark else moment, first)

    def is_due(self, moment: float, settle_seconds: float) -> bool:
        """Whether the documents have kept still, or have not done so for too long."""
        return moment - self.since >= settle_seconds or moment - self.first >= LONGEST_UNREST * settle_seconds

    @property
    def told(self) -> Sequence[Any]:
        """The change as the cursor holds it, to a tenth of a second."""
        moments = [round(moment, 1) for moment in (self.since, self.first)]
        return [self.mark, *(moments[:1] if self.first == self.since else moments)]

    @staticmethod
    def of(mark: str, since: float, first: float | None = None) -> "Change":
        """Read what the cursor holds."""
        return Change(mark, since, since if first is None else first)


@dataclass
class Memory:
    """What the sensor remembers from tick to tick: in its cursor, by partition."""

    started: dict[str | None, str] = field(default_factory=dict)
    """The fingerprint that a partition was last started with; none if it had no documents any more."""
    changing: dict[str | None, Change] = field(default_factory=dict)
    """What is not started yet."""
    n_starts: int = 0
    """Ticks that have started something."""
    epoch: int = field(default_factory=time.time_ns, compare=False)
    """When the first of them was, for a cursor that was lost begins anew."""

    @classmethod
    def of(cls, cursor: str | None) -> Self:
        """Read a cursor; start afresh if there is none, or none of ours."""
        try:
            return cls._read(**json.loads(cursor or "{}"))
        except (ValueError, TypeError, AttributeError):
            return cls()

    @classmethod
    def _read(
        cls, *, started: dict[str, str], changing: dict[str, Sequence[Any]], n_starts: int, epoch: int, form: int = 1
    ) -> Self:
        read = str if form == FORM else _short_of_first_form
        return cls(
            started={_key(name): read(mark) for name, mark in started.items()},
            changing={_key(name): Change.of(read(mark), *moments) for name, (mark, *moments) in changing.items()},
            n_starts=n_starts,
            epoch=epoch,
        )

    @property
    def cursor(self) -> str:
        """The memory as text."""
        told = {
            "form": FORM,
            # No fingerprint is what a partition without an entry has.
            "started": {_name(key): mark for key, mark in self.started.items() if mark},
            "changing": {_name(key): change.told for key, change in self.changing.items()},
            "n_starts": self.n_starts,
            "epoch": self.epoch,
        }
        return json.dumps(told, separators=(",", ":"))

    @property
    def reason(self) -> str:
        """Why nothing is started."""
        it_waits = "it waits" if len(self.changing) == 1 else "they wait"
        if self.changing and all(self.started.get(key) == FAILED for key in self.changing):
            return f"The last run of {counted(len(self.changing), 'partition')} failed or was canceled; {it_waits}."
        if self.changing:
            changed = counted(len(self.changing), "partition has changed", "partitions have changed")
            return (
                f"{changed} just now; what has changed is started once it keeps still, and after a while in any case."
            )
        return "No document has changed since the last look."

    def run_key(self, told: str) -> str:
        """
        Name a run, so that Dagster starts it once.

        A tick that is repeated after a crash gives the same key; documents that change back give another.
        """
        mark = sha256(told.encode(errors="surrogatepass")).hexdigest()[:16]
        return f"{mark}:{self.epoch:x}:{self.n_starts}"

    def forget(self, failed: AbstractSet[str | None]) -> None:
        """Take these for not started: their runs came to nothing."""
        self.started |= dict.fromkeys(failed, FAILED)

    def notice(
        self,
        found: Mapping[str | None, str],
        *,
        now: float,
        settle_seconds: float,
        limit: int,
        resting: AbstractSet[str | None] = frozenset(),
    ) -> dict[str | None, str]:
        """Return the partitions to start now, with their fingerprints, and remember them as started."""
        gone = dict.fromkeys(self.started.keys() - found.keys(), "")
        changed = {key: mark for key, mark in {**found, **gone}.items() if self.started.get(key, "") != mark}
        changing = {
            key: self.changing.get(key, Change(mark, now, now)).seen(mark, now) for key, mark in changed.items()
        }
        settled = [key for key, change in changing.items() if key not in resting and change.is_due(now, settle_seconds)]
        due = {key: changed[key] for key in sorted(settled, key=_name)[:limit]}
        self.started = {**self.started, **due}
        self.n_starts += bool(due)
        self.changing = {key: change for key, change in changing.items() if key not in due}
        return due


def _short_of_first_form(mark: str) -> str:
    return mark if mark in {"", FAILED} else short(mark)


def _name(key: str | None) -> str:
    """Return a partition as the cursor names it."""
    return WHOLE if key is None else key


def _key(name: str) -> str | None:
    """Return the partition that the cursor names so."""
    return None if name == WHOLE else name
