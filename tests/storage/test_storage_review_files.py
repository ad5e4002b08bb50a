"""The files of a review: whatever documents hold, they can be read, filled in, and read again."""

import csv
import io
import json
import stat
from enum import Enum
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import duckdb
import pytest
from pydantic import BaseModel, Field

from claude_batch_dagster import Ask, build_batch_asset
from claude_batch_dagster.assets.registry import declaration_of
from claude_batch_dagster.core.reviewing import Review
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.storage.files.review_files import ReviewFiles, as_csv, as_editor, as_tasks

WEIRD = [
    'He said "no", and left',
    "two\nlines\r\nand\rmore",
    "tab\tcomma, semicolon; pipe|",
    "😀 é \u2028 \u200f عربى",
    "=1+1",
    "'; DROP TABLE answers; --",
    "<b>&amp;</b> ]]>",
    " \n ",
    "",
    "\x00\x01",
    "long " * 40_000,
]


class Mood(Enum):
    """How it sounds."""

    GLAD = "glad"
    GRIM = "grim & <dark>"


class Answer(BaseModel):
    """A field of each kind that is filled in otherwise."""

    label: Literal["a", "b"] = Field(description="One of:\n- a: one\n- b: two")
    mood: Mood
    urgent: bool
    score: float
    remark: str
    second: Literal["a", "b"] | None


def review(**settings: Any) -> Review:
    """Return a review of documents with a subject and a text."""
    asset = build_batch_asset(name="answers", upstream="documents", ask=Ask("{subject} {text}", Answer))
    return Review(task=declaration_of(asset).task, **settings)


def row(key: str, text: str | None, **values: Any) -> dict[str, Any]:
    """Return a row of a queue, as it is handed over."""
    given = {"id": key, "subject": "s", "text": text, "reason": "audit", "weight": 12.345678901234567}
    answers = {f"answered_{name}": "SECRET ANSWER" for name in Answer.model_fields}
    return {**given, **dict.fromkeys(Answer.model_fields), **answers, **values}


ROWS = [row(str(n), text) for n, text in enumerate(WEIRD)]


# --- the table to be filled in -----------------------------------------------------------------------


def test_the_table_holds_documents_as_they_are() -> None:
    """Quotes, ends of lines, tabs, emoji: byte by byte, for Python and for DuckDB."""
    usual = csv.field_size_limit(1_000_000)
    lines = [*csv.DictReader(io.StringIO(as_csv(review(), ROWS), newline=""))]
    csv.field_size_limit(usual)

    assert [line["text"] for line in lines] == WEIRD
    assert [line["id"] for line in lines] == [str(n) for n in range(len(WEIRD))]
    assert {float(line["weight"]) for line in lines} == {12.345678901234567}


def test_duckdb_reads_the_table(tmp_path: Path) -> None:
    """As gold: what nobody has filled in is NULL."""
    path = tmp_path / "review.csv"
    path.write_bytes(as_csv(review(), ROWS).encode())

    with duckdb.connect() as connection:
        read = f"read_csv('{path}', header = true, max_line_size = 10000000, all_varchar = true, strict_mode = true)"
        rows = connection.sql(f"SELECT id, text, label, weight::DOUBLE FROM {read}").fetchall()  # noqa: S608  (SQL of the test's own)

    wanted = [(str(n), text or None, None, 12.345678901234567) for n, text in enumerate(WEIRD)]
    assert rows == wanted


def test_the_table_shows_no_answers() -> None:
    """Nor why a row is there: who knows agrees too often."""
    text = as_csv(review(), ROWS)

    assert text.splitlines()[0] == "id,subject,text,label,mood,urgent,weight"
    assert "SECRET" not in text
    assert "audit" not in text


def test_answers_are_shown_where_they_are_asked_for() -> None:
    """Before what is to be filled in."""
    text = as_csv(review(show_answers=True, confidence="score"), [row("1", "t", confidence=0.5)])

    answers = "answered_label,answered_mood,answered_urgent,answered_remark,answered_second"
    assert text.splitlines()[0] == f"id,subject,text,{answers},reason,confidence,label,mood,urgent,weight"
    assert "audit,0.5,,,,12.3" in text


# --- tasks -------------------------------------------------------------------------------------------


def test_tasks_hold_what_is_needed_with_each_label() -> None:
    """The key and the weight beside the documents, for labels that are exported as a table; no answers."""
    tasks = json.loads(as_tasks(review(), ROWS))

    assert [task["data"]["text"] for task in tasks] == WEIRD
    assert [*tasks[0]["data"]] == ["id", "subject", "text", "weight"]
    assert tasks[0]["meta"] == {"reason": "audit"}
    assert "SECRET" not in json.dumps(tasks)


def test_tasks_show_answers_where_they_are_asked_for() -> None:
    """With how sure they are."""
    [task] = json.loads(as_tasks(review(show_answers=True, confidence="score"), [row("1", "t", confidence=None)]))

    assert task["data"]["answered_label"] == "SECRET ANSWER"
    assert task["meta"] == {"reason": "audit", "confidence": None}


def test_no_rows_are_no_tasks() -> None:
    """And a table with its columns."""
    assert json.loads(as_tasks(review(), [])) == []
    assert as_csv(review(), []).splitlines() == ["id,subject,text,label,mood,urgent,weight"]


# --- the editor --------------------------------------------------------------------------------------


def test_the_editor_shows_documents_and_the_values_of_each_field() -> None:
    """And what Claude was told of the field."""
    view = ET.fromstring(as_editor(review()))  # noqa: S314  (a file of ours)

    texts = [(one.get("name"), one.get("value")) for one in view.findall("Text")]
    assert texts == [("subject", "$subject"), ("text", "$text")]
    values = {
        one.get("name"): [choice.get("value") for choice in one.findall("Choice")] for one in view.findall("Choices")
    }
    assert values == {"label": ["a", "b"], "mood": ["glad", "grim & <dark>"], "urgent": ["true", "false"]}
    assert {one.get("toName") for one in view.findall("Choices")} == {"subject"}
    [first, *_] = [one.get("value") for one in view.findall("Header")]
    assert first == "label. One of:\n- a: one\n- b: two"


def test_the_editor_takes_numbers_texts_and_what_may_be_null() -> None:
    """Each by what it is."""
    view = ET.fromstring(as_editor(review(fields=["score", "remark", "second"], show_answers=True)))  # noqa: S314  (as above)

    assert [one.get("name") for one in view.findall("Number")] == ["score"]
    assert [one.get("name") for one in view.findall("TextArea")] == ["remark"]
    [choices] = view.findall("Choices")
    assert [choice.get("value") for choice in choices] == ["a", "b"]
    assert "answered_label" in [one.get("name") for one in view.findall("Text")]


def test_the_editor_is_xml_whatever_a_field_is_called() -> None:
    """Characters that XML does not have are shown as such."""

    class Odd(BaseModel):
        label: Literal["a\x00b", 'c"d'] = Field(description="x \x0b <y>")

    asset = build_batch_asset(name="answers", upstream="documents", ask=Ask("{text}", Odd))
    text = as_editor(Review(task=declaration_of(asset).task))

    [choices] = ET.fromstring(text.encode()).findall("Choices")  # noqa: S314  (as above)
    assert [choice.get("value") for choice in choices] == ["a\ufffdb", 'c"d']


def test_a_row_that_has_only_a_key_is_shown_by_it() -> None:
    """An editor without a text would have nothing to label."""
    asset = build_batch_asset(name="answers", upstream="documents", ask=Ask("What of {id}?", Answer))

    view = ET.fromstring(as_editor(Review(task=declaration_of(asset).task)))  # noqa: S314  (as above)

    assert [one.get("name") for one in view.findall("Text")] == ["id"]


# --- on disk -----------------------------------------------------------------------------------------


def test_only_their_owner_can_read_them(tmp_path: Path) -> None:
    """They hold documents; nothing else is left in the folder, which is made if need be."""
    folder = tmp_path / "a" / "b"

    paths = ReviewFiles(review(), folder).write(ROWS)

    assert sorted(folder.iterdir()) == sorted(paths)
    assert [path.name for path in paths] == ["answers_review.csv", "answers_review.json", "answers_review.xml"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_files_that_nobody_has_filled_in_are_written_over(tmp_path: Path) -> None:
    """However long their documents are."""
    files = ReviewFiles(review(), tmp_path)
    files.check()
    files.write(ROWS)
    limit = csv.field_size_limit()

    files.check()
    [path, *_] = files.write([row("1", "new")])

    assert "new" in path.read_text()
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    "content",
    [
        b"id,subject,text,label,mood,urgent,weight\r\n1,s,t,a,,,1.0\r\n",
        b"\xef\xbb\xbfid,subject,text,label,mood,urgent,weight\r\n1,s,t,,,true,1.0\r\n",
        b"id;subject;text;label;mood;urgent;weight\r\n1;s;t;;;;1.0\r\n",
        b"id,label\r\n1,a\r\n",
        b"id,subject,text,label,mood,urgent,weight\r\n1,s\r\n",
        b"\xff\xfei\x00d\x00",
        b"",
    ],
    ids=["filled", "saved-with-a-mark", "saved-by-a-spreadsheet", "of-before", "cut", "utf-16", "empty"],
)
def test_labels_are_never_written_over(tmp_path: Path, content: bytes) -> None:
    """Nor a file that was saved in another form, in which they may be."""
    path = tmp_path / "answers_review.csv"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"answers_review\.csv' holds labels, or was saved in another form"):
        ReviewFiles(review(), tmp_path).check()

    assert path.read_bytes() == content


def test_a_table_that_was_saved_without_a_label_is_written_over(tmp_path: Path) -> None:
    """As by an editor that puts a mark before it."""
    text = "\ufeff" + as_csv(review(), [row("1", "t")])
    path = tmp_path / "answers_review.csv"
    path.write_text(text, encoding="utf-8", newline="")
    files = ReviewFiles(review(), tmp_path)

    files.check()
    files.write([row("2", "u")])

    assert path.read_bytes().decode() == as_csv(review(), [row("2", "u")])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With what to do; nothing of the documents is told."""
    (tmp_path / "file").write_text("")

    with pytest.raises(
        ConfigurationError, match=r"the folder .* of the review cannot be written: .* Give folder="
    ) as told:
        ReviewFiles(review(), tmp_path / "file").write(ROWS)

    assert "DROP TABLE" not in str(told.value)
