"""Upstream as it is asked about: which question each row asks, and which documents are kept to be sent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

import duckdb
import orjson
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from claude_batch_dagster.core.asking import requests
from claude_batch_dagster.core.asking.asked import Asked
from claude_batch_dagster.core.asking.partitions import Partition, PartitionRule
from claude_batch_dagster.core.asking.question_hash import earlier_hash
from claude_batch_dagster.core.asking.requests import PromptFunction, RequestBuilder
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.sending.chunks import OpenRow
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import ConfigurationError, UpstreamError
from claude_batch_dagster.storage.duckdb.asking import questions
from claude_batch_dagster.storage.duckdb.asking.asking import Asking
from claude_batch_dagster.storage.duckdb.asking.questions import LEFT_OUT, counted, questions_of
from claude_batch_dagster.storage.duckdb.asking.reading import Reading
from claude_batch_dagster.storage.duckdb.asking.rendering import BLOCK, LARGE_BYTES, Rendering
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader
from claude_batch_dagster.storage.duckdb.collecting.output_table import OutputTable
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse

BASE = {"model": "m", "max_tokens": 1}
BUILDER = RequestBuilder(prompt=Template.parse("{text}"), base=BASE)
TARGET = TableName("main", "answers")
WHOLE = Partition(key=None)
BY_PART = PartitionRule(expr="part")
P, Q = Partition(key="p"), Partition(key="q")

Run = Callable[[str], Any]
Ask = Callable[..., "Found"]


class Label(BaseModel):
    """A small output model."""

    label: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """What asking has found."""

    key_types: Mapping[str, str]
    asked: Asked
    put: Sequence[OpenRow]
    rows: Sequence[tuple[Any, ...]]
    """What stands written: key columns, partition key, question, problem."""

    @property
    def sent(self) -> list[tuple[str | None, str]]:
        """Partition and key of the rows whose documents are kept to be sent."""
        return [(candidate.partition_key, candidate.key) for candidate in self.put]

    @property
    def questions(self) -> dict[Any, str | None]:
        """The question of each row, by the first column of its key."""
        return {key: question for key, *_, question, _ in self.rows}

    @property
    def problems(self) -> dict[Any, str]:
        """Why rows can never be asked about, by the first column of their key, without the advice."""
        return {key: problem.split(";")[0] for key, *_, problem in self.rows if problem is not None}

    def counts(self, partition_key: str | None = None) -> tuple[int, ...]:
        """Count rows, keys, keys with an answer, sharing keys, questions to ask, rejected keys of a partition."""
        asked = self.asked
        counters = (asked.n_rows, asked.n_keys, asked.n_answered, asked.n_shared, asked.n_to_ask, asked.n_rejected)
        return tuple(counter[partition_key] for counter in counters)


def question_of(text: str) -> str:
    """Return the hash of the question about a text."""
    return BUILDER.build({"text": text}).request_hash


def asks(
    connection: duckdb.DuckDBPyConnection,
    *partitions: Partition,
    relation: str = '"main"."docs"',
    key: Sequence[str] = ("id",),
    rule: PartitionRule = PartitionRule(expr=None),  # noqa: B008  (it cannot change)
    prompt: str | PromptFunction = "{text}",
    frame: pd.DataFrame | None = None,
    base: Mapping[str, Any] = BASE,
    rename: Callable[[Mapping[str, str]], None] | None = None,
    prepared: bool = True,
) -> Found:
    """Ask what the rows of partitions ask, as a run does; `prepared` is whether it has made the output table."""
    put: list[OpenRow] = []

    def take(*columns: Sequence[Any]) -> None:
        put.extend(map(OpenRow, *columns))

    upstream = Upstream(relation=relation, shown_as="table docs", key=tuple(key), rule=rule)
    asking = Asking(
        reader=Reader.of(connection, upstream, target=TARGET, frame=frame),
        partitions=partitions or (WHOLE,),
        builder=RequestBuilder(prompt=Template.parse(prompt) if isinstance(prompt, str) else prompt, base=base),
        put=take,
        rename=rename,
    )
    key_types = asking.look()
    if prepared:
        OutputTable(target=TARGET, key_types=key_types, schema=OutputSchema(Label)).prepare(connection)
    asked = asking.ask()
    connection.commit()
    rows = connection.execute(f"SELECT * EXCLUDE ({LEFT_OUT}) FROM {questions_of(TARGET).sql} ORDER BY ALL").fetchall()  # noqa: S608
    return Found(key_types=key_types, asked=asked, put=put, rows=rows)


@pytest.fixture
def ask(warehouse: Warehouse) -> Ask:
    """Return a function that asks what the rows of partitions ask."""

    def ask(*partitions: Partition, **options: Any) -> Found:
        with warehouse.connect() as connection:
            return asks(connection, *partitions, **options)

    return ask


@pytest.fixture
def docs(run: Run) -> Callable[..., None]:
    """Return a function that puts documents upstream: SQL of values for `id, text`, or for other columns."""

    def docs(values: str, columns: str = "id, text") -> None:
        run(f"CREATE OR REPLACE TABLE docs AS FROM (VALUES {values}) AS t({columns})")

    return docs


def answered(run: Run, *rows: tuple[str, str | None, str, str | None]) -> None:
    """Create an output table with rows: id, partition key, status, text asked about."""
    run("CREATE TABLE answers (id INTEGER, partition_key VARCHAR, status VARCHAR, request_hash VARCHAR)")
    for key, partition, status, text in rows:
        part = "NULL" if partition is None else f"'{partition}'"
        request_hash = "NULL" if text is None else f"'{question_of(text)}'"
        run(f"INSERT INTO answers VALUES ({key}, {part}, '{status}', {request_hash})")  # noqa: S608


# --- what each row asks ----------------------------------------------------------------------------


def test_each_row_asks_its_question_and_its_document_is_kept(ask: Ask, docs: Callable[..., None]) -> None:
    """What is kept is what will be sent, byte for byte; what is written down is its name, without the document."""
    docs("(1, 'a'), (2, 'b')")

    found = ask()

    assert found.rows == [(1, None, question_of("a"), None), (2, None, question_of("b"), None)]
    assert [(row.params, row.question) for row in found.put] == [BUILDER.build({"text": text}) for text in "ab"]
    assert found.counts() == (2, 2, 0, 0, 2, 0)


def test_f2_f3_rows_that_cannot_be_asked_are_written_down_with_their_reason(
    ask: Ask, docs: Callable[..., None]
) -> None:
    """A rejected row is counted and has its reason; the rest goes on."""
    docs("(1, NULL), (2, ''), (3, ' \n\u00a0\u3000'), (4, 'ok')")

    found = ask()

    assert (found.sent, found.counts()) == ([(None, "4")], (4, 4, 0, 0, 1, 3))
    blank = "nothing to ask about: 'text' empty or white space"
    assert found.problems == {1: "column 'text' is NULL", 2: blank, 3: blank}
    assert [found.questions[n] for n in (1, 2, 3)] == [None] * 3


@pytest.mark.parametrize("texts", ["('a', '')", "('', 'a')"])
def test_of_several_columns_one_that_is_filled_is_enough(ask: Ask, docs: Callable[..., None], texts: str) -> None:
    """A title without a text is something to ask about; NULL in any of them is not."""
    docs(f"(1, {texts[1:-1]}), (2, 'a', NULL), (3, '', ' ')", "id, title, text")

    found = ask(prompt="{title}: {text}")

    assert (found.sent, list(found.problems)) == ([(None, "1")], [2, 3])


def test_what_stands_in_two_columns_is_not_taken_for_the_same_the_other_way_round(
    ask: Ask, docs: Callable[..., None]
) -> None:
    """Nor for the same text cut elsewhere."""
    docs("(1, 'ab', 'c'), (2, 'a', 'bc'), (3, 'c', 'ab'), (4, 'ab', 'c')", "id, title, text")

    found = ask(prompt="{title}{text}")

    assert (len(set(found.questions.values())), found.sent) == (3, [(None, "1"), (None, "2"), (None, "3")])


def test_columns_of_any_type_are_asked_as_the_text_that_duckdb_makes_of_them(
    ask: Ask, docs: Callable[..., None]
) -> None:
    """Numbers, times, lists: what is sent is what the question is named by."""
    value = "1.50::DECIMAL(9,2), TIMESTAMPTZ '2026-01-02 03:04:05+00', 0.1::FLOAT, ['x', NULL], true, {'a': 1}"
    docs(f"(1, {value})", "id, a, b, c, d, e, f")

    found = ask(prompt="{a} {b} {c} {d} {e} {f}")

    content = "1.50 2026-01-02 03:04:05+00 0.1 [x, NULL] true {'a': 1}"
    assert f'"content":"{content}"' in found.put[0].params.decode()
    assert found.questions == {1: found.put[0].question}


TEXTS = st.text() | st.text(
    alphabet=st.characters(categories=["Z", "Cc", "Cf"], include_characters="\u180e\ufeff\u200b")
)


@pytest.fixture(scope="module")
def memory() -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a database in memory, for what is tried a hundred times."""
    with duckdb.connect() as connection:
        yield connection


@pytest.mark.verify
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=20))
@example(texts=[(character, "") for character in map(chr, range(0x21))])
@example(
    texts=[("\x85", ""), ("\xa0", "\u2028"), ("\u180e", ""), ("\u200b", ""), ("a\x00b", "\x00"), ("\U0001f642", "'")]
)
def test_the_question_that_sql_names_is_the_one_that_is_sent(
    memory: duckdb.DuckDBPyConnection, texts: list[tuple[str, str]]
) -> None:
    """Whatever the text; and what Python takes for white space, SQL takes for white space."""
    titles, bodies = zip(*texts, strict=True)
    memory.execute(
        "CREATE OR REPLACE TABLE docs AS SELECT unnest(?::INTEGER[]) AS id, unnest(?::VARCHAR[]) AS title, "
        "unnest(?::VARCHAR[]) AS text",
        [list(range(len(texts))), list(titles), list(bodies)],
    )
    builder = RequestBuilder(prompt=Template.parse("{title} of {text}"), base=BASE)

    found = asks(memory, prompt="{title} of {text}")

    blank = {n for n, pair in enumerate(texts) if not any(text.strip() for text in pair)}
    built = {
        n: None if n in blank else builder.build({"title": title, "text": text}).request_hash
        for n, (title, text) in enumerate(texts)
    }
    assert (found.questions, set(found.problems)) == (built, blank)
    assert {candidate.question for candidate in found.put} == set(built.values()) - {None}


def test_f10_bytes_are_asked_as_the_text_that_they_are(ask: Ask, docs: Callable[..., None]) -> None:
    """A BLOB column is read as UTF-8, and asks the same as a text would; bytes that are none reject their row."""
    docs(r"(1, 'caf\xC3\xA9'::BLOB), (2, 'caf\xE9'::BLOB), (3, 'caf\xC3\xA9'::BLOB), (4, NULL), (5, ' '::BLOB)")

    found = ask()

    assert (found.sent, found.counts()) == ([(None, "1")], (5, 5, 0, 1, 1, 3))
    assert found.questions == {1: question_of("café"), 2: None, 3: question_of("café"), 4: None, 5: None}
    assert found.problems[2] == "the text cannot be encoded as UTF-8 JSON (UnicodeDecodeError)"


@pytest.mark.parametrize("kind", ["object", "string[python]"])
def test_f10_rows_beside_a_lone_surrogate_ask_what_they_ask_without_it(ask: Ask, kind: Any) -> None:
    """Its own row is rejected alone; the others are not asked anew for it."""
    texts = pd.Series(["ok", "half \ud83d", None, "\U0001f642"], dtype=kind)

    found = ask(frame=pd.DataFrame({"id": range(4), "text": texts}))

    assert found.questions == {0: question_of("ok"), 1: None, 2: None, 3: question_of("\U0001f642")}
    assert found.problems == {
        1: "the text cannot be encoded as UTF-8 JSON (str is not valid UTF-8: surrogates not allowed)",
        2: "column 'text' is NULL",
    }


def test_f10_a_prompt_function_is_given_a_lone_surrogate_as_it_is(ask: Ask) -> None:
    """It may mend the text itself."""
    frame = pd.DataFrame({"id": [1], "text": pd.Series(["half \ud83d"], dtype=object)})

    found = ask(frame=frame, prompt=lambda row: row["text"].encode(errors="replace").decode())

    assert found.put[0].params.endswith(b'"content":"half ?"}]}')


def test_a_row_that_is_too_large_is_rejected_wherever_it_stands(
    ask: Ask, docs: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it stands twice: each row has its reason."""
    monkeypatch.setattr(requests, "REQUEST_BYTES", LARGE_BYTES)
    large = "x" * LARGE_BYTES
    docs(f"(1, '{large}'), (2, 'ok'), (3, '{large}'), (4, '{large}'), (4, '{large}')")

    found = ask()

    assert (found.sent, list(found.problems)) == ([(None, "2")], [1, 3, 4])
    assert {problem.split(" is ")[0] for problem in found.problems.values()} == {"the request"}


@pytest.mark.sampled
@pytest.mark.parametrize(
    "prompt",
    ["{text}", "{{}} %s $1 ? 'é' \"{text}\" \\ {id}: {text}", "\0{id}\n{text}{text}", "🦜 " * 3_000 + "{text}"],
)
def test_what_sql_renders_is_what_python_renders(ask: Ask, prompt: str) -> None:
    """Whatever a document and a template hold, and whichever of the two renders a row, the same is asked."""
    texts = [chr(n) + "x" for n in (*range(0x100), 0x2028, 0xFFFF, 0x1F99C)]
    texts += ["{id} {{text}} %(id)s $before ' \" \\", "é" * LARGE_BYTES, '"' * LARGE_BYTES, "🦜" * (LARGE_BYTES // 4)]
    builder = RequestBuilder(prompt=Template.parse(prompt), base=BASE)
    built = [builder.build({"id": n, "text": text}) for n, text in enumerate(texts)]

    found = ask(prompt=prompt, frame=pd.DataFrame({"id": range(len(texts)), "text": texts}))

    assert sorted((int(row.key), row.question, orjson.loads(row.params)["messages"]) for row in found.put) == [
        (n, request.request_hash, orjson.loads(request.params)["messages"]) for n, request in enumerate(built)
    ]
    assert {row.params.partition(b'"messages"')[0] for row in found.put} == {b'{"model":"m","max_tokens":1,'}


def test_a_request_is_marked_to_be_cached_whoever_rendered_it(ask: Ask) -> None:
    """SQL and Python write the instructions with the same bytes: all begin with what one of them has cached."""
    guide = 'A "guide" with \\ and \t,\n/ and \u00fc and \U0001f989 and {{braces}}: ' * 9
    frame = pd.DataFrame({"id": range(3), "text": ["x" * LARGE_BYTES, "a war", "x" * 2 * LARGE_BYTES]})
    builder = RequestBuilder(prompt=Template.parse(guide + "{text}"), base={**BASE, "system": "Be short."})

    found = ask(prompt=guide + "{text}", base=builder.base, frame=frame)
    marked = [orjson.loads(builder.marked(row.params)) for row in found.put]

    blocks = [params["messages"][0]["content"] for params in marked]
    assert len({orjson.dumps([params["system"], params["messages"][0]["content"][0]]) for params in marked}) == 1
    assert sorted(len(block["text"]) for _, block in blocks) == [5, LARGE_BYTES, 2 * LARGE_BYTES]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("prompt", "base", "n"),
    [
        ("x" * LARGE_BYTES + "{text}", BASE, 1),
        ("{text}", {**BASE, "system": "x" * LARGE_BYTES}, 1),
        ("{text} or {text}", BASE, LARGE_BYTES // 2),
    ],
    ids=["template", "system", "twice"],
)
def test_large_requests_are_rendered_alone_whatever_makes_them_large(
    ask: Ask, docs: Callable[..., None], monkeypatch: pytest.MonkeyPatch, prompt: str, base: Mapping[str, Any], n: int
) -> None:
    """SQL would hold thousands of them at once."""
    docs(f"(1, '{'a' * n}'), (2, '{'b' * n}')")
    monkeypatch.setattr(Rendering, "_render_together", lambda *_: None)

    assert ask(prompt=prompt, base=base).sent == [(None, "1"), (None, "2")]
    assert ask(prompt="{text}").sent == []


# --- keys ------------------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("kind", "value"),
    [("INTEGER", "NULL"), ("DOUBLE", "'nan'::DOUBLE"), ("FLOAT", "'-inf'::FLOAT"), ("VARCHAR", "NULL")],
)
def test_f5_rows_without_a_key_share_one_rejected_row(ask: Ask, run: Run, kind: str, value: str) -> None:
    """However many there are, the table gets one row for them; a number that is none is no key either."""
    run(
        f"CREATE TABLE docs AS SELECT unnest([{value}, {value}, NULL, 1])::{kind} AS id, "
        "unnest(['x', 'y', NULL, 'a']) AS text"
    )

    found = ask()

    assert (len(found.sent), found.counts()) == (1, (4, 2, 0, 0, 1, 1))
    assert list(found.problems) == [None]
    assert found.problems[None] == "the key is NULL, no number, or not UTF-8, so the row cannot be told from others"


@pytest.mark.parametrize("values", ["(NULL, 'a'), (1, 'a')", "(1, 'a'), (NULL, 'a')"])
def test_f5_a_row_without_a_key_takes_nothing_from_one_that_asks_the_same(
    ask: Ask, docs: Callable[..., None], values: str
) -> None:
    """Whichever stands first: the row with a key is asked, that without one is not."""
    docs(values)

    found = ask()

    assert (found.sent, list(found.problems)) == ([(None, "1")], [None])
    assert found.questions == {1: question_of("a"), None: None}


def test_f5_a_row_without_a_key_is_rejected_also_where_its_question_is_answered(
    ask: Ask, docs: Callable[..., None], run: Run
) -> None:
    """An answer to another row is none to a row that nobody can name."""
    docs("(1, 'a'), (NULL, 'a')")
    answered(run, ("1", None, "succeeded", "a"))

    found = ask()

    assert (found.sent, list(found.problems), found.counts()) == ([], [None], (2, 2, 1, 0, 0, 1))


def test_f5_one_part_of_a_key_is_none(ask: Ask, docs: Callable[..., None]) -> None:
    """A row that lacks a part of its key lacks all of it."""
    docs("(1, 'de', 'a'), (NULL, 'de', 'b'), (2, NULL, 'c')", "id, lang, text")

    found = ask(key=["id", "lang"])

    assert found.sent == [(None, '[1,"de"]')]
    assert [row[:2] for row in found.rows] == [(1, "de"), (None, None)]


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["place", "question", "problem", "answered", "came", "text", "answer", "n", "t", "u"])
def test_a_key_may_have_any_name(ask: Ask, docs: Callable[..., None], name: str) -> None:
    """Also one that this package has a use for itself."""
    docs("('k', 'a')", f"{name}, body")

    found = ask(key=[name], prompt="{body}")

    assert (found.sent, found.rows) == ([(None, '"k"')], [("k", None, found.put[0].question, None)])


def test_f4_twins_that_ask_the_same_pass_as_one(ask: Ask, docs: Callable[..., None]) -> None:
    """A row that upstream holds twice is asked once."""
    docs("(1, 'a'), (2, 'b'), (1, 'a')")

    found = ask()

    assert (found.sent, found.counts()) == ([(None, "1"), (None, "2")], (3, 2, 0, 0, 2, 0))


@pytest.mark.sampled
@pytest.mark.parametrize(
    "texts", [["'a'", "'b'"], ["'a'", "'a'", "'b'"], ["'a'", "NULL"], ["NULL", "'a'"], ["NULL", "NULL"], ["'b'", "' '"]]
)
def test_f4_twins_that_differ_are_rejected_together(ask: Ask, docs: Callable[..., None], texts: list[str]) -> None:
    """Nobody can say which of them is meant, so none is asked, and the key has one row."""
    docs(", ".join(f"(1, {text})" for text in texts))

    found = ask()

    assert (list(found.problems), found.questions, found.counts()) == ([1], {1: None}, (len(texts), 1, 0, 0, 0, 1))
    if len(set(texts)) > 1:
        assert found.problems[1].startswith(f"{len(texts)} upstream rows share this key and differ")
    else:
        assert found.problems[1] == "column 'text' is NULL"


def test_f4_what_a_rejected_twin_asks_is_asked_for_others(ask: Ask, docs: Callable[..., None]) -> None:
    """The row that asks the same under a key of its own is no twin."""
    docs("(1, 'a'), (1, 'b'), (2, 'a')")

    found = ask()

    assert found.questions == {1: None, 2: question_of("a")}
    assert question_of("a") in {candidate.question for candidate in found.put}
    assert found.counts() == (3, 2, 0, 0, 1, 1)


# --- what is answered ------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize(
    "patches",
    [
        pytest.param({}, id="as-they-stand"),
        pytest.param({"Rendering._stretches": lambda _: None}, id="sorted"),
        pytest.param({"LARGE_BYTES": 1}, id="large"),
    ],
)
def test_rows_that_ask_the_same_share_one_request(
    ask: Ask, run: Run, monkeypatch: pytest.MonkeyPatch, patches: Mapping[str, Any]
) -> None:
    """Also across windows and partitions: one document is kept, for the row that stands first."""
    for name, value in {"WINDOW_BYTES": 1, **patches}.items():
        monkeypatch.setattr(f"claude_batch_dagster.storage.duckdb.asking.rendering.{name}", value)
    n = BLOCK + 1_001
    run(
        "CREATE TABLE docs AS SELECT range AS id, if(range % 1000 = 0, 'same', 't' || range) AS text, "  # noqa: S608
        f"if(range < 10, 'p', 'q') AS part FROM range({n})"
    )

    found = ask(P, Q, rule=BY_PART)

    assert (found.sent[0], len(set(found.sent)), len(found.sent)) == (("p", "0"), BLOCK + 998, BLOCK + 998)
    counts = zip(found.counts("p"), found.counts("q"), strict=True)
    assert tuple(map(sum, counts)) == (n, n, 0, 3, BLOCK + 998, 0)


@pytest.mark.verify
@pytest.mark.parametrize(
    ("n", "n_answers"),
    [
        pytest.param(130_000, 1, id="more-than-DuckDB-gives-to-one-thread"),
        pytest.param(5_000, 60_000, id="fewer-than-there-are-answers"),
    ],
)
def test_requests_stand_in_the_order_of_upstream(ask: Ask, run: Run, n: int, n_answers: int) -> None:
    """However many threads read it, and in whatever order a join with the answers leaves what was read."""
    run(f"CREATE TABLE docs AS SELECT range::INTEGER AS id, 't' || range AS text FROM range({n})")  # noqa: S608
    answered(run, ("1", None, "succeeded", "t1"))
    run(f"INSERT INTO answers SELECT -range - 1, NULL, 'succeeded', 'q' || range FROM range({n_answers})")  # noqa: S608

    found = ask()

    assert [int(key) for _, key in found.sent] == [place for place in range(n) if place != 1]


def test_what_lies_about_is_rendered_in_a_few_queries(ask: Ask, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside many answers a join leaves new rows in any order: not one query for each of them."""
    queries, render = [], Rendering._render_together  # noqa: SLF001  (its calls are counted)

    def noted(self: Rendering, rows: str) -> None:
        queries.append(rows)
        render(self, rows)

    monkeypatch.setattr(Rendering, "_render_together", noted)
    run("CREATE TABLE docs AS SELECT range::INTEGER AS id, 't' || range AS text FROM range(5000)")
    answered(run)
    run("INSERT INTO answers SELECT -range - 1, NULL, 'succeeded', 'q' || range FROM range(60000)")

    found = ask()

    assert (len(found.sent), len(queries) < 5) == (5000, True)


def test_new_changed_and_failed_rows_are_asked_and_answered_ones_are_not(
    ask: Ask, docs: Callable[..., None], run: Run
) -> None:
    """Only a good answer to the very same question spares a row."""
    docs("(1, 't1', 'p'), (2, 't2', 'p'), (3, 't3', 'p'), (4, 't4', 'p'), (5, 't5', 'p')", "id, text, part")
    answered(
        run,
        ("1", "p", "succeeded", "t1"),
        ("2", "p", "succeeded", "old"),
        ("3", "p", "errored", "t3"),
        ("4", "q", "succeeded", "elsewhere"),
        ("5", "p", "rejected", None),
    )

    found = ask(P, rule=BY_PART)

    assert sorted(found.sent) == [("p", "2"), ("p", "3"), ("p", "4"), ("p", "5")]
    assert found.counts("p") == (5, 5, 1, 0, 4, 0)


def test_a_question_that_is_answered_under_another_key_is_shared(ask: Ask, docs: Callable[..., None], run: Run) -> None:
    """Also from another partition: the text decides."""
    docs("(7, 'same'), (8, 'other')")
    answered(run, ("1", "q", "succeeded", "same"), ("2", "q", "refused", "other"))

    found = ask()

    assert (found.sent, found.counts()) == ([(None, "8")], (2, 2, 0, 1, 1, 0))


@pytest.mark.parametrize("prompt", ["{text}", lambda row: f"{row['text']}"], ids=["template", "function"])
def test_twins_whose_answer_stands_are_not_asked(
    ask: Ask, docs: Callable[..., None], run: Run, prompt: str | PromptFunction
) -> None:
    """Twins are held against the table like any row."""
    docs("(1, 'a'), (1, 'a')")
    question = ask(prompt=prompt).questions[1]
    run(f"INSERT INTO answers BY NAME SELECT 1 AS id, 'succeeded' AS status, '{question}' AS request_hash")

    found = ask(prompt=prompt)

    assert (found.sent, found.counts()) == ([], (2, 1, 1, 0, 0, 0))


@pytest.mark.parametrize("n", [1, LARGE_BYTES + 1])
def test_an_answered_row_is_not_rendered(
    ask: Ask, docs: Callable[..., None], run: Run, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    """Nor is one that asks what another asks: a run with nothing new takes no time for its documents."""
    a, b = "a" * n, "b" * n
    docs(f"(1, '{a}'), (2, '{b}'), (3, '{b}'), (4, '{a}')")
    answered(run, ("1", None, "succeeded", a))
    rendered = list[Any]()
    build = RequestBuilder.build_known

    def watched(self: RequestBuilder, values: Sequence[str], question: str) -> requests.Request:
        rendered.extend(values)
        return build(self, values, question)

    monkeypatch.setattr(RequestBuilder, "build_known", watched)
    found = ask()

    assert (rendered, found.sent) == ([b][: n // LARGE_BYTES], [(None, "2")])


def test_without_an_output_table_every_question_is_new(ask: Ask, docs: Callable[..., None]) -> None:
    """It is made before anything is sent, and may be dropped at any time."""
    docs("(1, 'a'), (2, 'a')")

    found = ask(prepared=False)

    assert (found.sent, found.counts()) == ([(None, "1")], (2, 2, 0, 1, 1, 0))


# --- prompt functions ------------------------------------------------------------------------------


def _ticking(numbers: Iterator[int]) -> PromptFunction:
    return lambda row: f"{row['text']} at {next(numbers)}"


def _sometimes(numbers: Iterator[int]) -> PromptFunction:
    return lambda row: f"{row['text']}{'!' if next(numbers) == 5 else ''}"


@pytest.mark.parametrize("make", [_ticking, _sometimes])
def test_f16_a_prompt_function_that_uses_time_or_chance_is_refused(
    ask: Ask, run: Run, make: Callable[[Iterator[int]], PromptFunction]
) -> None:
    """Two renderings of one row that differ would pay anew in every run."""
    run("CREATE TABLE docs AS SELECT range AS id, 'a' AS text FROM range(9)")

    with pytest.raises(ConfigurationError, match=r"two different requests from one row.*Nothing was sent"):
        ask(prompt=make(count()))


def test_a_prompt_function_that_depends_on_the_row_is_taken(ask: Ask, run: Run) -> None:
    """Only a few rows are rendered twice; each is given all its columns, as they are."""
    run("CREATE TABLE docs AS SELECT range AS id, 't' || range AS text, [range] AS \"Tags\" FROM range(9)")
    seen: list[Mapping[str, Any]] = []

    def prompt(row: Mapping[str, Any]) -> str:
        seen.append(row)
        return f"Read {row['text']}"

    found = ask(prompt=prompt)

    assert (len(found.put), len(seen)) == (9, 14)
    assert seen[0] == {"id": 0, "text": "t0", "Tags": [0]}
    assert found.questions == {n: candidate.question for n, candidate in enumerate(found.put)}


def test_rows_of_which_a_function_makes_the_same_share_one_request(ask: Ask, docs: Callable[..., None]) -> None:
    """What counts is what is asked, not what the row holds; also where the answer stands already."""
    docs("(1, 'A'), (2, 'a'), (3, ' '), (NULL, 'a')")

    found = ask(prompt=lambda row: row["text"].lower())

    assert (found.sent, found.counts()) == ([(None, "1")], (4, 4, 0, 1, 1, 2))
    assert list(found.problems) == [3, None]


def test_a_question_of_a_function_that_is_answered_is_not_sent(ask: Ask, docs: Callable[..., None], run: Run) -> None:
    """Whoever has the answer."""
    docs("(1, 'a'), (2, 'b'), (3, 'a')")
    question = ask(prompt=lambda row: row["text"]).questions[1]
    run(f"INSERT INTO answers BY NAME SELECT 9 AS id, 'succeeded' AS status, '{question}' AS request_hash")

    found = ask(prompt=lambda row: row["text"])

    assert (found.sent, found.counts()) == ([(None, "2")], (3, 3, 0, 2, 1, 0))


# --- partitions ------------------------------------------------------------------------------------


def test_partitions_are_counted_apart(ask: Ask, docs: Callable[..., None]) -> None:
    """The same key in two partitions is two rows; what is not asked for is left alone."""
    docs("(1, 'in p', 'p'), (1, 'in q', 'q'), (1, 'in r', 'r')", "id, text, part")

    found = ask(P, Q, rule=BY_PART)

    assert found.sent == [("p", "1"), ("q", "1")]
    assert (found.counts("p"), found.counts("q"), found.counts("r")) == (*[(1, 1, 0, 0, 1, 0)] * 2, (0,) * 6)


def test_what_a_partition_asked_before_is_replaced_and_others_keep_theirs(
    ask: Ask, docs: Callable[..., None], warehouse: Warehouse
) -> None:
    """Rows that have left upstream ask nothing any more; other partitions are as they were last asked."""
    docs("(1, 'a', 'p'), (2, 'b', 'p'), (3, 'c', 'q')", "id, text, part")
    ask(P, Q, rule=BY_PART)
    docs("(2, 'new', 'p')", "id, text, part")

    found = ask(P, rule=BY_PART)

    assert found.rows == [(2, "p", question_of("new"), None), (3, "q", question_of("c"), None)]
    with warehouse.connect() as connection:
        assert counted(connection, TARGET) == {"p": 1, "q": 1}


def test_f7_an_empty_partition_asks_nothing(ask: Ask, docs: Callable[..., None]) -> None:
    """No row, no request; and what it asked once is forgotten."""
    docs("(1, 'a', 'p')", "id, text, part")
    ask(P, rule=BY_PART)
    docs("(1, 'a', 'q')", "id, text, part")

    found = ask(P, rule=BY_PART)

    assert (found.rows, found.sent, found.counts("p")) == ([], [], (0,) * 6)


def month(n: int) -> Partition:
    """Return a month of 2026."""
    return Partition(key=f"2026-{n:02}", start=datetime(2026, n, 1), end=datetime(2026, n + 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("months", [[1], [1, 2], [2, 4]], ids=str)
def test_each_row_is_in_the_window_that_its_moment_falls_in(ask: Ask, run: Run, months: list[int]) -> None:
    """One window, several, and some with others between; each moment is in one, its last not in it."""
    run(
        "CREATE TABLE docs AS SELECT dayofyear(day) AS id, day::VARCHAR AS text, day FROM "
        "(SELECT unnest(generate_series(TIMESTAMP '2026-01-01', TIMESTAMP '2026-06-01', INTERVAL 1 DAY)) AS day)"
    )

    found = ask(*map(month, months), rule=PartitionRule(expr="day"))

    days = [datetime(2026, n, day) for n in months for day in range(1, {1: 32, 2: 29, 4: 31}[n])]  # noqa: DTZ001
    assert [row[:2] for row in found.rows] == [(day.timetuple().tm_yday, f"{day:%Y-%m}") for day in days]
    assert len(found.sent) == len(days)


def test_rows_of_two_dimensions_are_in_the_partition_that_has_both(ask: Ask, docs: Callable[..., None]) -> None:
    """By window and by key; a row that only one of them fits is in none."""
    docs(
        "(1, 'a', 'de', DATE '2026-01-31'), (2, 'b', 'en', DATE '2026-01-01'), (3, 'c', 'de', DATE '2026-02-01'), "
        "(4, 'd', 'fr', DATE '2026-01-01'), (5, 'e', 'de', DATE '2026-03-01'), (6, 'f', NULL, DATE '2026-01-01'), "
        "(7, 'g', 'de', NULL)",
        "id, text, lang, day",
    )
    partitions = [
        Partition(key=f"{lang}|{month(n).key}", parts=(Partition(key=lang), month(n)))
        for lang, n in [("de", 1), ("de", 2), ("en", 1)]
    ]
    rule = PartitionRule(expr=None, parts=(PartitionRule(expr="lang"), PartitionRule(expr="day")))

    found = ask(*partitions, rule=rule)

    assert [row[:2] for row in found.rows] == [(1, "de|2026-01"), (2, "en|2026-01"), (3, "de|2026-02")]
    assert found.asked.n_homeless == 2


def test_rows_of_no_partition_are_counted(ask: Ask, docs: Callable[..., None]) -> None:
    """A row whose partition expression is NULL belongs nowhere; that is told, not passed over."""
    docs("(1, 'a', 'p'), (2, 'b', NULL), (3, 'c', NULL), (4, 'd', 'q')", "id, text, part")

    found = ask(P, rule=BY_PART)

    assert (found.asked.n_homeless, found.sent) == (2, [("p", "1")])
    assert ask().asked.n_homeless == 0


# --- one reading -----------------------------------------------------------------------------------


def test_all_that_is_written_down_is_of_one_reading(ask: Ask, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, partitions, questions and documents, also where another reading would give others."""
    monkeypatch.setattr(Reading, "check_stable", lambda _: None)
    run("CREATE SEQUENCE s")
    relation = (
        "(SELECT nextval('s') AS id, random()::VARCHAR AS text, CASE WHEN random() < 0.5 THEN 'p' ELSE 'q' END AS part "
        "FROM range(100))"
    )

    found = ask(P, Q, relation=relation, rule=BY_PART)

    assert [key for key, *_ in found.rows] == list(range(1, 101))
    assert found.counts("p")[0] + found.counts("q")[0] == 100
    assert {candidate.key: candidate.question for candidate in found.put} == {
        str(key): question for key, question in found.questions.items()
    }
    assert {(key, part) for key, part, *_ in found.rows} == {(int(key), part) for part, key in found.sent}
    assert run("SELECT nextval('s')") == [(101,)]


VOLATILE = {
    "a sample": "SELECT * FROM docs USING SAMPLE 20 ROWS",
    "the time in a text": "SELECT id, text || now() AS text FROM docs",
    "the same time in each text": "SELECT id, now()::VARCHAR AS text FROM docs",
    "chance in a text": "SELECT id, text || random() AS text FROM docs WHERE id < 2",
    "a view": "FROM a_view",
}


@pytest.mark.sampled
@pytest.mark.parametrize("query", VOLATILE.values(), ids=VOLATILE.keys())
def test_f16_an_upstream_that_is_another_one_each_time_is_refused(ask: Ask, run: Run, query: str) -> None:
    """Each run would pay for something else."""
    run("CREATE TABLE docs AS SELECT range AS id, 'text ' || range AS text, 'p' AS part FROM range(1000)")
    run("CREATE VIEW a_view AS SELECT id, text || random() AS text FROM docs")

    with pytest.raises(ConfigurationError, match=r"gives other rows or texts each time it is read.*Nothing was sent"):
        ask(relation=f"({query})")

    assert run(f"FROM {questions_of(TARGET).sql}") == []


@pytest.mark.sampled
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM docs USING SAMPLE reservoir(20 ROWS) REPEATABLE (42)",
        "SELECT id, text, current_date > DATE '2020-01-01' AS late FROM docs ORDER BY hash(id) LIMIT 20",
        "SELECT uuid() AS id, text, random() AS n FROM docs WHERE id < 20",
        "SELECT d.* FROM docs AS d SEMI JOIN (SELECT range AS id FROM range(20)) USING (id)",
    ],
)
def test_a_query_that_depends_on_the_data_alone_is_taken(ask: Ask, run: Run, query: str) -> None:
    """Chance in what is not asked about costs nothing: answers belong to questions."""
    run("SET threads = 1")
    run("CREATE TABLE docs AS SELECT range AS id, 'text ' || range AS text FROM range(1000)")

    assert len(ask(relation=f"({query})").sent) == 20


def test_a_row_that_is_written_meanwhile_makes_no_upstream_another_one(
    ask: Ask, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third look tells it from chance."""
    run("CREATE TABLE docs AS SELECT range AS id, 'text ' || range AS text FROM range(9)")
    look, looks = Reading._fingerprint, count()  # noqa: SLF001  (between two of its looks somebody writes)

    def looked(self: Reading, source: str, values: Mapping[str, Any]) -> Any:
        found = look(self, source, values)
        if next(looks) == 0:
            self.reader.connection.execute("INSERT INTO docs VALUES (99, 'new')")
        return found

    monkeypatch.setattr(Reading, "_fingerprint", looked)

    assert len(ask(relation="(FROM docs)").sent) == 9


def test_f16_a_function_is_given_the_same_rows_each_time(ask: Ask, run: Run) -> None:
    """A sample is refused; chance in a column, of which nobody knows whether the function uses it, is not."""
    run("CREATE TABLE docs AS SELECT range AS id, 'text ' || range AS text FROM range(1000)")

    with pytest.raises(ConfigurationError, match="gives other rows or texts each time it is read"):
        ask(relation="(FROM docs USING SAMPLE 20 ROWS)", prompt=lambda row: str(row["text"]))
    found = ask(relation="(SELECT *, random() AS r FROM docs LIMIT 9)", prompt=lambda row: str(row["text"]))

    assert len(found.sent) == 9


def test_what_costs_nothing_is_read_once(ask: Ask, docs: Callable[..., None], run: Run) -> None:
    """Where every row has its answer, nobody asks whether upstream would be the same again."""
    docs("(1, 'a')")
    answered(run, ("1", None, "succeeded", "a"))
    run("CREATE SEQUENCE s")

    found = ask(relation="(SELECT id, text FROM docs WHERE nextval('s') > 0)")

    assert (found.sent, run("SELECT nextval('s')")) == ([], [(2,)])


def test_a_value_that_cannot_be_read_is_told_without_repeating_it_and_changes_nothing(
    ask: Ask, docs: Callable[..., None], run: Run
) -> None:
    """It may be a document; what was asked before stays."""
    docs("(1, 'a')")
    before = ask().rows

    with pytest.raises(UpstreamError, match=r"Conversion Error.*Nothing was sent.*Use try_cast") as caught:
        ask(relation="(SELECT 1 AS id, CAST('SEC' || 'RET' AS INTEGER) AS text FROM docs)")

    assert "SECRET" not in str(caught.value)
    assert run(f"SELECT * EXCLUDE ({LEFT_OUT}) FROM {questions_of(TARGET).sql}") == before  # noqa: S608


def test_f1_nothing_changes_where_upstream_cannot_be_read(ask: Ask, docs: Callable[..., None], run: Run) -> None:
    """It was dropped, or lacks its key: what the rows asked stays written down."""
    docs("(1, 'a')")
    before = ask().rows
    docs("(1, 'a')", "uid, text")
    with pytest.raises(UpstreamError, match="key needs column 'id'"):
        ask()
    run("DROP TABLE docs")
    with pytest.raises(UpstreamError, match="table docs cannot be read"):
        ask()

    assert run(f"SELECT * EXCLUDE ({LEFT_OUT}) FROM {questions_of(TARGET).sql}") == before  # noqa: S608


def test_keys_of_another_type_can_be_compared_with_those_of_before(
    ask: Ask, docs: Callable[..., None], run: Run
) -> None:
    """What other partitions ask stays written down, under keys of today's type."""
    docs("(1, 'a', 'p'), (2, 'b', 'q')", "id, text, part")
    ask(P, Q, rule=BY_PART)
    run("DROP TABLE answers")
    docs("('1', 'a', 'p'), ('2', 'b', 'q')", "id, text, part")

    assert ask(P, rule=BY_PART).rows == [("1", "p", question_of("a"), None), ("2", "q", question_of("b"), None)]


# --- hashes of an earlier version ------------------------------------------------------------------


def earlier(text: str) -> str:
    """Return how the question about a text was called before hashes had a version."""
    return earlier_hash(BUILDER.build({"text": text}).params, asked_of="")


@pytest.mark.parametrize("prompt", ["{text}", lambda row: row["text"]], ids=["template", "function"])
def test_answers_under_hashes_of_an_earlier_version_are_taken_for_what_they_are(
    ask: Ask, docs: Callable[..., None], run: Run, prompt: str | PromptFunction
) -> None:
    """Nothing is asked again for its new name: the ledger is told too, if it has such names."""
    docs("(1, 'a'), (2, 'b'), (3, 'b'), (4, 'c')")
    answered(run, ("1", None, "succeeded", None), ("2", None, "succeeded", None))
    run(f"UPDATE answers SET request_hash = CASE id WHEN 1 THEN '{earlier('a')}' ELSE '{earlier('b')}' END")  # noqa: S608
    told: dict[str, str] = {}

    found = ask(prompt=prompt, rename=told.update)

    names = {found.questions[key] for key in (1, 2)}
    assert {name for (name,) in run("SELECT request_hash FROM answers")} == names
    assert told == {earlier(text): found.questions[key] for text, key in [("a", 1), ("b", 2), ("c", 4)]}
    assert found.counts() == (4, 4, 2, 1, 1, 0)
    assert ask(prompt=prompt).sent == [(None, "4")]


def test_a_ledger_with_earlier_names_is_told_though_the_table_is_new(ask: Ask, docs: Callable[..., None]) -> None:
    """Such as where it has batches on their way whose answers have not landed yet."""
    docs("(1, 'a')")
    told: dict[str, str] = {}

    ask(rename=told.update)

    assert told == {earlier("a"): question_of("a")}


def test_a_table_with_earlier_names_is_renamed_though_the_ledger_has_none(
    ask: Ask, docs: Callable[..., None], run: Run
) -> None:
    """Such as where the ledger is new."""
    docs("(1, 'a')")
    answered(run, ("1", None, "succeeded", None))
    run(f"UPDATE answers SET request_hash = '{earlier('a')}'")  # noqa: S608

    assert ask().counts() == (1, 1, 1, 0, 0, 0)


def test_a_table_of_questions_is_new_until_one_is_written_down(memory: duckdb.DuckDBPyConnection) -> None:
    """A run that dies between creating it and its first commit leaves it as new as it was: old answers are not lost."""
    target = TableName("main", "never asked")

    assert [questions.prepare(memory, target, {"id": "INTEGER"}) for _ in range(2)] == [True, True]

    memory.execute(f"INSERT INTO {questions_of(target).sql} (id, request_hash) VALUES (1, 'q1')")  # noqa: S608
    assert not questions.prepare(memory, target, {"id": "INTEGER"})
    assert not questions.prepare(memory, target, {"id": "VARCHAR"})
