"""Every answer a create call can get: status, body, header, and whether the last byte had left."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

ENVELOPE = "error envelope"
EDGE = "error without its outer type"
BATCH = "batch"
OTHER_COUNT = "batch of another count"
NO_ID = "batch without id"
OBJECT = "another object"
CUT_JSON = "cut JSON"
CUT_OFF = "cut off"
GARBLED = "said to be gzip"
HTML = "HTML"
EMPTY = "empty"
BODIES = (ENVELOPE, EDGE, BATCH, OTHER_COUNT, NO_ID, OBJECT, CUT_JSON, CUT_OFF, GARBLED, HTML, EMPTY)

RETRY_AFTER = "retry-after: 30"
ABSURD = (
    "retry-after: 999999999",
    "retry-after: Thu, 01 Jan 2099 00:00:00 GMT",
    "retry-after: NaN",
    "retry-after: -5",
)
LOCATION = "location: another host"
SHOULD_RETRY = "x-should-retry: true"
NO_TYPE = "no content-type"
ODD_CHARSET = "content-type: text/html; charset=hex"
ODD_COOKIE = "set-cookie: a=é"

REFUSED = "connection refused"
NO_TLS = "no TLS"
SILENCE = (NO_TLS, "reset", "closed", "timeout", "not HTTP", "half a status line", "100 and closed")
"""Ways to give no answer on an open connection."""

SUCCESS = ("200", "201", "202")
REDIRECTS = ("301", "302", "307", "308")
CLIENT_ERRORS = ("400", "401", "402", "403", "404", "408", "409", "413", "418", "422", "425", "429", "499")
SERVER_ERRORS = ("500", "502", "503", "504", "520", "524", "529")
ERRORS = CLIENT_ERRORS + SERVER_ERRORS
STATUSES = (*SUCCESS, "204", *REDIRECTS, *ERRORS)


@dataclass(frozen=True, slots=True)
class Cell:
    """One answer to one create call."""

    status: str
    """A number, or the way in which no answer came."""
    body: str
    header: str
    released: bool
    """Whether the last byte of our body had left when the answer came."""


def cells() -> list[Cell]:
    """Return every cell that means something, in the order of the table."""
    return [*_silence(), *_numbered()]


def _silence() -> Iterator[Cell]:
    yield Cell(REFUSED, "", "", released=False)
    for status, released in product(SILENCE, (False, True)):
        if not (status == NO_TLS and released):
            yield Cell(status, "", "", released=released)


def _numbered() -> Iterator[Cell]:
    for status in STATUSES:
        kinds = _kinds(status)
        for released in (False, True):
            for body, headers in kinds[released].items():
                yield from (Cell(status, body, header, released=released) for header in headers)


Kinds = dict[str, tuple[str, ...]]
"""The headers that mean something, by body."""


def _kinds(status: str) -> dict[bool, Kinds]:
    """Return the bodies and headers that mean something with a status, before and after the last byte."""
    if status == "204":  # has no body, whatever the server sends
        return {False: _each(EMPTY), True: {EMPTY: ("", RETRY_AFTER, LOCATION, SHOULD_RETRY)}}
    if status in SUCCESS:
        odd = ("", RETRY_AFTER, ABSURD[0], LOCATION, SHOULD_RETRY, NO_TYPE, ODD_CHARSET, ODD_COOKIE)
        return {False: _each(*BODIES), True: _each(*BODIES, headers=odd)}
    if status in REDIRECTS:
        told = (ENVELOPE, EDGE, BATCH, HTML, EMPTY)
        after = _each(*told, headers=("", LOCATION, RETRY_AFTER, SHOULD_RETRY))
        return {False: _each(ENVELOPE, HTML, EMPTY, headers=("", LOCATION)), True: after}
    before = {**_each(BATCH, HTML, EMPTY), ENVELOPE: ("", RETRY_AFTER, SHOULD_RETRY)}
    every = ("", RETRY_AFTER, *ABSURD, LOCATION, SHOULD_RETRY, NO_TYPE, ODD_CHARSET, ODD_COOKIE)
    page = ("", RETRY_AFTER, LOCATION, SHOULD_RETRY, NO_TYPE, ODD_CHARSET, ODD_COOKIE)
    return {False: before, True: {**_each(*BODIES), ENVELOPE: every, HTML: page}}


def _each(*bodies: str, headers: tuple[str, ...] = ("",)) -> Kinds:
    return dict.fromkeys(bodies, headers)
