import io
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from claude_batch_dagster.status import LedgerStatus, RequestCounts
from example_project import progress
from example_project.progress import watch


def looks() -> Iterator[RequestCounts]:
    """Return one more request landed at every look."""
    return (RequestCounts(sent=9, ended=n, landed=n) for n in count())


def test_where_nothing_was_sent_nothing_is_on_its_way(home: Path) -> None:
    """Before the first run there is no ledger, and looking makes none."""
    assert next(watch(LedgerStatus(state_directory=str(home)))) == RequestCounts()
    assert not list(home.glob("ledger*"))


@pytest.mark.parametrize("kind", ["terminal", "file"])
def test_progress_is_shown_while_the_body_runs(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A terminal gets a bar and anything else lines; both say how far the requests are."""
    monkeypatch.setattr(progress, "_LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(progress, "_PLAIN_LINE_EVERY_SECONDS", 0.01)
    output = io.StringIO()

    with progress.shown(Console(file=output, force_terminal=kind == "terminal", width=120), "Classifying", looks(), 9):
        while "landed" not in output.getvalue():
            time.sleep(0.01)

    assert "9 sent, " in output.getvalue()


def test_an_error_of_the_body_passes_through() -> None:
    """What goes wrong under the bar is what the caller sees."""
    with (
        pytest.raises(ValueError, match="no"),
        progress.shown(Console(file=io.StringIO()), "Classifying", looks(), 9),
    ):
        raise ValueError("no")
