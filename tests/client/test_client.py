"""The one file that knows the SDK: nothing is tried twice, nothing leaks, nothing odd is believed."""

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import anthropic
import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from claude_batch_dagster.client import AnthropicBatches, check_base_url, new_client, output_format
from claude_batch_dagster.core.ports import Batch, Body, Counts
from claude_batch_dagster.emulator import Emulator, EmulatorTransport, SystemClock, serving
from claude_batch_dagster.errors import (
    ApiError,
    ApiRefusedError,
    ApiResponseError,
    ApiUnreachableError,
    ConfigurationError,
    CredentialError,
    SpendLimitError,
)
from tests.canary import DOCUMENT, KEY

PARAMS = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": DOCUMENT}]}
BATCH = {
    "id": "msgbatch_1",
    "processing_status": "in_progress",
    "request_counts": {"processing": 1, "succeeded": 2, "errored": 3, "canceled": 4, "expired": 5},
    "created_at": "2026-11-22T10:00:00.5Z",
    "ended_at": None,
    "archived_at": None,
}

Answer = Callable[[httpx2.Request], httpx2.Response]
Answering = Callable[[Answer], AnthropicBatches]


def body(*custom_ids: str) -> Body:
    """Return the body of a create call, in pieces."""
    whole = orjson.dumps({"requests": [{"custom_id": name, "params": PARAMS} for name in custom_ids or ("row",)]})
    return Body(pieces=(whole[n : n + 7] for n in range(0, len(whole), 7)), n_bytes=len(whole))


@pytest.fixture
def answering() -> Iterator[Answering]:
    """Return a function that puts a client in front of a handler of requests."""
    clients: list[anthropic.Anthropic] = []

    def answering(answer: Answer, **options: Any) -> AnthropicBatches:
        transport = anthropic.DefaultHttpxClient(transport=httpx2.MockTransport(answer), follow_redirects=False)
        clients.append(anthropic.Anthropic(api_key=KEY, http_client=transport, **{"max_retries": 0, **options}))
        return AnthropicBatches(clients[-1])

    yield answering
    for client in clients:
        client.close()


def saying(status: int = 200, content: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """Return a handler that always says the same."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        request.read()
        return httpx2.Response(status, content=content, headers=headers)

    return answer


# --- the client ------------------------------------------------------------------------------------


def test_f35_f47_our_client_tries_nothing_twice_and_follows_nobody() -> None:
    """Neither retries nor redirects, whatever the SDK's defaults are."""
    with new_client(api_key=KEY) as client:
        assert (client.max_retries, client._client.follow_redirects) == (0, False)  # noqa: SLF001  (no public name)


def test_f120_the_sdk_does_not_log_prompts() -> None:
    """Its DEBUG level prints whole documents."""
    logging.getLogger("anthropic").setLevel(logging.DEBUG)
    new_client(api_key=KEY).close()

    assert logging.getLogger("anthropic").level == logging.INFO


def test_a_workspace_goes_with_every_call() -> None:
    """For keys that may act in several."""
    with new_client(api_key=KEY, workspace_id="wrkspc_1") as client:
        assert client.default_headers["anthropic-workspace-id"] == "wrkspc_1"


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.anthropic.com",
        "https://gateway.example/x",
        "http://localhost:8765",
        "http://127.0.0.1:1",
        "http://[::1]:1",
    ],
)
def test_a_base_url_that_keeps_keys_safe_is_taken(base_url: str) -> None:
    """Https anywhere, http on this machine."""
    with new_client(api_key=KEY, base_url=base_url) as client:
        assert str(client.base_url).startswith(base_url)


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        ("http://api.example.com", "is not https"),
        ("http://127.0.0.1.evil.example", "is not https"),
        ("http://localhost@evil.example", "user or password"),
        ("https://user:pw@api.example.com", "user or password"),
        ("ftp://api.example.com", "is not https"),
        ("api.example.com", "is not https"),
        ("", "is not https"),
    ],
)
def test_a_base_url_that_does_not_is_refused(base_url: str, message: str) -> None:
    """The message repeats no password."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        check_base_url(base_url)
    assert "pw" not in str(caught.value)


def test_a_base_url_of_the_environment_is_held_to_the_same_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK reads it by itself."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://evil.example")

    with pytest.raises(ConfigurationError, match="is not https"):
        new_client(api_key=KEY)


def test_f112_f120_the_account_tells_keys_urls_and_workspaces_apart_and_holds_no_key() -> None:
    """It is stored with every chunk."""
    clients = [new_client(api_key=key, base_url=url) for key in (KEY, "other") for url in ("https://a", "https://b")]
    tags = [AnthropicBatches(client, workspace_id=name).account for client in clients for name in (None, "w")]
    for client in clients:
        client.close()

    assert len(set(tags)) == len(tags)
    assert not any(KEY in tag for tag in tags)
    assert tags[0].startswith("https://a default ")


def test_the_output_model_becomes_a_strict_schema() -> None:
    """As structured outputs want it."""

    class Label(BaseModel):
        label: Literal["a", "b"]

    schema = output_format(Label)

    assert (schema["type"], schema["schema"]["additionalProperties"]) == ("json_schema", False)
    assert schema["schema"]["properties"]["label"]["enum"] == ["a", "b"]


# --- sending ---------------------------------------------------------------------------------------


def test_a_body_is_streamed_with_its_length_and_arrives_whole(answering: Answering) -> None:
    """In one POST, as JSON, with a length: a cut body is never taken for a whole one."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        request.read()
        seen.append(request)
        return httpx2.Response(200, json=BATCH)

    batch = answering(answer).create(body("a", "b"))

    (request,) = seen
    assert batch == Batch(
        id="msgbatch_1",
        processing_status="in_progress",
        counts=Counts(processing=1, succeeded=2, errored=3, canceled=4, expired=5),
        created_at=datetime(2026, 11, 22, 10, 0, 0, 500_000, UTC),
    )
    assert (request.method, request.url.path) == ("POST", "/v1/messages/batches")
    assert orjson.loads(request.content) == {"requests": [{"custom_id": n, "params": PARAMS} for n in "ab"]}
    assert request.headers["content-length"] == str(len(request.content))
    assert request.headers["content-type"] == "application/json"
    assert "transfer-encoding" not in request.headers


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529, 307, None])
def test_f35_a_create_call_is_one_post_whatever_client_it_goes_through(
    answering: Answering, status: int | None
) -> None:
    """Even if the client was made with retries, the server says that it should be tried again, or the line breaks."""
    posts: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        request.read()
        posts.append(request)
        if status is None:
            raise httpx2.ReadTimeout("slow", request=request)
        return httpx2.Response(status, headers={"x-should-retry": "true", "location": "https://evil.example/"})

    with pytest.raises(ApiError):
        answering(answer, max_retries=5).create(body())  # type: ignore[call-arg]
    assert len(posts) == 1


def test_f47_a_redirect_hands_the_documents_to_nobody(emulator: Emulator) -> None:
    """Through the client we make, over a real socket: the other host sees no request at all."""
    other = Emulator(clock=SystemClock())
    here = Emulator(clock=SystemClock())
    with serving(other) as elsewhere, serving(here) as url:
        here.faults.add("redirect_307", url=f"{elsewhere}/v1/messages/batches")
        with new_client(api_key=KEY, base_url=url) as client:
            api = AnthropicBatches(client)
            for call in (lambda: api.create(body()), lambda: api.retrieve("x"), lambda: open_results(api)):
                with pytest.raises(ApiRefusedError) as caught:
                    call()
                assert caught.value.status == 307
    n_posts = other.audit.n_posts()
    other.close()
    here.close()

    assert n_posts == 0


def open_results(api: AnthropicBatches) -> list[bytes]:
    """Read results to their end."""
    with api.results("msgbatch_1") as pieces:
        return list(pieces)


# --- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="F46-nothing"),
        pytest.param(b"<html>Sign in</html>", id="F46-html"),
        pytest.param(orjson.dumps(BATCH)[:-20], id="F46-cut"),
        pytest.param(b"null", id="F46-null"),
        pytest.param(b"[]", id="F46-list"),
        pytest.param(b'{"hello": 1}', id="F46-other"),
        *[
            pytest.param(orjson.dumps({**BATCH, **change}), id=f"F46-{change}")
            for change in (
                {"id": ""},
                {"id": None},
                {"id": 7},
                {"processing_status": None},
                {"request_counts": None},
                {"request_counts": {"processing": "many"}},
                {"request_counts": {"processing": [1]}},
                {"created_at": None},
                {"created_at": "yesterday"},
                {"ended_at": "x"},
                {"archived_at": [1]},
            )
        ],
    ],
)
@pytest.mark.parametrize("call", ["create", "retrieve", "cancel", "list"])
def test_an_answer_that_is_no_batch_is_not_believed(answering: Answering, content: bytes, call: str) -> None:
    """It may have been accepted all the same: the error is of its own kind, and repeats nothing."""
    if call == "list" and content.startswith(b"{"):
        content = b'{"data":[' + content + b'],"has_more":false}'
    api = answering(saying(200, content))
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: api.create(body()),
        "retrieve": lambda: api.retrieve("msgbatch_1"),
        "cancel": lambda: api.cancel("msgbatch_1"),
        "list": api.list_batches,
    }

    with pytest.raises(ApiResponseError):
        calls[call]()


@pytest.mark.parametrize("content", [b"{}", b'{"data":null,"has_more":false}', b'{"data":[]}', b"[1]", b'"x"'])
def test_a_list_that_is_none_is_not_believed(answering: Answering, content: bytes) -> None:
    """An empty or odd answer must not count as silence."""
    with pytest.raises(ApiResponseError):
        answering(saying(200, content)).list_batches()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.verify
@given(changes=st.fixed_dictionaries({}, optional=dict.fromkeys(BATCH, JSON)), counts=JSON)
def test_f46_any_answer_is_a_batch_or_an_api_error(changes: dict[str, Any], counts: Any) -> None:
    """Nothing that a server can say makes the reading fail in any other way."""
    content = orjson.dumps({**BATCH, "request_counts": {"processing": counts}, **changes})
    transport = anthropic.DefaultHttpxClient(transport=httpx2.MockTransport(saying(200, content)))
    with anthropic.Anthropic(api_key=KEY, http_client=transport, max_retries=0) as client:
        try:
            batch = AnthropicBatches(client).retrieve("x")
        except ApiResponseError:
            return
    assert batch.id


@pytest.mark.parametrize("status", ["ended", "canceling", "of_next_year"])
def test_f60_a_status_never_seen_before_is_not_ended(answering: Answering, status: str) -> None:
    """It is taken as it is, and waited for."""
    content = orjson.dumps({**BATCH, "processing_status": status, "field_of_next_year": {}})

    assert answering(saying(200, content)).retrieve("x").ended == (status == "ended")


def test_a_202_without_a_batch_is_not_believed(answering: Answering) -> None:
    """Success without content is no success."""
    with pytest.raises(ApiResponseError):
        answering(saying(202)).create(body())


@pytest.mark.parametrize("batch_id", ["../../evil", "a/b", "a?b=c", "a#b", "é", "a b"])
def test_f118_an_id_of_any_shape_stays_one_part_of_the_path(answering: Answering, batch_id: str) -> None:
    """It cannot lead to another endpoint."""
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.url.raw_path.decode())
        return httpx2.Response(200, json=BATCH)

    answering(answer).retrieve(batch_id)

    assert seen[0].startswith("/v1/messages/batches/")
    assert seen[0].count("/") == 4
    assert not set("?# ") & set(seen[0])


# --- through the emulator --------------------------------------------------------------------------


def test_f67_results_come_from_the_configured_host_by_id(emulator: Emulator, api: AnthropicBatches) -> None:
    """Whatever host results_url names, it never sees the key."""
    emulator.faults.add("foreign_results_url", url="https://evil.example/results")
    batch = api.create(body())
    emulator.clock.advance(minutes=5)

    with api.results(batch.id) as pieces:
        (line,) = b"".join(pieces).splitlines()
    assert orjson.loads(line)["custom_id"] == "row"


def test_a_batch_is_followed_from_its_creation_to_its_end(emulator: Emulator, api: AnthropicBatches) -> None:
    """Created, listed, canceled, ended."""
    created = api.create(body("a", "b"))
    canceling = api.cancel(created.id)
    emulator.clock.advance(minutes=5)
    ended = api.retrieve(created.id)

    assert (created.ended, created.counts.total, canceling.processing_status) == (False, 2, "canceling")
    assert (ended.ended, ended.counts.total, ended.created_at) == (True, 2, created.created_at)
    assert ended.ended_at is not None
    assert api.list_batches().batches == [ended]


def test_the_list_comes_in_pages_newest_first(
    emulator: Emulator, api: AnthropicBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page goes on where the last one ended."""
    monkeypatch.setattr("claude_batch_dagster.client.PAGE_SIZE", 2)
    ids = [api.create(body()).id for _ in range(3)][::-1]

    first = api.list_batches()
    second = api.list_batches(after_id=first.batches[-1].id)

    assert [batch.id for batch in (*first.batches, *second.batches)] == ids
    assert (first.has_more, second.has_more) == (True, False)


@pytest.mark.parametrize(
    ("fault", "unreachable"),
    [
        ("results_cut_mid_line", True),
        ("results_cut_between_lines_chunked", True),
        ("connect_error", True),
        ("stall", True),
        ("500", False),
    ],
)
def test_f70_a_stream_that_breaks_is_an_api_error(
    emulator: Emulator, api: AnthropicBatches, fault: str, unreachable: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """Also in the middle of it."""
    batch = api.create(body("a", "b"))
    emulator.clock.advance(minutes=5)
    emulator.faults.add(fault, endpoint="results")

    with pytest.raises(ApiUnreachableError if unreachable else ApiRefusedError), api.results(batch.id) as pieces:
        list(pieces)


def test_closing_closes_the_client(client: anthropic.Anthropic, api: AnthropicBatches) -> None:
    """No connection stays open."""
    api.close()

    assert client.is_closed()


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "status", "advice"),
    [
        ("400", None, None, None),
        ("401", CredentialError, 401, "Check the API key"),
        ("403", CredentialError, 403, "Check what the API key may do, and its workspace"),
        ("404", ApiRefusedError, 404, "request id req_"),
        ("409", ApiRefusedError, 409, "request id req_"),
        ("422", ApiRefusedError, 422, "request id req_"),
        ("429", ApiRefusedError, 429, "rate_limit_error"),
        ("500", ApiRefusedError, 500, "api_error"),
        ("529", ApiRefusedError, 529, "overloaded_error"),
        ("spend_limit_400", SpendLimitError, 400, "Raise the limit or add credit"),
        ("billing_402", SpendLimitError, 402, "Raise the limit or add credit"),
        ("enforced_spend_limit_429", SpendLimitError, 429, "nothing is lost"),
    ],
)
def test_f36_to_f45_each_refusal_is_told_in_its_own_class(
    emulator: Emulator, api: AnthropicBatches, fault: str, error: type[ApiRefusedError] | None, status: int, advice: str
) -> None:  # fmt: skip
    """With its status, type, request id, and what to do."""
    if error is None:
        with pytest.raises(ApiRefusedError) as caught:
            api.create(Body(pieces=[b"{}"], n_bytes=2))
        assert (caught.value.status, caught.value.kind) == (400, "invalid_request_error")
        return
    emulator.faults.add(fault)

    with pytest.raises(ApiRefusedError, match=advice) as caught:
        api.create(body())
    assert (type(caught.value), caught.value.status, caught.value.kind is not None) == (error, status, True)
    assert caught.value.request_id


@pytest.mark.parametrize(
    "fault", ["401", "500", "connect_error", "drop_after_accept", "stall", "html_200", "redirect_307"]
)
def test_f120_no_error_holds_the_key_or_a_document(emulator: Emulator, api: AnthropicBatches, fault: str) -> None:
    """Not in its text, not in its attributes, and no error of the SDK is chained to it."""
    emulator.faults.add(fault)

    with pytest.raises(ApiError) as caught:
        api.create(body())

    shown = repr(vars(caught.value)) + "".join(traceback.format_exception_only(caught.value)) + caught.value.brief
    assert KEY not in shown
    assert DOCUMENT not in shown
    chained = caught.value.__cause__
    assert not isinstance(chained, (anthropic.AnthropicError, httpx2.HTTPError))
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"", None, "no error envelope"),
        (b"<html>Bad gateway</html>", None, "no error envelope"),
        (b"[]", None, "no error envelope"),
        (b'{"error":"x"}', None, "no error envelope"),
        (b'{"error":{"type":null,"message":"x"}}', None, "no error envelope"),
        (b'{"error":{"type":"api_error","message":"Oops."}}', None, "without an error type: Oops$"),
        (b'{"type":"error","error":{"type":"api_error","message":"Oops."}}', "api_error", "api_error: Oops$"),
        (
            b'{"type":"error","error":{"type":"api_error","message":"Oops","details":{"error_code":7}}}',
            "api_error",
            "Oops",
        ),
    ],
)
def test_f45_an_error_without_the_api_s_envelope_has_no_kind(
    answering: Answering, content: bytes, kind: str | None, message: str
) -> None:
    """A gateway's page, or its own error object, proves nothing about the API."""
    with pytest.raises(ApiRefusedError, match=message) as caught:
        answering(saying(500, content)).create(body())
    assert caught.value.kind == kind


def test_f41_the_edge_that_finds_a_body_too_large_leaves_out_the_outer_type(answering: Answering) -> None:
    """With 413 that is the API's own refusal all the same."""
    content = b'{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}'

    with pytest.raises(ApiRefusedError) as caught:
        answering(saying(413, content)).create(body())
    assert caught.value.kind == "request_too_large"


@pytest.mark.parametrize("charset", ["hex", "base64", "undefined", "idna", "zlib", "utf-16", "no-such-charset"])
def test_f46_no_charset_keeps_an_error_from_being_read(charset: str) -> None:
    """JSON is UTF-8, whatever a gateway calls it; the SDK would fail in ways of its own."""
    error = b'{"type":"error","error":{"type":"not_found_error","message":"Oops."}}'
    with new_client(api_key=KEY, base_url="http://127.0.0.1:1") as client:
        answer = httpx2.Response(404, content=error, headers={"content-type": f"text/html; charset={charset}"})
        client._client._transport = httpx2.MockTransport(lambda _: answer)  # noqa: SLF001  (no public way)
        with pytest.raises(ApiRefusedError, match="not_found_error: Oops"):
            AnthropicBatches(client).retrieve("msgbatch_1")


@pytest.mark.parametrize(
    "content",
    [
        {"type": "billing_error", "message": "x"},
        {"type": "invalid_request_error", "message": "credit balance is too low"},
        {"type": "invalid_request_error", "message": "You have reached your specified API usage limits."},
        {"type": "rate_limit_error", "message": "x", "details": {"error_code": "enforced_spend_limit_reached"}},
        {"type": "permission_error", "message": "x", "details": {"error_code": "organization_on_hold"}},
    ],
)
def test_f37_f39_f43_what_only_money_mends_is_told_as_such(answering: Answering, content: dict[str, Any]) -> None:
    """Under whatever status it comes."""
    with pytest.raises(SpendLimitError):
        answering(saying(400, orjson.dumps({"type": "error", "error": content}))).create(body())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("999999999", 999_999_999.0),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("", None),
        ("Wed, 21 Oct 2099 07:28:00 GMT", None),
        ("soon", None),
    ],
)
def test_f44_only_a_sensible_retry_after_counts(answering: Answering, header: str, seconds: float | None) -> None:
    """Negative, endless, dated and garbled ones are none; the caller caps the rest."""
    with pytest.raises(ApiRefusedError) as caught:
        answering(saying(429, headers={"retry-after": header})).create(body())
    assert caught.value.retry_after_seconds == seconds


def test_without_retry_after_there_is_none(answering: Answering) -> None:
    """No header, no pause asked for."""
    with pytest.raises(ApiRefusedError) as caught:
        answering(saying(429)).create(body())
    assert caught.value.retry_after_seconds is None


# --- who answers -----------------------------------------------------------------------------------


def test_the_emulator_on_this_machine_is_known(emulator: Emulator) -> None:
    """Its answers are never taken for Claude's."""
    transport = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator))
    with anthropic.Anthropic(api_key=KEY, base_url="http://127.0.0.1:1", http_client=transport) as client:
        assert AnthropicBatches(client).answerer == "emulator"


@pytest.mark.parametrize("answer", [saying(404), saying(200, b'{"ok":true}')])
def test_another_server_on_this_machine_is_a_way_to_claude(answering: Answering, answer: Answer) -> None:
    """A gateway, for example."""
    assert answering(answer, base_url="http://localhost:1").answerer == ""  # type: ignore[call-arg]


def test_claude_is_not_asked_who_answers(answering: Answering) -> None:
    """No call leaves the machine for it."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        raise AssertionError(request.url)

    assert answering(answer).answerer == ""
