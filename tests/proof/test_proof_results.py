"""Results that are strange: over a real socket, through the real client, ledger, spool and table."""

import random
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_batch_dagster.client import AnthropicBatches, new_client
from claude_batch_dagster.core import collection
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.errors import ApiResponseError
from proof.answers.server import Script, ScriptedServer, http, scripted
from proof.cuts.desk import CHUNK, ENDED, EXPECTED, WHOLE, CutApi, Desk, desk
from proof.cuts.framings import download
from proof.cuts.results import N_ROWS, lines
from proof.scratch import scratch

LINES = lines(CHUNK.custom_ids)
Say = Callable[[bytes], None]

GOOD = 0
"""A row that succeeded."""


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Return a server that does as it is told."""
    with scripted() as server:
        yield server


@pytest.fixture
def one(server: ScriptedServer) -> Iterator[Desk]:
    """Return a chunk of 200 rows to bring home from that server, by the real client."""
    api = AnthropicBatches(new_client(api_key="canary-key", base_url=server.url))
    with scratch() as folder, desk(folder, api) as one:
        yield one
    api.close()


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
    with scratch() as folder, desk(folder, api) as one:
        assert one.collect()
        return one.connection.execute("SELECT * FROM answers ORDER BY id").fetchall(), one.ledger.spends("main.answers")


def test_f71_a_result_that_comes_twice_is_one(one: Desk, say: Say) -> None:
    """Every line once more, and in another order: nothing lands twice, nothing is told."""
    say(joined([*LINES, *LINES[::-1]]))

    assert one.collect()
    assert (one.faults_at_home(), one.troubles) == ([], [])
    assert one.ledger.spends("main.answers")[0].n_requests == 120


def test_f71_of_two_different_results_for_a_row_the_first_counts_and_it_is_told(one: Desk, say: Say) -> None:
    """The second is neither joined nor paid in the books; it stays in the spool."""
    say(joined([*LINES, told(CHUNK.custom_ids[GOOD])]))

    assert one.collect()
    assert one.faults_at_home() == []
    assert [type(trouble) for trouble in one.troubles] == [ApiResponseError]
    assert "two different results for one row" in str(one.troubles[0])
    assert one.ledger.spends("main.answers")[0].input_tokens < 10**6
    assert b"forged" in b"".join(one.spool.lines("msgbatch_1"))


def test_f72_a_row_that_is_missing_once_is_not_missing(one: Desk, say: Say) -> None:
    """The API is asked again; three incomplete downloads in no time are not patience."""
    for left_out in range(3):
        say(joined([*LINES[:left_out], *LINES[left_out + 1 :]]))
        assert (one.collect(), one.faults_in_vain()) == (False, [])
    say(WHOLE)

    assert one.collect()
    assert one.faults_at_home() == []


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


def test_f73_results_of_rows_that_were_never_sent_are_joined_to_none(one: Desk, say: Say) -> None:
    """However near their id comes to one of ours: ids are compared byte by byte, and cost is not counted."""
    say(joined([told(custom_id) for custom_id in NEAR_MISSES] + LINES))

    assert one.collect()
    assert (one.faults_at_home(), one.troubles) == ([], [])
    assert one.ledger.spends("main.answers")[0].input_tokens < 10**6


def test_f73_foreign_lines_do_not_make_up_for_missing_ones(one: Desk, say: Say) -> None:
    """As many lines as rows, one of them another batch's: not complete."""
    say(joined([*LINES[:-1], told("row-of-another-batch")]))

    assert (one.collect(), one.faults_in_vain()) == (False, [])


# --- how lines are laid out ------------------------------------------------------------------------

ENDS = [b"\n", b"\r\n", b"\n\n", b" \t\r\n", b"\n\r\n \n"]


@pytest.mark.parametrize(
    ("end", "bom", "last"),
    [pytest.param(*layout, id=f"F75-{layout}") for layout in product(ENDS, [b"", b"\xef\xbb\xbf"], [True, False])],
)
def test_line_ends_of_every_kind_are_read(one: Desk, say: Say, end: bytes, bom: bytes, last: bool) -> None:  # noqa: FBT001
    """CRLF, blank lines, a byte order mark, and no newline at the end."""
    say(bom + end.join(LINES) + (end if last else b""))

    assert one.collect()
    assert one.faults_at_home() == []


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


def test_f76_lines_that_are_garbage_harm_no_other(one: Desk, say: Say) -> None:
    """Deep nesting, endless numbers, bad UTF-8, a page of HTML, a megabyte of nothing: each before a good line."""
    mixed = [part for number, line in enumerate(LINES) for part in (GARBAGE[number % len(GARBAGE)], line)]
    say(joined(mixed))

    assert one.collect()
    assert (one.faults_at_home(), one.troubles) == ([], [])


def test_f76_a_key_that_comes_twice_leaves_one_reading(one: Desk, say: Say) -> None:
    """A line with two custom_ids is the last one's, and never both rows'."""
    first, second = (CHUNK.custom_ids[number] for number in (GOOD, GOOD + 2))
    line = LINES[GOOD].replace(b'{"custom_id"', b'{"custom_id":"%b","custom_id"' % second.encode(), 1)
    assert (first.encode() in line, second.encode() in line) == (True, True)
    say(joined([line, *LINES[1:]]))

    assert one.collect()
    assert one.faults_at_home() == []


def test_f76_numbers_that_are_none_do_not_cost_an_answer(one: Desk, say: Say) -> None:
    """NaN and Infinity beside an answer that was paid for: the answer lands."""
    odd = LINES[GOOD].replace(b'"input_tokens":21', b'"input_tokens":NaN,"share":-Infinity')
    assert odd != LINES[GOOD]
    say(joined([odd, *LINES[1:]]))

    assert one.collect()
    assert one.faults_at_home() == []


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
    one: Desk, say: Say, fields: dict[str, Any], status: str, error: str | None
) -> None:
    """And keeps no other row out: what is not an answer was paid for all the same, and says so."""
    say(joined([told(CHUNK.custom_ids[GOOD], **fields), *LINES[1:]]))

    assert one.collect()
    columns = "status, error, label, cost_usd > 1"
    ((verdict, reason, label, paid),) = one.connection.execute(f"SELECT {columns} FROM answers WHERE id = 0").fetchall()  # noqa: S608
    assert (verdict, label, paid) == (status, "war" if status == "succeeded" else None, True)
    assert (reason is None) if error is None else (error in reason)
    assert one.rows()[1:] == EXPECTED[1:]


HALVES = [
    pytest.param(b"half \\ud83d of it", "half \ufffd of it", id="F81-lone-surrogate"),
    pytest.param(b"\\ude00\\ud83d", "\ufffd\ufffd", id="F81-reversed-pair"),
    pytest.param(b"caf\xe9", "caf\ufffd", id="F76-bad-utf8"),
]


@pytest.mark.parametrize(("raw", "word"), HALVES)
def test_broken_characters_of_an_answer_are_replaced_and_told(one: Desk, say: Say, raw: bytes, word: str) -> None:
    """The answer lands in the table with U+FFFD, and the raw bytes stay in the spool."""
    say(joined([told(CHUNK.custom_ids[GOOD]).replace(b"forged", raw), *LINES[1:]]))

    assert one.collect()
    ((landed, error),) = one.connection.execute("SELECT word, error FROM answers WHERE id = 0").fetchall()
    assert (landed, "U+FFFD" in error) == (word, True)
    assert raw in b"".join(one.spool.lines("msgbatch_1"))


def test_f77_an_answer_of_ten_megabytes_lands_whole(one: Desk, say: Say) -> None:
    """With every other row of its batch, in memory of a small multiple of it."""
    # The JSON parser alone reserves twelve times a line, and touches little of that.
    word = "a long answer " * 750_000
    say(joined([told(CHUNK.custom_ids[GOOD], f'{{"label":"war","word":"{word}"}}'), *LINES[1:]]))

    tracemalloc.start()
    try:
        assert one.collect()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 20 * len(word)
    assert one.rows() == [(GOOD, "succeeded", "war", word), *EXPECTED[1:]]


# --- what is gone, and what only looks like it ------------------------------------------------------

EPOCH = replace(ENDED, created_at=datetime(1970, 1, 1, tzinfo=UTC))
"""A batch of long ago: so says a gateway, or a clock of ours that is wrong."""


class Later:
    """A clock forty days after the batch was made."""

    def now(self) -> datetime:
        """Return always the same time."""
        return ENDED.created_at + timedelta(days=40)

    def sleep(self, seconds: float) -> None:
        """Let no time pass."""


def test_f66_f49_results_that_can_be_had_are_not_written_off_by_the_calendar(one: Desk, say: Say) -> None:
    """Before 29 days count, the API is asked: it still has them, so they land."""
    say(WHOLE)

    assert one.collection.collect(CHUNK.nonce, EPOCH)
    assert one.faults_at_home() == []


def test_f49_a_batch_that_runs_is_not_written_off_by_the_calendar(one: Desk, server: ScriptedServer) -> None:
    """It is waited for, whatever the clocks say."""
    running = replace(EPOCH, processing_status="in_progress", ended_at=None)

    assert not one.collection.collect(CHUNK.nonce, running)
    assert (one.ledger.chunk(CHUNK.nonce).state, server.n_connections) == (State.ACCEPTED, 0)


@pytest.mark.parametrize(("status", "state"), [("404", State.LOST), ("500", State.ENDED), ("302", State.ENDED)])
def test_f66_results_of_long_ago_are_lost_when_the_api_says_so(
    one: Desk, server: ScriptedServer, status: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several 404s after 29 days; trouble on the way proves nothing."""
    monkeypatch.setattr(collection, "PATIENCE", timedelta(0))  # the clock of these tests stands still
    late = replace(one.collection, clock=Later())
    server.script = Script(http(status, [], b'{"type":"error","error":{"type":"not_found_error","message":"Gone."}}'))

    tries = [late.collect(CHUNK.nonce, ENDED) for _ in range(collection.MAX_DOWNLOADS)]

    assert (tries[0], tries[-1]) == (False, state is State.LOST)
    assert one.ledger.chunk(CHUNK.nonce).state is state
    assert {status for _, status, *_ in one.rows()} == ({"missing"} if state is State.LOST else set())


# --- where results come from -----------------------------------------------------------------------


def test_f70_a_download_that_stalls_is_given_up_and_repeated(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Half of it came, then nothing, with the connection open."""
    monkeypatch.setattr("claude_batch_dagster.client.READ_TIMEOUT_SECONDS", 0.3)
    api = AnthropicBatches(new_client(api_key="canary-key", base_url=server.url))
    with desk(tmp_path, api) as one:
        half = download(WHOLE, "length", n_missing=len(WHOLE) // 2)
        server.script = replace(half, ending="hang")
        assert (one.collect(), one.faults_in_vain(), one.rows()) == (False, [], [])
        server.let_go.set()
        server.script = download(WHOLE, "length", n_missing=0)
        assert (one.collect(), one.faults_at_home()) == (True, [])
    api.close()


@pytest.mark.parametrize("status", ["301", "302", "307", "308"])
def test_f67_results_are_fetched_from_nowhere_else(one: Desk, server: ScriptedServer, status: str) -> None:
    """A redirect to another host is no answer: that host sees no connection."""
    with scripted() as other:
        other.script = download(WHOLE, "length", n_missing=0)
        server.script = Script(http(status, [("location", f"{other.url}/results")], b""))
        assert (one.collect(), one.faults_in_vain()) == (False, [])
        assert other.n_connections == 0

    server.script = download(WHOLE, "length", n_missing=0)
    assert (one.collect(), one.faults_at_home()) == (True, [])
    assert {request.target for request in server.requests} == {"/v1/messages/batches/msgbatch_1/results"}


def test_canceling_is_no_end(one: Desk, server: ScriptedServer) -> None:
    """A batch that is being canceled has no results yet: none is asked for."""
    canceling = replace(ENDED, processing_status="canceling", ended_at=None)

    assert not one.collection.collect(CHUNK.nonce, canceling)
    assert (one.ledger.chunk(CHUNK.nonce).state, server.n_connections) == (State.ACCEPTED, 0)
