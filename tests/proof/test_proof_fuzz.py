"""Anything at all, as a line of results, as a batch, as a header: each reader has one way to fail."""

import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import strategies as st

from claude_batch_dagster.client import AnthropicBatches, new_client
from claude_batch_dagster.core.collecting.judging import judge
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.collecting.results import Succeeded, UnreadableLineError, decode
from claude_batch_dagster.core.ports import Batch, Body
from claude_batch_dagster.core.sending.submission import culprit_of
from claude_batch_dagster.errors import ApiError, ApiRefusedError, ApiResponseError
from proof.answers.server import Script, scripted
from proof.canary import KEY
from proof.cuts.results import Note, lines
from proof.cuts.world import CHUNK
from tests.judged import judgeable
from tests.proof.fuzzing import fuzz, n_examples, spoilt

pytestmark = pytest.mark.verify

# --- lines of results ------------------------------------------------------------------------------

SEEDS = lines(CHUNK.custom_ids)[:20]

SCHEMA = OutputSchema(Note)


def read(raw: bytes) -> None:
    """Read a line: a result, or unreadable; and of a message, a verdict."""
    try:
        result = decode(raw)
    except UnreadableLineError:
        return
    assert isinstance(result.custom_id, str)
    told = judge(judgeable(result), SCHEMA)
    orjson.dumps([told.verdict, told.error, told.answer])
    if isinstance(result, Succeeded):
        result.text.encode()  # no half characters: DuckDB would refuse the whole statement


@n_examples(20_000, 1_000_000)
def test_f76_no_line_breaks_the_decoder(n: int) -> None:
    """Good lines spoilt in every way: a result with a verdict, or an unreadable line; nothing else."""
    for raw in spoilt(SEEDS, n):
        read(raw)


def test_f76_spoilt_lines_are_of_both_kinds() -> None:
    """The spoiling leaves many lines readable and makes many unreadable, or it would prove little."""

    def is_read(raw: bytes) -> bool:
        try:
            decode(raw)
        except UnreadableLineError:
            return False
        return True

    share = sum(map(is_read, spoilt(SEEDS, 2_000))) / 2_000
    assert 0.05 < share < 0.95


MEGABYTE = 1_000_000

BOMBS = [
    b"[" * MEGABYTE,
    b"[" * 900 + b"[]," * (MEGABYTE // 3),
    b'{"custom_id":"x","result":' + b'{"a":' * (MEGABYTE // 5),
    b'{"custom_id":"x","result":{"type":"succeeded","message":{"content":[' + b"{}," * (MEGABYTE // 3) + b"{}]}}}",
    b'{"custom_id":"x","result":{"type":"expired"},"n":' + b"9" * MEGABYTE + b"}",
    b'{"custom_id":"' + b"\\ud800" * (MEGABYTE // 6) + b'","result":{"type":"expired"}}',
    b"\xff" * MEGABYTE,
]


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:40].decode(errors="replace"))
def test_f76_a_line_takes_no_more_memory_than_a_multiple_of_it(bomb: bytes) -> None:
    """Nested, repeated or escaped: a megabyte stays below a hundred."""
    tracemalloc.start()
    try:
        read(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 100 * MEGABYTE


# --- what the API says -----------------------------------------------------------------------------

BATCH: dict[str, Any] = {
    "id": "msgbatch_1",
    "processing_status": "in_progress",
    "request_counts": {"processing": 1, "succeeded": 2, "errored": 3, "canceled": 4, "expired": 5},
    "created_at": "2026-11-22T10:00:00.5Z",
    "ended_at": None,
    "archived_at": None,
}

TIMES = [
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    "10000-01-01T00:00:00Z", "2026-11-22T10:00:00", "2026-11-22", "1700000000", "-62135596800", "9" * 400, "now", "",
    "2026-11-22T10:00:00+23:59", "2026-02-30T00:00:00Z", "2026-11-22T10:00:60Z",
]  # fmt: skip

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from([*TIMES, "9" * 5_000, "x" * 100_000, "../..", "\x00", "1_0", " 3 "]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)

COUNTS = st.dictionaries(st.sampled_from([*BATCH["request_counts"], "of_next_year"]), JSON)


def batches() -> st.SearchStrategy[Any]:
    """Return values that are a batch but for some fields, or anything."""
    changes = st.fixed_dictionaries({}, optional={**dict.fromkeys(BATCH, JSON), "request_counts": JSON | COUNTS})
    times = st.fixed_dictionaries({}, optional=dict.fromkeys(("created_at", "ended_at"), st.sampled_from(TIMES)))
    return st.one_of(JSON, changes.map(lambda odd: {**BATCH, **odd}), times.map(lambda odd: {**BATCH, **odd}))


@pytest.fixture
def hear() -> Iterator[Callable[[bytes], AnthropicBatches]]:
    """Return a function that gives our client, to which every answer is 200 with this content."""
    client = new_client(api_key=KEY, base_url="http://127.0.0.1:1")
    content = b""

    def answer(request: httpx2.Request) -> httpx2.Response:
        request.read()
        return httpx2.Response(200, content=content)

    client._client._transport = httpx2.MockTransport(answer)  # noqa: SLF001  (the border, without a socket)

    def hear(said: bytes) -> AnthropicBatches:
        nonlocal content
        content = said
        return AnthropicBatches(client)

    yield hear
    client.close()


def usable(batch: Batch) -> None:
    """See that a batch can be compared, counted and written down."""
    moments = [moment for moment in (batch.created_at, batch.ended_at, batch.archived_at) if moment]
    assert all(moment.utcoffset() == timedelta(0) for moment in moments)
    assert all(moment < datetime.max.replace(tzinfo=UTC) for moment in moments)
    assert isinstance(batch.counts.total, int)
    assert batch.id.encode()


Hear = Callable[[bytes], AnthropicBatches]


@n_examples(300, 20_000)
def test_f46_f60_whatever_comes_with_a_2xx_is_a_batch_that_can_be_used_or_an_api_error(hear: Hear, n: int) -> None:
    """Ids, counts and times of wrong types, huge, or of the year 0: by every call that gives a batch."""

    def ask(value: Any, call: str) -> None:
        api = hear(orjson.dumps(value if call != "list" else {"data": [value], "has_more": False}))
        calls: dict[str, Callable[[], Batch]] = {
            "create": lambda: api.create(Body(pieces=[b"{}"], n_bytes=2)),
            "retrieve": lambda: api.retrieve("x"),
            "cancel": lambda: api.cancel("x"),
            "list": lambda: api.list_batches().batches[0],
        }
        try:
            batch = calls[call]()
        except ApiResponseError:
            return
        usable(batch)

    fuzz(ask, n, value=batches(), call=st.sampled_from(["create", "retrieve", "cancel", "list"]))


@n_examples(3_000, 200_000)
def test_f46_whatever_bytes_come_with_a_2xx_are_a_batch_or_an_api_error(hear: Hear, n: int) -> None:
    """A good batch spoilt in every way."""
    for content in spoilt([orjson.dumps(BATCH)], n):
        try:
            batch = hear(content).retrieve("x")
        except ApiResponseError:
            continue
        usable(batch)


@pytest.mark.parametrize(
    "page",
    [
        {"data": {}, "has_more": False},
        {"data": "", "has_more": False},
        {"data": [], "has_more": None},
        {"data": [], "has_more": 0},
        {"data": [], "has_more": "false"},
        {"data": [], "has_more": []},
        {"data": [{}], "has_more": False},
        {"data": [None], "has_more": False},
    ],
    ids=str,
)
def test_f123_an_odd_list_is_no_silence(hear: Hear, page: dict[str, Any]) -> None:
    """Only a list that is whole and empty says that there is nothing."""
    with pytest.raises(ApiResponseError):
        hear(orjson.dumps(page)).list_batches()


HEADERS = {
    "age": ["-1", "nan", "1e999", "9" * 5_000, "x"],
    "content-encoding": ["gzip", "deflate, gzip", "br", "zstd", "x-unknown", ""],
    "content-type": ["text/html; charset=hex", "text/html; charset=undefined", "multipart/x; boundary=", "\x80", ""],
    "date": ["Thu, 01 Jan 2026 00:00:00 +99999999999999999999", "Thu, 01 Jan 99999 00:00:00 GMT", "x", ""],
    "location": ["http://[", "//", "http://a:99999999/", "http://\xe9.example/", "javascript:x", "x" * 20_000, ""],
    "retry-after": ["-1", "nan", "1e999", "9" * 5_000, "Thu, 32 Foo", ""],
    "retry-after-ms": ["-1", "nan", "9" * 5_000],
    "set-cookie": ["a=\x80", "a=b; expires=Thu, 99 Foo 99999 25:61:61 GMT", ";;;=", "a=b; max-age=" + "9" * 5_000],
    "transfer-encoding": ["gzip", "chunked, chunked", "identity"],
    "content-length": ["-1", "x", "99999999999999999999"],
    "connection": ["upgrade", "keep-alive, close"],
    "x-should-retry": ["true", "x"],
    "request-id": ["\x80" * 1_000, ""],
}


@pytest.mark.parametrize("name", list(HEADERS))
def test_no_header_makes_a_call_fail_in_a_way_of_its_own(name: str) -> None:
    """With good and bad statuses, by every kind of call, over a socket; and the next call is none the worse for it."""
    good = orjson.dumps({"data": [], "has_more": False})
    with scripted() as server, new_client(api_key=KEY, base_url=server.url) as client:
        api = AnthropicBatches(client)
        calls: list[Callable[[], object]] = [
            lambda: api.create(Body(pieces=[b"{}"], n_bytes=2)), lambda: api.retrieve("x"), api.list_batches,
            lambda: downloaded(api),
        ]  # fmt: skip
        for value, status in product(HEADERS[name], ["200", "307", "401", "404", "500"]):
            odd = f"HTTP/1.1 {status} Some Reason\r\n{name}: {value}\r\n".encode("latin-1")
            length = b"" if name in {"content-length", "transfer-encoding"} else b"content-length: %d\r\n" % len(good)
            server.script = Script(odd + length + b"connection: close\r\n\r\n" + good)
            for call in calls:
                with_api_errors_only(call)
        server.script = Script(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(good) + good)
        assert api.list_batches().batches == []


def with_api_errors_only(call: Callable[[], object]) -> None:
    """Call; an API error is an answer."""
    try:
        call()
    except ApiError:
        return


def downloaded(api: AnthropicBatches) -> bytes:
    """Read results to their end."""
    with api.results("x") as pieces:
        return b"".join(pieces)


@n_examples(300, 20_000)
def test_f36_no_message_of_the_api_names_a_row_that_was_not_sent(n: int) -> None:
    """Nor does any make the reading of it fail, however long its numbers are."""
    digits = st.one_of(st.integers(0, 10**9).map(str), st.sampled_from(["9" * 5_000, "\u0663", "00", "-1", "1.5", ""]))
    message = st.lists(st.one_of(digits.map("requests.{}.".format), st.text(max_size=9)), max_size=3).map(" ".join)

    def name(message: str, n_requests: int) -> None:
        refused = ApiRefusedError(message, status=400, kind="invalid_request_error")
        culprit = culprit_of(refused, n_requests)
        assert culprit is None or 0 <= culprit < n_requests

    fuzz(name, n, message=message, n_requests=st.integers(1, 12))
