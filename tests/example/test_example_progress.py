import io
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console

from example_project import progress
from example_project.books import Bill, Requests, count_sent, opened, read_bill, watch


def looks() -> Iterator[Requests]:
    """Return one more request landed at every look."""
    return (Requests(submitted=9, ended=n, landed=n) for n in count())


def test_a_new_ledger_knows_of_nothing(home: Path) -> None:
    """Before anything is sent there is nothing on its way and nothing to pay."""
    with opened(home) as ledger:
        assert next(watch(ledger)) == Requests()
        assert count_sent(ledger, "no such run") == 0
        assert read_bill(ledger) == Bill()


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
