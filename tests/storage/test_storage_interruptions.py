"""A ledger that is interrupted: Ctrl-C, SIGTERM and Terminate strike between any two lines, SQLAlchemy's included."""

import gc
import logging
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from types import FrameType
from typing import Any

import pytest

from claude_batch_dagster.storage.files.state_directory import StateDirectory
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.storage.test_storage_ledger import record, rows

pytestmark = pytest.mark.verify

STRUCK = ("claude_batch_dagster", "sqlalchemy", "contextlib")
"""Whose lines are struck: where a transaction is in whose hands."""

MANY_LINES = 1_000
"""Fewer than one operation has: else nothing was struck."""


class Interruption(BaseException):
    """What a signal raises wherever the main thread is."""


def interrupted(act: Callable[[], Any], *, at_line: int) -> tuple[bool, BaseException | None]:
    """Interrupt an act at its n-th line of Python, whosesoever; return whether it had as many, and what came of it."""
    left = at_line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not any(place in frame.f_code.co_filename for place in STRUCK):
            return None
        left -= event == "line"
        if left == 0:
            sys.settrace(None)
            raise Interruption
        return trace

    before, came = sys.gettrace(), None
    sys.settrace(trace)
    try:
        act()
    except BaseException as error:  # noqa: BLE001  (SQLAlchemy may answer an interruption with an error of its own)
        came = error
    finally:
        sys.settrace(before)
    return left <= 0, came


def is_locked(state: StateDirectory) -> bool:
    """Whether another run could not write to the ledger at once."""
    with closing(sqlite3.connect(state.path / "ledger.sqlite", timeout=0)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
    return False


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Collect no garbage: its callbacks would be struck, at another line each time."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.no_cover
@pytest.mark.usefixtures("no_collection")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # struck where Python cannot raise
@pytest.mark.filterwarnings("ignore:transaction already deassociated:sqlalchemy.exc.SAWarning")  # an undoing, struck
@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.soak)], ids=["every seventh line", "every line"])
@pytest.mark.parametrize("act", ["open", "read", "write"])
def test_f62_wherever_an_interruption_strikes_the_ledger_is_free_once_it_is_closed(
    state: StateDirectory, ledger: SqlLedger, act: str, step: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Also while the interruption, and with it the cursor that was half read, is still held by who caught it."""
    caplog.set_level(logging.CRITICAL, logger="sqlalchemy.pool")
    ledger.intend(record(), rows())
    work: Callable[[], Any] = {
        "open": lambda: SqlLedger(state.ledger_url).dispose(),
        "read": lambda: ledger.chunk("chunk"),
        "write": lambda: ledger.note("chunk", note="seen"),
    }[act]
    line, struck = 1, True
    while struck:
        work()  # leaves a connection in the pool, as in a run
        struck, held = interrupted(work, at_line=line)
        ledger.dispose()
        assert not is_locked(state), f"struck at line {line}: {held!r}"
        line += step

    assert line > MANY_LINES
    assert ledger.chunk("chunk").n_requests == record().n_requests
