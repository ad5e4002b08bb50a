"""
The rows of a review as files: a table to be filled in, and tasks for Label Studio with what its editor shows.

They hold documents, so only their owner can read them.
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from claude_batch_dagster.core.reviewing import NUMBERS, REASON, Review
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.storage.files.file_locks import PRIVATE_DIRECTORY
from claude_batch_dagster.storage.files.state_directory import open_private

NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML file can hold."""

Rows = Sequence[Mapping[str, Any]]

CSV, TASKS, EDITOR = "csv", "json", "xml"


@dataclass(frozen=True)
class ReviewFiles:
    """`<name>_review.csv`, `.json` and `.xml` in a folder."""

    review: Review
    folder: Path

    def check(self) -> None:
        """Raise `ConfigurationError` if the CSV that is there holds labels, or cannot be looked into."""
        path = self._path(CSV)
        if path.exists() and not self._is_empty(path):
            raise ConfigurationError(
                f"the file {str(path)!r} holds labels, or was saved in another form, and the next queue would take its "
                "place. Put the labels into a table, name that with labelled=, and move the file away."
            )

    def write(self, rows: Rows) -> list[Path]:
        """Write the files over those of before, each as a whole, and return where they are."""
        contents = {CSV: as_csv(self.review, rows), TASKS: as_tasks(self.review, rows), EDITOR: as_editor(self.review)}
        with self._translated():
            self.folder.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            return [self._write(self._path(kind), text) for kind, text in contents.items()]

    def _path(self, kind: str) -> Path:
        return self.folder / f"{self.review.target.table}.{kind}"

    def _write(self, path: Path, text: str) -> Path:
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            with open_private(partial) as file:
                file.write(text.encode())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        return path

    def _is_empty(self, path: Path) -> bool:
        """Whether a file is as it was written: it has the columns to be filled in, and nobody has."""
        with self._translated():
            text = path.read_bytes()
        try:
            head, *lines = [*_read(text.decode("utf-8-sig"))]
            places = [head.index(name) for name in self.review.true_fields]
            return not any(line[place].strip() for line in lines for place in places)
        except (ValueError, IndexError, csv.Error):
            return False

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigurationError(
                f"the folder {str(self.folder)!r} of the review cannot be written: {error.strerror}. Give folder= one "
                "that this user can write."
            ) from error


def as_csv(review: Review, rows: Rows) -> str:
    """Return the rows as a table, with empty columns for the true values."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, review.shown, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_tasks(review: Review, rows: Rows) -> str:
    """Return the rows as tasks of Label Studio: it keeps `data` with each label, and shows what the editor names."""
    data = [name for name in review.shown if name not in review.true_fields and name not in review.own[:-1]]
    meta = review.own[:-1] if review.show_answers else (REASON,)
    tasks = [{"data": {name: row[name] for name in data}, "meta": {name: row[name] for name in meta}} for row in rows]
    return json.dumps(tasks, ensure_ascii=False, indent=1)


def as_editor(review: Review) -> str:
    """Return what the editor of Label Studio shows: documents, and for each field to be filled in its values."""
    view = ET.Element("View")
    answers = (*review.answered.values(),) if review.show_answers else ()
    shown = review.documents or review.keys
    for name in (*shown, *answers):
        ET.SubElement(view, "Text", name=_plain(name), value=_plain(f"${name}"))
    for name in review.true_fields:
        ET.SubElement(view, "Header", value=_plain(f"{name}. {review.schema.meaning(name) or ''}".strip()))
        _add_control(view, review, name, to=_plain(shown[0]))
    ET.indent(view)
    return f"{ET.tostring(view, encoding='unicode')}\n"


def _add_control(view: ET.Element, review: Review, name: str, *, to: str) -> None:
    choices = review.schema.choices(name)
    kind = "Choices" if choices else "Number" if review.schema.columns[name] in NUMBERS else "TextArea"
    control = ET.SubElement(view, kind, name=_plain(name), toName=to)
    for choice in choices:
        ET.SubElement(control, "Choice", value=_plain(choice))


def _plain(text: str) -> str:
    return NO_XML.sub("\ufffd", text)


def _read(text: str) -> Iterator[list[str]]:
    """Read a table whose cells may be as long as documents are."""
    usual = csv.field_size_limit(len(text) + 1)
    try:
        yield from csv.reader(io.StringIO(text, newline=""))
    finally:
        csv.field_size_limit(usual)
