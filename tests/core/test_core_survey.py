from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import pytest

from claude_batch_dagster.core.chunks import Candidate
from claude_batch_dagster.core.ledger import RowKey
from claude_batch_dagster.core.requests import PromptFunction, RequestBuilder
from claude_batch_dagster.core.survey import NO_KEY, Record, Sorter, Survey
from claude_batch_dagster.core.templates import Template
from claude_batch_dagster.errors import ConfigurationError

Sorted = tuple[Survey, list[Candidate]]
BUILDER = RequestBuilder(prompt=Template.parse("{text}"), base={"model": "m", "max_tokens": 1})


def record(key: str, text: str | None, status: str | None = None, asked: str | None = None) -> Record:
    """Return an upstream row of partition `p`; `asked` is the text that its row in the table asked about."""
    standing = BUILDER.build({"text": asked}).request_hash if asked else None
    return Record(RowKey("p", key), {"text": text}, status, standing)


def sort(
    *windows: Sequence[Record],
    repeated: Sequence[str] = (),
    elsewhere: Sequence[str] = (),
    prompt: PromptFunction | None = None,
) -> Sorted:
    """Sort windows of records; `elsewhere` are texts that have an answer under another key."""
    put: list[Candidate] = []
    answered = frozenset(BUILDER.build({"text": text}).request_hash for text in elsewhere)
    sorter = Sorter(
        builder=RequestBuilder(prompt=prompt, base=BUILDER.base) if prompt else BUILDER,
        repeated=frozenset(RowKey("p", key) for key in repeated),
        answered_elsewhere=answered.intersection,
        put=put.append,
    )
    return sorter.sort(windows), put


def keys(candidates: Sequence[Candidate]) -> list[tuple[str, bool]]:
    """Return the keys that are asked, and whether their row in the table is of this question."""
    return [(candidate.row.key, candidate.landed) for candidate in candidates]


def test_new_changed_and_failed_rows_are_asked_and_answered_ones_are_not() -> None:
    """Only a good answer to the very same question spares a row."""
    survey, put = sort(
        [
            record("new", "a"),
            record("answered", "b", "succeeded", "b"),
            record("changed", "c", "succeeded", "old"),
            record("failed", "d", "errored", "d"),
        ]
    )

    assert keys(put) == [("new", False), ("changed", False), ("failed", True)]
    counts = (survey.n_rows["p"], survey.n_keys["p"], survey.n_answered["p"], survey.n_to_ask["p"])
    assert counts == (4, 4, 1, 3)


def test_rows_that_ask_the_same_share_one_request() -> None:
    """The first asks, the others take over; also across windows, and from answers that stand already."""
    survey, put = sort([record("1", "a"), record("2", "a")], [record("3", "a"), record("4", "b")], elsewhere=["b"])

    assert keys(put) == [("1", False)]
    assert [row.key for row in survey.shared] == ["2", "3", "4"]
    assert (survey.n_shared["p"], survey.n_keys["p"], survey.n_to_ask["p"]) == (3, 4, 1)


def test_rows_that_cannot_be_asked_are_rejected_with_their_reason() -> None:
    """A rejected row is counted and has its reason; the rest goes on."""
    survey, put = sort([record("1", None), record("2", " "), record("3", "ok")])

    assert keys(put) == [("3", False)]
    assert [(row.key, error.split(";")[0]) for row, error in survey.rejected.items()] == [
        ("1", "column 'text' is NULL"),
        ("2", "nothing to ask about: 'text' empty or white space"),
    ]
    assert survey.n_keys["p"] == 3


def test_f5_rows_without_a_key_share_one_rejected_row() -> None:
    """However many there are, the table gets one row for them."""
    survey, put = sort([record(NO_KEY, "a"), record(NO_KEY, "b")], repeated=[NO_KEY])

    assert (put, [row.key for row in survey.rejected]) == ([], [NO_KEY])
    assert (survey.n_rows["p"], survey.n_keys["p"]) == (2, 1)


def test_f4_twins_that_ask_the_same_pass_as_one() -> None:
    """A row that upstream holds twice is asked once."""
    survey, put = sort([record("1", "a"), record("2", "b")], [record("1", "a")], repeated=["1"])

    assert keys(put) == [("2", False), ("1", False)]
    assert (survey.n_rows["p"], survey.n_keys["p"], survey.rejected) == (3, 2, {})


@pytest.mark.parametrize("texts", [["a", "b"], ["a", "a", "b"], ["a", None], [None, "a"], [None, None], ["b", " "]])
def test_f4_twins_that_differ_are_rejected_together(texts: list[str | None]) -> None:
    """Nobody can say which of them is meant, so none is sent, and the key has one row."""
    survey, put = sort([record("1", text) for text in texts], repeated=["1"])

    assert (put, list(survey.rejected)) == ([], [RowKey("p", "1")])
    assert (survey.n_keys["p"], survey.n_to_ask["p"]) == (1, 0)
    if len(set(texts)) > 1:
        assert survey.rejected[RowKey("p", "1")].startswith(f"{len(texts)} upstream rows share this key and differ")


def test_twins_whose_answer_stands_are_not_asked() -> None:
    """Twins are held against the table like any row."""
    survey, put = sort([record("1", "a", "succeeded", "a")] * 2, repeated=["1"])

    assert (put, survey.n_answered["p"], survey.n_keys["p"]) == ([], 1, 1)


def test_partitions_are_counted_apart() -> None:
    """The same key in two partitions is two rows."""
    rows = [Record(RowKey(partition, "1"), {"text": f"in {partition}"}) for partition in ("p", "q", None)]
    survey, put = sort(rows)

    assert (len(put), dict(survey.n_keys)) == (3, {"p": 1, "q": 1, None: 1})


def _ticking(numbers: Iterator[int]) -> PromptFunction:
    return lambda row: f"{row['text']} at {next(numbers)}"


def _sometimes(numbers: Iterator[int]) -> PromptFunction:
    return lambda row: f"{row['text']}{'!' if next(numbers) == 5 else ''}"


@pytest.mark.parametrize("make", [_ticking, _sometimes])
def test_f16_a_prompt_function_that_uses_time_or_chance_is_refused(
    make: Callable[[Iterator[int]], PromptFunction],
) -> None:
    """Two renderings of one row that differ would pay anew in every run."""
    with pytest.raises(ConfigurationError, match=r"two different requests from one row.*Nothing was sent"):
        sort([record(str(n), "a") for n in range(9)], prompt=make(count()))


def test_a_prompt_function_that_depends_on_the_row_is_taken() -> None:
    """Only a few rows are rendered twice."""
    seen: list[Any] = []

    def prompt(row: Mapping[str, Any]) -> str:
        seen.append(row["text"])
        return f"Read {row['text']}"

    _, put = sort([record(str(n), f"t{n}") for n in range(9)], prompt=prompt)

    assert (len(put), len(seen)) == (9, 14)
