"""The answer table: every cell of it, over a real socket, against a rule book that knows nothing of our code."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_batch_dagster.core.ledger import State
from proof.answers import table
from proof.answers.cells import BATCH, ENVELOPE, REFUSED, SILENCE, STATUSES, Cell, cells
from proof.answers.driving import AnsweringWorld, Seen, answering_world, faults
from proof.answers.rules import REPEAT, SEARCH, STOP, WAIT, rule

FAULTS = {
    "200": "F46-F48",
    "201": "F46-F48",
    "202": "F46-F48",
    "204": "F46",
    "400": "F36-F37",
    "401": "F38",
    "402": "F39",
    "403": "F38",
    "404": "F40",
    "413": "F41",
    "422": "F36",
    "429": "F42-F43-F44",
    REFUSED: "F31",
    "no TLS": "F31",
}
"""The faults of the catalogue that a status is about; F34 for other silences, F47 for redirects, F45 for the rest."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnsweringWorld]:
    """Return servers, clients and a ledger for all cells."""
    with answering_world(tmp_path_factory.mktemp("answers")) as world:
        yield world


def name(status: str) -> str:
    """Return the id of the test of a status."""
    other = "F34" if status in SILENCE else "F47" if status.startswith("3") else "F45"
    return f"{FAULTS.get(status, other)}-{status.replace(' ', '-')}"


COMMON = frozenset({REFUSED, "reset", "200", "301", "400", "429", "500"})
"""One status of each kind, for every change; all of them for every push."""


def case(status: str) -> Any:
    """Return the test of a status."""
    return pytest.param(status, id=name(status), marks=() if status in COMMON else pytest.mark.verify)


@pytest.mark.sampled
@pytest.mark.parametrize("status", [case(status) for status in (REFUSED, *SILENCE, *STATUSES)])
def test_f35_every_answer_is_taken_for_what_it_proves(world: AnsweringWorld, status: str) -> None:
    """One POST for each cell, no redirect followed, no pause, and the ledger says what the rule book says."""
    wrong = {
        cell: problems for cell in cells() if cell.status == status and (problems := faults(cell, world.drive(cell)))
    }

    assert wrong == {}


def test_the_table_on_disk_is_the_rule_book() -> None:
    """What users read is what is tested; `python -m proof.answers` writes it anew."""
    assert table.FILE.read_text() == table.text()


def test_the_table_is_large_and_repeats_nothing() -> None:
    """Each cell stands in it once, and each status with all three kinds of timing that it can have."""
    every = cells()

    assert len(every) == len(set(every)) >= 600
    assert {cell.status for cell in every} == {REFUSED, *SILENCE, *STATUSES}
    assert {rule(cell).outcome for cell in every} == {"yes", "no", "ambiguous"}


def test_the_rule_book_imports_nothing_of_the_product() -> None:
    """A rule that is read off the code proves nothing about it."""
    folder = Path(table.__file__).parent
    books = [folder / name for name in ("cells.py", "rules.py", "scripts.py", "server.py", "table.py")]

    assert not [book for book in books if "claude_batch_dagster" in book.read_text()]


def test_headers_change_nothing() -> None:
    """Of two cells that differ in their header, both have the same class and the same consequence."""
    for cell in cells():
        assert rule(cell) == rule(replace(cell, header=""))


GOOD = Seen(
    state=State.ACCEPTED, batch_id="msgbatch_1", error=None, n_posts=1, n_elsewhere=0, n_sleeps=0, was_whole=True
)


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, state=State.REFUSED),
        replace(GOOD, state=State.AMBIGUOUS),
        replace(GOOD, state=State.RELEASED),
        replace(GOOD, state=State.HELD),
        replace(GOOD, batch_id=None),
        replace(GOOD, error=ValueError()),
        replace(GOOD, n_posts=2),
        replace(GOOD, n_posts=0),
        replace(GOOD, n_elsewhere=1),
        replace(GOOD, n_sleeps=1),
        replace(GOOD, was_whole=False),
    ],
)
def test_whatever_differs_from_the_rule_book_is_seen(bad: Seen) -> None:
    """The judge of the cells misses nothing that it looks at."""
    cell = Cell("200", BATCH, "", released=True)

    assert faults(cell, GOOD) == []
    assert faults(cell, bad)


@pytest.mark.parametrize(
    ("cell", "outcome", "action"),
    [
        (Cell("200", BATCH, "", released=True), "yes", WAIT),
        (Cell("400", ENVELOPE, "", released=True), "no", STOP),
        (Cell("400", "HTML", "", released=True), "ambiguous", SEARCH),
        (Cell("500", ENVELOPE, "", released=True), "ambiguous", SEARCH),
        (Cell("500", ENVELOPE, "", released=False), "no", STOP),
        (Cell("429", ENVELOPE, "", released=True), "no", REPEAT),
        (Cell("reset", "", "", released=True), "ambiguous", SEARCH),
        (Cell("reset", "", "", released=False), "no", REPEAT),
    ],
)
def test_the_rule_book_by_example(cell: Cell, outcome: str, action: str) -> None:
    """A handful of cells that anybody can check by hand."""
    assert rule(cell) == (outcome, action)
