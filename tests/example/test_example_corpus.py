from datetime import date
from pathlib import Path
from typing import Any

import pytest

from example_project.corpus import (
    Document,
    DocumentsFileError,
    by_year,
    fingerprint,
    paragraphs,
    read_documents,
)
from tests.canary import marked

GOOD = {"id": "a", "text": "War.", "published_on": "1862-12-01"}


@pytest.fixture(scope="module")
def messages() -> list[Document]:
    """Return the whole built-in corpus."""
    return list(read_documents())


def test_all_paragraphs_are_there(messages: list[Document]) -> None:
    """Every decade has its share of more than 20,000 paragraphs."""
    decades = [document.published_on.year // 10 * 10 for document in messages]

    assert len(messages) > 20_000
    assert {decade: decades.count(decade) > 200 for decade in range(1790, 2030, 10)} == dict.fromkeys(
        range(1790, 2030, 10), True
    )


def test_ids_are_unique_and_readable(messages: list[Document]) -> None:
    """An id names year, president and number, and no two paragraphs share one."""
    ids = [document.id for document in messages]

    assert len(set(ids)) == len(ids)
    assert [ids[0], ids[-1][:11]] == ["1790-washington-001", "2026-trump-"]
    assert {"1862-lincoln-012", "1953-truman-001", "1953-eisenhower-001"} <= set(ids)


@pytest.mark.verify
def test_reading_twice_gives_the_same(messages: list[Document]) -> None:
    """Ids and texts are stable from one reading to the next."""
    assert fingerprint(read_documents()) == fingerprint(messages)


def test_no_paragraph_is_empty_or_a_mark_of_the_editors(messages: list[Document]) -> None:
    """What is left of a paragraph always has words, and no applause in it."""
    texts = [document.text for document in messages]

    assert [text for text in texts if not text.strip() or "[Applause]" in text] == []


def test_years_without_a_message_have_no_documents(messages: list[Document]) -> None:
    """In 1933 and seven later years nobody sent a message; those years are absent."""
    years = by_year(messages)

    assert [year for year in range(1790, 2027) if str(year) not in years] == [
        *(1933, 1989, 1993, 2001, 2009, 2017, 2021, 2025)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One.\n\nTwo.", ["One.", "Two."]),
        ("VETERANS\n\nThey are cared for.", ["VETERANS\nThey are cared for."]),
        ("Fellow-Citizens:\n\nIV.\n\nWe meet.", ["Fellow-Citizens:\nIV.\nWe meet."]),
        ("Thank you. [Applause]\n\n[Laughter]\n\n\nIndeed.", ["Thank you.", "Indeed."]),
        ("A  line\nand   another.", ["A line\nand another."]),
        ("It ends here.\n\nABRAHAM LINCOLN", ["It ends here."]),
        ("We will:\n\n--build roads\n\n--pay debts", ["We will:\n--build roads", "--pay debts"]),
        ("", []),
    ],
)
def test_paragraphs(text: str, expected: list[str]) -> None:
    """Headings stay with what they announce; signatures and marks of the editors go."""
    assert list(paragraphs(text)) == expected


def test_a_file_replaces_the_messages(lines: Any) -> None:
    """Other fields are ignored, and so are empty lines and a byte order mark."""
    path = lines(
        b'\xef\xbb\xbf{"id": "a", "text": "", "published_on": "1862-12-01", "extra": 1}',
        b"",
        GOOD | {"id": "b"},
    )

    assert list(read_documents(path)) == [
        Document(id="a", text="", published_on=date(1862, 12, 1)),
        Document(id="b", text=marked("War."), published_on=date(1862, 12, 1)),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"war", "not JSON (Expecting value, column 1); write one JSON object per line."),
        (b"\xff\xfe", "not UTF-8; save the file in UTF-8."),
        (b"[1]", 'not a JSON object; write {"id": ..., "text": ..., "published_on": ...}.'),
        (
            {"id": "b", "published_on": "1862-12-01"},
            "the field 'text' is missing; give id, text and published_on.",
        ),
        (GOOD | {"id": 7}, "'id' is 7; put it in quotes, it must be a string."),
        (GOOD | {"id": " "}, "'id' is empty; give every document an id of its own."),
        (
            GOOD | {"id": "b", "published_on": "Dec 1"},
            "'published_on' is 'Dec 1', no date; write it as 1862-12-01.",
        ),
        (GOOD, "id 'a' was already used in line 1; every document needs an id of its own."),
        (
            b'{"id": "b", "text": "\\ud800", "published_on": "1862-12-01"}',
            "'text' holds half of a surrogate pair (\\ud8..); remove it.",
        ),
    ],
)
def test_a_line_that_is_no_document_is_named(lines: Any, line: Any, problem: str) -> None:
    """The error says which line, what is wrong and what to do."""
    path: Path = lines(GOOD, line)

    with pytest.raises(DocumentsFileError) as raised:
        list(read_documents(path))

    assert str(raised.value) == f"{path}, line 2: {problem}"


@pytest.mark.parametrize("day", ["1789-12-31", "3000-01-01"])
def test_a_year_without_a_partition_is_refused(lines: Any, day: str) -> None:
    """A document that no partition would hold is an error, not a loss."""
    path = lines(GOOD | {"published_on": day})

    with pytest.raises(DocumentsFileError, match=f"'published_on' is {day}, but the partitions are the years 1790 to"):
        list(read_documents(path))
