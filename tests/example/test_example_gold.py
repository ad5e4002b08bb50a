"""The gold rows of the example: drawn, labelled and as good as their page says."""

import re
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from example_project.corpus import Document, fingerprint, read_documents
from example_project.gold import (
    LAST_DAY,
    N_ROWS_OF_SECOND_PASS,
    ROWS,
    SECOND_PASS,
    SEED_OF_SECOND_PASS,
    agreement,
    agreement_with_oneself,
    draw,
    drawn_documents,
    main,
    read_rows,
    rows_as_sql,
)
from example_project.themes import THEMES

PAGE = ROWS.with_suffix(".md").read_text(encoding="utf-8")
TEXTS_THAT_WERE_READ = "da8bfbb18a830f38"


def column(path: Path, name: str) -> list[str]:
    """Return one column of a file of labels."""
    return [row[name] for row in read_rows(path)]


def table(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading of the page, without the row of names."""
    rows = re.findall(r"^\| (.*?) \|$", PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)
    return [row.split(" | ") for row in rows[2:]]


@pytest.fixture(scope="module")
def drawn() -> list[Document]:
    """Return what the seed draws from the installed corpus."""
    return drawn_documents()


def test_rows_are_what_the_seed_draws(drawn: list[Document]) -> None:
    """300 documents of the corpus, none twice, in the order of the draw."""
    ids = column(ROWS, "id")

    assert ids == [document.id for document in drawn]
    assert len(set(ids)) == len(ids) == 300


def test_the_page_says_of_how_many_they_were_drawn() -> None:
    """Every paragraph up to the last day had its chance."""
    n_documents = sum(document.published_on <= LAST_DAY for document in read_documents())

    assert f"from all {n_documents:,} paragraphs" in PAGE
    assert f"to {LAST_DAY})" in PAGE


def test_texts_are_those_that_were_read(drawn: list[Document]) -> None:
    """A label belongs to a text; if the package cuts or numbers paragraphs in another way, it belongs to none."""
    assert fingerprint(drawn) == TEXTS_THAT_WERE_READ


def test_second_pass_is_what_its_seed_draws() -> None:
    """60 of the 300, none twice."""
    ids = column(SECOND_PASS, "id")

    assert ids == draw(column(ROWS, "id"), seed=SEED_OF_SECOND_PASS, n=N_ROWS_OF_SECOND_PASS)
    assert len(set(ids)) == len(ids) == 60


def test_a_draw_does_not_depend_on_the_order_of_the_ids() -> None:
    """A smaller draw is the beginning of a larger one, and another seed draws other rows."""
    ids = [f"{number}" for number in range(100)]

    assert draw(ids, seed="a", n=10) == draw(reversed(ids), seed="a", n=20)[:10]
    assert draw(ids, seed="a", n=10) != draw(ids, seed="b", n=10)


def test_every_label_may_be_asked_for() -> None:
    """What is not a theme could never be right."""
    given = column(ROWS, "theme") + column(SECOND_PASS, "theme") + column(SECOND_PASS, "first_theme")

    assert set(given) <= set(THEMES)


def test_columns_hold_nothing_of_the_texts() -> None:
    """The texts come from the installed package."""
    assert {tuple(row) for row in read_rows(ROWS)} == {("id", "theme")}
    assert {tuple(row) for row in read_rows(SECOND_PASS)} == {("id", "theme", "first_theme")}


def test_differences_of_the_passes_are_decided_as_the_page_says() -> None:
    """Where both passes agree, that is the label; where not, the page names both and the one that was taken."""
    labels = {row["id"]: row["theme"] for row in read_rows(ROWS)}
    both = {row["id"]: (row["first_theme"], row["theme"]) for row in read_rows(SECOND_PASS)}
    differing = {key: [first, second, labels[key]] for key, (first, second) in both.items() if first != second}

    assert {row[0]: row[1:4] for row in table("How they were labelled")} == differing
    assert [key for key, passes in both.items() if labels[key] not in passes] == []


def test_the_page_says_how_well_the_passes_agree() -> None:
    """Its figures are those of the two files."""
    raw, kappa = agreement_with_oneself()

    assert f"**{raw * 60:.0f} of 60 ({raw:.1%})**" in PAGE
    assert f"**Cohen's kappa is {kappa:.2f}**" in PAGE


def test_the_page_counts_the_labels() -> None:
    """Most frequent first, every theme once, each with a line of the guide."""
    counted = [(theme, int(rows)) for theme, rows in table("What came out")]

    assert dict(counted) == dict(Counter(column(ROWS, "theme")))
    assert [rows for _, rows in counted] == sorted((rows for _, rows in counted), reverse=True)
    assert [row[0] for row in table("The guide")] == list(THEMES)


@pytest.mark.parametrize(("since", "n"), [(0, 300), (1980, 69)])
def test_the_rows_are_read_by_the_database(since: int, n: int) -> None:
    """With the theme under the name of the output field, all of them or those of later years."""
    with duckdb.connect() as connection:
        found = connection.sql(rows_as_sql(since=since)).fetchall()

    assert len(found) == n
    assert found == [(row["id"], row["theme"]) for row in read_rows(ROWS) if int(row["id"][:4]) >= since]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ("aa bb aa bb", (1.0, 1.0)),
        ("aa aa aa aa", (1.0, 1.0)),
        ("ab ba ab ba", (0.0, -1.0)),
        ("aa ab ba bb", (0.5, 0.0)),
        ("aa aa ab bb", (0.75, 0.5)),
    ],
)
def test_agreement_takes_off_what_chance_gives(pairs: str, expected: tuple[float, float]) -> None:
    """Kappa is 1 for equal labels, 0 for chance, and less where labels avoid each other."""
    assert agreement([(pair[0], pair[1]) for pair in pairs.split()]) == pytest.approx(expected)


def test_the_draws_are_printed_with_their_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    """Anybody can repeat them."""
    main()
    printed = capsys.readouterr().out

    assert re.findall(r"seed '(.*?)'", printed) == ["annual messages", SEED_OF_SECOND_PASS]
    assert printed.split("\n  ")[1] == column(ROWS, "id")[0]
    assert printed.endswith("agree on 95.0%; Cohen's kappa is 0.94.\n")
