"""How a request is marked so that what it shares with others is cached, and what a mark may not change."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch_dagster.core.asking.requests import RequestBuilder, widened
from claude_batch_dagster.core.asking.shared_prefix import MARK, SMALLEST_SPLIT_BYTES
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.pricing import cost
from claude_batch_dagster.core.sending.chunks import Chunk, OpenRow
from claude_batch_dagster.core.sending.redaction import WITHHELD, shown

HAIKU, SONNET = "claude-haiku-5-5", "claude-sonnet-5-5"

GUIDE = "Choose a label.\n" + 'A "guide" with \\ and \t and ü and 🦉 and {{braces}}: ' * 9
SCHEMA = {"type": "json_schema", "schema": {"type": "object", "properties": {"label": {"type": "string"}}}}
BASE: dict[str, Any] = {
    "model": HAIKU,
    "max_tokens": 100,
    "system": "Be short.",
    "output_config": {"format": SCHEMA},
}


def builder(source: str = GUIDE + "{text}", **base: Any) -> RequestBuilder:
    """Return what renders a template; a param that is None is left out."""
    params = {name: value for name, value in {**BASE, **base}.items() if value is not None}
    return RequestBuilder(prompt=Template.parse(source), base=params)


def unmarked(params: Any) -> Any:
    """Return params without breakpoints, and what was cut for their sake in one again."""
    system, [message] = params.get("system"), params["messages"]
    content = message["content"]
    joined = content if isinstance(content, str) else "".join(block["text"] for block in content)
    whole = system[0]["text"] if isinstance(system, list) else system
    return {**params, **({"system": whole} if system else {}), "messages": [{**message, "content": joined}]}


def test_a_marked_request_has_two_breakpoints_for_an_hour() -> None:
    """After the system prompt, and after the instructions before the first column."""
    made = builder()
    marked = orjson.loads(made.marked(made.build({"text": "a war"}).params))
    guide = GUIDE.replace("{{", "{").replace("}}", "}")

    assert marked["system"] == [{"type": "text", "text": "Be short.", "cache_control": MARK}]
    assert marked["messages"][0]["content"] == [
        {"type": "text", "text": guide, "cache_control": MARK},
        {"type": "text", "text": "a war"},
    ]
    assert MARK == {"type": "ephemeral", "ttl": "1h"}


@given(
    text=st.text(min_size=1).filter(lambda text: text.strip()),
    system=st.none() | st.sampled_from(["Be short.", " ", 'a "system" with "cache_control" in it']),
    source=st.sampled_from([GUIDE + "{text}", "{text}", "Read: {text}", GUIDE + "{text} and {text}" + GUIDE]),
)
def test_a_mark_changes_nothing_but_the_form(text: str, system: str | None, source: str) -> None:
    """All that Claude reads is there, in its order, whatever a document holds; marked twice is marked once."""
    made = builder(source, system=system)
    plain = made.build({"text": text}).params
    marked = made.marked(plain)

    assert unmarked(orjson.loads(marked)) == orjson.loads(plain)
    assert list(orjson.loads(marked)) == list(orjson.loads(plain))
    assert made.marked(marked) == marked
    assert marked.count(b'"cache_control":{') <= 2


@pytest.mark.parametrize(
    ("source", "system", "n_marks"),
    [
        ("{text}", None, 0),
        ("{text}", " \n", 0),
        (" \n{text}", None, 0),
        ("{text}", "Be short.", 1),
        ("Read: {text}", "Be short.", 1),
        ("Read: {text}", None, 1),
        ("x" * SMALLEST_SPLIT_BYTES + "{text}", "Be short.", 2),
        ("é" * (SMALLEST_SPLIT_BYTES // 2) + "{text}", "Be short.", 2),
        ("x" * (SMALLEST_SPLIT_BYTES - 1) + "{text}", "Be short.", 1),
    ],
)
def test_what_is_shared_is_marked_where_it_ends(source: str, system: str | None, n_marks: int) -> None:
    """A word or two behind a system prompt are not worth a cut; nothing is marked where nothing is shared."""
    made = builder(source, system=system)
    plain = made.build({"text": "a war"}).params

    assert made.marked(plain).count(b'"cache_control":{') == n_marks
    assert (made.marked(plain) == plain) is (n_marks == 0) is (made.shared_prefix.n_tokens == 0)


def test_the_last_block_of_a_system_prompt_of_several_is_marked() -> None:
    """Also where the user has written blocks."""
    blocks = [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]
    made = builder("{text}", system=blocks)
    marked = orjson.loads(made.marked(made.build({"text": "a war"}).params))

    assert marked["system"] == [blocks[0], {**blocks[1], "cache_control": MARK}]
    assert made.shared_prefix.n_text_bytes == 8


@pytest.mark.parametrize(
    "base",
    [
        {"cache_control": {"type": "ephemeral"}},
        {"system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}]},
        {"tools": [{"name": "t", "input_schema": {}, "cache_control": {"type": "ephemeral"}}]},
    ],
    ids=["all", "system", "tools"],
)
def test_breakpoints_of_the_users_own_stay_as_they_are(base: dict[str, Any]) -> None:
    """Whoever marks knows why; a fifth breakpoint would be refused."""
    made = builder(**base)
    plain = made.build({"text": "a war"}).params

    assert made.marked(plain) == plain
    assert made.shared_prefix.n_tokens == 0


MESSAGE = {"role": "user", "content": "a war"}
BLOCK = {"type": "text", "text": "a war"}


@pytest.mark.parametrize(
    ("made", "is_marked"),
    [
        ("a war", True),
        ({"messages": [MESSAGE]}, True),
        ({"messages": [MESSAGE, {"role": "assistant", "content": "No."}, MESSAGE]}, False),
        ({"messages": [{**MESSAGE, "content": [BLOCK]}]}, False),
        ({"messages": [{**MESSAGE, "content": [{**BLOCK, "cache_control": MARK}]}]}, False),
        ({"messages": [MESSAGE], "tools": [{"name": "of the row", "input_schema": {}, "x": [{}]}]}, False),
        ({"messages": [MESSAGE], "max_tokens": 5}, False),
        ({"messages": [MESSAGE], "system": "Be long."}, False),
        ({"messages": [MESSAGE], "model": SONNET}, False),
    ],
)
def test_a_request_that_a_function_made_is_marked_if_it_is_like_the_others(made: Any, *, is_marked: bool) -> None:
    """Params of a row's own may stand before the prefix, so that nobody would ever read what it writes."""
    base = {**BASE, "thinking": None}
    function = RequestBuilder(prompt=lambda _: made, base={name: value for name, value in base.items() if value})
    plain = function.build({}).params

    assert (function.marked(plain) != plain) is is_marked
    assert orjson.loads(function.marked(plain))["messages"] == orjson.loads(plain)["messages"]


def test_what_is_shared_is_counted_in_bytes_and_estimated_in_tokens() -> None:
    """Four bytes of text a token; of a schema, whose tokens nobody documents, eight."""
    made = builder("g" * 2_000 + "{text}", system="s" * 400, tools=[{"name": "tool"}])
    n_schema, n_tools = len(orjson.dumps(SCHEMA)), len(orjson.dumps([{"name": "tool"}]))

    prefix = made.shared_prefix
    assert (prefix.n_text_bytes, prefix.n_schema_bytes) == (2_400 + n_tools, n_schema)
    assert prefix.n_tokens == (2_400 + n_tools) // 4 + n_schema // 8
    assert builder("Read: {text}", system="s" * 400).shared_prefix.n_text_bytes == 400


def test_a_marked_request_is_asked_again_with_more_room() -> None:
    """As if it had been marked afterwards."""
    made = builder()
    plain = made.build({"text": "a war"}).params
    wider = orjson.loads(widened(made.marked(plain), n_truncated=1))

    assert wider == {**orjson.loads(made.marked(plain)), "max_tokens": 400}
    assert made.marked(widened(plain, n_truncated=1)) == widened(plain, n_truncated=1)


@given(n=st.integers(1, 50), document=st.text(min_size=1, max_size=3_000).filter(lambda text: text.strip()))
def test_f34_a_marked_request_is_bounded_by_the_price_of_writing_all_of_it(n: int, document: str) -> None:
    """Whatever is read or written of it: the bound holds before anything is known, alone and in a batch."""
    made = builder()
    plain = made.build({"text": document}).params
    row = OpenRow(None, "1", "hash", made.marked(plain))
    written = Usage(0, 100, len(row.params), len(row.params))
    dearest = cost(HAIKU, written)

    assert dearest is not None
    assert row.max_cost_usd >= dearest.batch_usd
    assert Chunk("n" * 26, [row] * n).max_cost_usd == pytest.approx(n * row.max_cost_usd)
    mixed = Chunk("n" * 26, [row, row._replace(params=plain), row])
    assert mixed.max_cost_usd == pytest.approx(2 * row.max_cost_usd + row._replace(params=plain).max_cost_usd)


def test_f120_a_document_is_found_in_a_marked_request() -> None:
    """A refusal that quotes it is not shown, though its message stands in two blocks."""
    document = 'My "secret": the\ncode of the safe is 1234, and the key lies under the mat'
    made = builder()
    marked = made.marked(made.build({"text": document}).params)

    assert shown(f"requests.0: bad value {document}", [marked]) == f"requests.0: {WITHHELD}"
    assert shown(f"requests.0: bad value {GUIDE[:60]}", [marked]) == f"requests.0: {WITHHELD}"
    assert shown("model: claude-haiku-5-5 cannot be used", [marked]) == "model: claude-haiku-5-5 cannot be used"
