"""When a run is killed: drawn by a seed, from the whole of a run and from the places where it hurts."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Any

from proof.kills.holds import Hold, Part

LONGEST_RUN_SECONDS = 1.0
"""About how long a run takes that is left alone; a kill that comes too late is drawn again."""

MOMENT_SECONDS = 0.03
"""How long after a sign of its being near a step is at its latest."""

MANY_LAST_BYTES = 64
FEW_BYTES = 1_000
"""Less than any results have, with their head."""

LATEST_LISTING = 8
"""Silence counts after the list was walked ten times: what turns up before the eighth was not silent for so long."""


class Kind(StrEnum):
    """The places where a run is killed."""

    ANYWHERE = "anywhere"
    UPLOAD = "upload"
    """A share of the body has been read; the rest is on its way, or not sent at all."""
    TAIL = "tail"
    """The last byte was sent, and the API does not have it."""
    ANSWER = "answer"
    """The API has accepted; the answer is on its way."""
    RECORD = "record"
    """The answer is there; the batch id is being written down."""
    CUT = "cut"
    """The connection was lost during the call."""
    LISTING = "listing"
    """A heir is looking for a batch in the API's list."""
    DOWNLOAD = "download"
    """Some of the results are there."""
    LANDING = "landing"
    """The results are there; they are kept, and their answers brought into the table."""


WEIGHTS = {
    Kind.ANYWHERE: 20,
    Kind.UPLOAD: 13,
    Kind.TAIL: 13,
    Kind.ANSWER: 14,
    Kind.RECORD: 8,
    Kind.CUT: 8,
    Kind.LISTING: 6,
    Kind.DOWNLOAD: 8,
    Kind.LANDING: 10,
}


class After(StrEnum):
    """What becomes, after the death of its sender, of what it has sent."""

    AT_ONCE = "at once"
    LATE = "late"
    """It reaches the API while a heir looks for it."""
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When a run is killed."""

    kind: Kind
    hold: Hold | None = None
    """The call in which it happens; without one, time alone decides."""
    seconds: float = 0.0
    """From the start of the run, or from when the call is where it is to be."""
    after: After = After.NEVER
    n_listings: int = 0
    """How many listings of its heirs a late call waits for."""


def moment(chance: Random) -> Moment:
    """Draw a moment."""
    [kind] = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
    hold = _hold(kind, chance)
    near = kind in {Kind.RECORD, Kind.CUT, Kind.LANDING}
    longest = LONGEST_RUN_SECONDS if hold is None else MOMENT_SECONDS if near else 0.0
    return Moment(
        kind=kind,
        hold=hold,
        seconds=chance.uniform(0, longest),
        after=chance.choice(list(After)),
        n_listings=chance.randint(1, LATEST_LISTING),
    )


def _hold(kind: Kind, chance: Random) -> Hold | None:
    upload = {"endpoint": "create", "part": Part.UPLOAD, "at": chance.random()}
    tail = {"endpoint": "create", "part": Part.TAIL, "at": chance.randint(1, MANY_LAST_BYTES)}
    calls: dict[Kind, dict[str, Any]] = {
        Kind.UPLOAD: upload,
        Kind.TAIL: tail,
        Kind.CUT: {**chance.choice([upload, tail]), "cuts": True},
        Kind.ANSWER: {"endpoint": "create", "part": Part.ANSWER},
        Kind.RECORD: {"endpoint": "create", "part": Part.DOWNLOAD, "at": 1, "stops": False},
        Kind.LISTING: {"endpoint": "list", "part": Part.ANSWER},
        Kind.DOWNLOAD: {"endpoint": "results", "part": Part.DOWNLOAD, "at": chance.randint(1, FEW_BYTES)},
        Kind.LANDING: {"endpoint": "results", "part": Part.DOWNLOAD, "at": 1, "stops": False},
    }
    nth = chance.randint(1, 2)
    return Hold(nth=nth, **calls[kind]) if kind in calls else None
