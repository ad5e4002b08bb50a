"""Results that are strange: over a real socket, through the real client, ledger, spool and table."""

import random
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_batch_dagster.errors import ApiResponseError
from proof.answers.server import ScriptedServer
from proof.cuts.framings import download
from proof.cuts.results import N_ROWS, lines
from proof.cuts.world import CHUNK, EXPECTED, WHOLE, CutApi, CutWorld, cut_world, served_cut_world
from proof.scratch import scratch

pytestmark = pytest.mark.verify

LINES = lines(CHUNK.custom_ids)
Say = Callable[[bytes], None]

GOOD = 0
"""A row that succeeded."""


@pytest.fixture
def world_and_server() -> Iterator[tuple[CutWorld, ScriptedServer]]:
    """Return a chunk of 200 rows to bring home, and the server that has its results."""
    with scratch() as folder, served_cut_world(folder) as both:
        yield both


@pytest.fixture
def world(world_and_server: tuple[CutWorld, ScriptedServer]) -> CutWorld:
    """Return a chunk of 200 rows to bring home by the real client."""
    return world_and_server[0]


@pytest.fixture
def server(world_and_server: tuple[CutWorld, ScriptedServer]) -> ScriptedServer:
    """Return the server that it comes from."""
    return world_and_server[1]


@pytest.fixture
def say(server: ScriptedServer) -> Say:
    """Return a function that makes the server hand out these results."""

    def say(content: bytes) -> None:
        server.script = download(content, "length", n_missing=0)

    return say


def joined(parts: Sequence[bytes]) -> bytes:
    """Return lines as a download."""
    return b"".join(part + b"\n" for part in parts)


def told(custom_id: str, text: str = '{"label":"war","word":"forged"}', **fields: Any) -> bytes:
    """Return a line for a request that was answered and paid for."""
    message = {
        "model": "claude-haiku-5-5",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 10**6, "output_tokens": 10**6},
        **fields,
    }
    return orjson.dumps({"custom_id": custom_id, "result": {"type": "succeeded", "message": message}})


# --- which line is whose ---------------------------------------------------------------------------


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_f74_the_table_is_the_same_in_whatever_order_the_results_come(seed: int) -> None:
    """Every column of every row, and the books."""
    ordered, shuffled = _landed(LINES), _landed(random.Random(seed).sample(LINES, len(LINES)))  # noqa: S311  (a seed)

    assert ordered == shuffled


def _landed(parts: Sequence[bytes]) -> object:
    api = CutApi(joined(parts))
    with scratch() as folder, cut_world(folder, api) as world:
        assert world.collect()
        rows = world.connection.execute("SELECT * FROM answers ORDER BY id").fetchall()
        return rows, world.ledger.spends("main.answers")


def test_f71_a_result_that_comes_twice_is_one(world: CutWorld, say: Say) -> None:
    """Every line once more, and in another order: nothing lands twice, nothing is told."""
    say(joined([*LINES, *LINES[::-1]]))

    assert world.collect()
    assert (world.faults_at_home(), world.troubles) == ([], [])
    assert world.ledger.spends("main.answers")[0].n_requests == 120


def test_f71_of_two_different_results_for_a_row_the_first_counts_and_it_is_told(world: CutWorld, say: Say) -> None:
    """The second is neither joined nor paid in the books; it stays in the spool."""
    say(joined([*LINES, told(CHUNK.custom_ids[GOOD])]))

    assert world.collect()
    assert world.faults_at_home() == []
    assert [type(trouble) for trouble in world.troubles] == [ApiResponseError]
    assert "two different results for one row" in str(world.troubles[0])
    assert world.ledger.spends("main.answers")[0].input_tokens < 10**6
    assert b"forged" in b"".join(world.spool.lines("msgbatch_1"))


def test_f72_a_row_that_is_missing_once_is_not_missing(world: CutWorld, say: Say) -> None:
    """The API is asked again; three incomplete downloads in no time are not patience."""
    for left_out in range(3):
        say(joined([*LINES[:left_out], *LINES[left_out + 1 :]]))
        assert (world.collect(), world.faults_in_vain()) == (False, [])
    say(WHOLE)

    assert world.collect()
    assert world.faults_at_home() == []


NEAR_MISSES = [
    "",
    CHUNK.custom_ids[GOOD][:-1],
    CHUNK.custom_ids[GOOD] + "0",
    CHUNK.custom_ids[GOOD] + " ",
    " " + CHUNK.custom_ids[GOOD],
    CHUNK.custom_ids[GOOD].upper(),
    CHUNK.custom_ids[GOOD] + "\x00",
    CHUNK.custom_ids[GOOD].replace("0", "\uff10"),
    CHUNK.nonce,
    CHUNK.nonce[:-1] + "0" + CHUNK.custom_ids[GOOD][len(CHUNK.nonce) :],
    f"{CHUNK.nonce}-{N_ROWS:05d}-{N_ROWS}",
    "row-of-another-batch",
    "x" * 100_000,
    "'; DROP TABLE answers; --",
]


def test_f73_results_of_rows_that_were_never_sent_are_joined_to_none(world: CutWorld, say: Say) -> None:
    """However near their id comes to one of ours: ids are compared byte by byte, and cost is not counted."""
    say(joined([told(custom_id) for custom_id in NEAR_MISSES] + LINES))

    assert world.collect()
    assert (world.faults_at_home(), world.troubles) == ([], [])
    assert world.ledger.spends("main.answers")[0].input_tokens < 10**6


def test_f73_foreign_lines_do_not_make_up_for_missing_ones(world: CutWorld, say: Say) -> None:
    """As many lines as rows, one of them another batch's: not complete."""
    say(joined([*LINES[:-1], told("row-of-another-batch")]))

    assert (world.collect(), world.faults_in_vain()) == (False, [])


# --- how lines are laid out ------------------------------------------------------------------------

ENDS = [b"\n", b"\r\n", b"\n\n", b" \t\r\n", b"\n\r\n \n"]


@pytest.mark.parametrize(
    ("end", "bom", "last"),
    [pytest.param(*layout, id=f"F75-{layout}") for layout in product(ENDS, [b"", b"\xef\xbb\xbf"], [True, False])],
)
def test_line_ends_of_every_kind_are_read(world: CutWorld, say: Say, end: bytes, bom: bytes, last: bool) -> None:  # noqa: FBT001
    """CRLF, blank lines, a byte order mark, and no newline at the end."""
    say(bom + end.join(LINES) + (end if last else b""))

    assert world.collect()
    assert world.faults_at_home() == []


DEEP = 100_000

GARBAGE = [
    b"null",
    b"[]",
    b"3",
    b'"text"',
    b"NaN",
    b"{",
    b"}" * DEEP,
    b"[" * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b'{"custom_id":' * DEEP,
    b"9" * DEEP,
    b'{"custom_id":"x","result":{"type":"expired","n":' + b"9" * DEEP + b"}}",
    b"\xff\xfe\x00\x80",
    b"\x00" * 100,
    b"\x1f\x8b\x08\x00",
    b"<html>Bad gateway</html>",
    b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
    b"x" * 1_000_000,
]


def test_f76_lines_that_are_garbage_harm_no_other(world: CutWorld, say: Say) -> None:
    """Deep nesting, endless numbers, bad UTF-8, a page of HTML, a megabyte of nothing: each before a good line."""
    mixed = [part for number, line in enumerate(LINES) for part in (GARBAGE[number % len(GARBAGE)], line)]
    say(joined(mixed))

    assert world.collect()
    assert (world.faults_at_home(), world.troubles) == ([], [])


def test_f76_a_key_that_comes_twice_leaves_one_reading(world: CutWorld, say: Say) -> None:
    """A line with two custom_ids is the last one's, and never both rows'."""
    first, second = (CHUNK.custom_ids[number] for number in (GOOD, GOOD + 2))
    line = LINES[GOOD].replace(b'{"custom_id"', b'{"custom_id":"%b","custom_id"' % second.encode(), 1)
    assert (first.encode() in line, second.encode() in line) == (True, True)
    say(joined([line, *LINES[1:]]))

    assert world.collect()
    assert world.faults_at_home() == []


def test_f76_numbers_that_are_none_do_not_cost_an_answer(world: CutWorld, say: Say) -> None:
    """NaN and Infinity beside an answer that was paid for: the answer lands."""
    odd = LINES[GOOD].replace(b'"input_tokens":21', b'"input_tokens":NaN,"share":-Infinity')
    assert odd != LINES[GOOD]
    say(joined([odd, *LINES[1:]]))

    assert world.collect()
    assert world.faults_at_home() == []


# --- what answers hold -----------------------------------------------------------------------------

TEXT = {"type": "text", "text": '{"label":"war","word":"w"}'}

ANSWERS = [
    pytest.param({"stop_reason": "refusal", "content": []}, "refused", "declined", id="F79-refusal"),
    pytest.param({"stop_reason": "max_tokens"}, "truncated", "max_tokens", id="F79-max-tokens"),
    pytest.param({"stop_reason": "model_context_window_exceeded"}, "truncated", "context window", id="F79-context"),
    pytest.param({"stop_reason": "pause_turn"}, "invalid", "pause_turn", id="F79-pause-turn"),
    pytest.param({"stop_reason": "of_next_year"}, "invalid", "of_next_year", id="F79-unknown"),
    pytest.param({"stop_reason": None}, "invalid", "not complete", id="F79-none"),
    pytest.param(
        {
            "stop_reason": "tool_use",
            "content": [{"type": "tool_use", "name": "f", "input": {"label": "war", "word": "w"}}],
        },
        "succeeded",
        None,
        id="F79-tool-use",
    ),
    pytest.param({"content": []}, "invalid", "empty", id="F80-nothing"),
    pytest.param({"content": [{"type": "thinking", "thinking": "hm"}]}, "invalid", "empty", id="F80-thinking-only"),
    pytest.param({"content": [{"type": "thinking", "thinking": "{"}, TEXT]}, "succeeded", None, id="F80-thinking"),
    pytest.param(
        {"content": [{"type": "text", "text": '{"label":"war",'}, {"type": "text", "text": '"word":"w"}'}]},
        "succeeded",
        None,
        id="F80-two-blocks",
    ),
    pytest.param({"text": "war"}, "invalid", "not JSON", id="F82-prose"),
    pytest.param({"text": '```json\n{"label":"war","word":"w"}\n```'}, "invalid", "not JSON", id="F82-fenced"),
    pytest.param({"text": '{"label":"war","word":"w"} Done.'}, "invalid", "not JSON", id="F82-trailing-prose"),
    pytest.param({"text": "[" * DEEP}, "invalid", "not JSON", id="F82-deep"),
    pytest.param({"text": '{"label":"war"}'}, "invalid", "word", id="F83-missing-field"),
    pytest.param({"text": '{"label":"truce","word":"w"}'}, "invalid", "label", id="F83-wrong-choice"),
    pytest.param({"text": '{"label":"WAR","word":"w"}'}, "succeeded", None, id="F83-capitals"),
    pytest.param({"text": '{"label":"war","word":"w","note":1}'}, "succeeded", None, id="F83-extra-field"),
    pytest.param({"text": '{"label":"war","word":NaN}'}, "invalid", "word", id="F83-nan"),
    pytest.param({"text": '{"label":"war","word":' + "9" * 400 + "}"}, "invalid", "word", id="F83-number"),
    pytest.param({"text": '{"label":"war","word":"a\\u0000b"}'}, "succeeded", None, id="F81-nul"),
    pytest.param({"text": '{"label":"war","word":"\\ud800"}'}, "invalid", "not JSON", id="F81-escaped-half"),
]


@pytest.mark.parametrize(("fields", "status", "error"), ANSWERS)
def test_every_answer_has_its_own_verdict_and_its_cost(
    world: CutWorld, say: Say, fields: dict[str, Any], status: str, error: str | None
) -> None:
    """And keeps no other row out: what is not an answer was paid for all the same, and says so."""
    say(joined([told(CHUNK.custom_ids[GOOD], **fields), *LINES[1:]]))

    assert world.collect()
    columns = "status, error, label, cost_usd > 1"
    query = f"SELECT {columns} FROM answers WHERE id = 0"  # noqa: S608
    ((verdict, reason, label, paid),) = world.connection.execute(query).fetchall()
    assert (verdict, label, paid) == (status, "war" if status == "succeeded" else None, True)
    assert (reason is None) if error is None else (error in reason)
    assert world.rows()[1:] == EXPECTED[1:]


HALVES = [
    pytest.param(b"half \\ud83d of it", "half \ufffd of it", id="F81-lone-surrogate"),
    pytest.param(b"\\ude00\\ud83d", "\ufffd\ufffd", id="F81-reversed-pair"),
    pytest.param(b"caf\xe9", "caf\ufffd", id="F76-bad-utf8"),
]


@pytest.mark.parametrize(("raw", "word"), HALVES)
def test_broken_characters_of_an_answer_are_replaced_and_told(world: CutWorld, say: Say, raw: bytes, word: str) -> None:
    """The answer lands in the table with U+FFFD, and the raw bytes stay in the spool."""
    say(joined([told(CHUNK.custom_ids[GOOD]).replace(b"forged", raw), *LINES[1:]]))

    assert world.collect()
    ((landed, error),) = world.connection.execute("SELECT word, error FROM answers WHERE id = 0").fetchall()
    assert (landed, "U+FFFD" in error) == (word, True)
    assert raw in b"".join(world.spool.lines("msgbatch_1"))


def test_f77_an_answer_of_ten_megabytes_lands_whole(world: CutWorld, say: Say) -> None:
    """With every other row of its batch, in memory of a small multiple of it."""
    # The JSON parser alone reserves twelve times a line, and touches little of that.
    word = "a long answer " * 750_000
    say(joined([told(CHUNK.custom_ids[GOOD], f'{{"label":"war","word":"{word}"}}'), *LINES[1:]]))

    tracemalloc.start()
    try:
        assert world.collect()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 20 * len(word)
    assert world.rows() == [(GOOD, "succeeded", "war", word), *EXPECTED[1:]]
