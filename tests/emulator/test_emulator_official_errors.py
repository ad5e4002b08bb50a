"""Every documented refusal, as the official SDK reports it over a real socket."""

import re
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest

from claude_batch_dagster.emulator import Emulator, Fault, serving
from claude_batch_dagster.emulator.settings import Limits

Ask = Callable[..., Any]

PATH = "/v1/messages/batches"
HEADERS = {"x-api-key": "key", "anthropic-version": "2026-10-21"}


@pytest.mark.parametrize(
    ("fault", "status", "error", "kind"),
    [
        ("spend_limit_400", 400, anthropic.BadRequestError, "invalid_request_error"),
        ("401", 401, anthropic.AuthenticationError, "authentication_error"),
        ("billing_402", 402, anthropic.PaymentRequiredError, "billing_error"),
        ("403", 403, anthropic.PermissionDeniedError, "permission_error"),
        ("404", 404, anthropic.NotFoundError, "not_found_error"),
        ("408", 408, anthropic.RequestTimeoutError, "timeout_error"),
        ("409", 409, anthropic.ConflictError, "conflict_error"),
        ("422", 422, anthropic.UnprocessableEntityError, "invalid_request_error"),
        ("429", 429, anthropic.RateLimitError, "rate_limit_error"),
        ("enforced_spend_limit_429", 429, anthropic.EnforcedSpendLimitReachedError, "rate_limit_error"),
        ("500", 500, anthropic.InternalServerError, "api_error"),
        ("502", 502, anthropic.InternalServerError, "api_error"),
        ("503", 503, anthropic.ServiceUnavailableError, "api_error"),
        ("504", 504, anthropic.GatewayTimeoutError, "timeout_error"),
        ("529", 529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("suffix", ["", "_after_accept"])
def test_errors_reach_the_sdk_as_their_class(
    remote: anthropic.Anthropic,
    server: tuple[Emulator, str],
    ask: Ask,
    fault: str,
    status: int,
    error: type[anthropic.APIStatusError],
    kind: str,
    suffix: str,
) -> None:
    """Each error has its status, class and type; with `_after_accept` the batch exists all the same."""
    n_before = len(server[0].audit.accepted())
    server[0].faults.add(fault + suffix, times=1)
    with pytest.raises(error) as raised:
        remote.messages.batches.create(requests=[ask()])

    body: Any = raised.value.body
    assert raised.value.status_code == status
    assert body["error"]["type"] == kind
    assert body["request_id"] == raised.value.request_id == raised.value.response.headers["request-id"]
    assert len(server[0].audit.accepted()) - n_before == (1 if suffix else 0)


def test_too_large_is_said_by_the_edge(ask: Ask) -> None:
    """A body over the limit gets the short 413, whether or not its length was announced."""
    emulator = Emulator(limits=Limits(max_body_bytes=1000))
    with serving(emulator) as url, anthropic.Anthropic(api_key="key", base_url=url, max_retries=0) as client:
        with pytest.raises(anthropic.RequestTooLargeError) as raised:
            client.messages.batches.create(requests=[ask(text="x" * 1000)])
        chunked = httpx2.post(f"{url}{PATH}", headers=HEADERS, content=iter([b"x" * 600] * 3))

    message = {"type": "request_too_large", "message": "Request exceeds the maximum size"}
    assert raised.value.body == chunked.json() == {"error": message}
    assert emulator.audit.n_refused() == 2


def test_the_413_can_be_asked_for(remote: anthropic.Anthropic, server: tuple[Emulator, str], ask: Ask) -> None:
    """The fault `413` strikes a body of any size."""
    server[0].faults.add("413")
    with pytest.raises(anthropic.RequestTooLargeError):
        remote.messages.batches.create(requests=[ask()])


WHERE = re.compile(r": line \d+ column \d+ \(char \d+\)$")
"""Where the parser of JSON stopped."""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            b"",
            "The request body is not valid JSON: Input is a zero-length, empty document",
        ),
        (b'{"a":', "The request body is not valid JSON: unexpected end of data"),
        (
            b'{"requests":["\\ud83d"]}',
            "The request body is not valid JSON: no low surrogate in string",
        ),
        (b"[]", "Input should be a valid dictionary or object to extract fields from"),
        (b"{}", "requests: Field required"),
        (b'{"requests":{}}', "requests: Input should be a valid list"),
        (b'{"requests":[],"name":1}', "name: Extra inputs are not permitted"),
        (b'{"requests":[]}', "requests: List should have at least 1 item after validation, not 0"),
        (
            b'{"requests":[1]}',
            "requests.0: Input should be a valid dictionary or object to extract fields from",
        ),
        (b'{"requests":[{"params":{}}]}', "requests.0.custom_id: Field required"),
        (
            b'{"requests":[{"custom_id":1,"params":{}}]}',
            "requests.0.custom_id: Input should be a valid string",
        ),
        (
            b'{"requests":[{"custom_id":"","params":{}}]}',
            "requests.0.custom_id: String should have at least 1 character",
        ),
        (
            b'{"requests":[{"custom_id":"a","params":{}},{"custom_id":"a b","params":{}}]}',
            "requests.1.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
        ),
        (
            b'{"requests":[{"custom_id":"' + b"a" * 65 + b'","params":{}}]}',
            "requests.0.custom_id: String should have at most 64 characters",
        ),
        (b'{"requests":[{"custom_id":"a"}]}', "requests.0.params: Field required"),
        (
            b'{"requests":[{"custom_id":"a","params":[]}]}',
            "requests.0.params: Input should be a valid dictionary",
        ),
        (
            b'{"requests":[{"custom_id":"a","params":{},"name":1}]}',
            "requests.0.name: Extra inputs are not permitted",
        ),
        (
            b'{"requests":[{"custom_id":"dup","params":{}},{"custom_id":"dup","params":{}}]}',
            "requests: custom_id's must be unique within a batch. Duplicate custom_id found: dup",
        ),
    ],
)
def test_a_broken_envelope_refuses_the_whole_batch(remote: anthropic.Anthropic, body: bytes, message: str) -> None:
    """What is checked at once is refused in the API's own words; where JSON breaks, its parser says as it likes."""
    with pytest.raises(anthropic.BadRequestError) as raised:
        remote.post(PATH, cast_to=object, content=body)

    told: Any = raised.value.body
    assert told["error"]["type"] == "invalid_request_error"
    assert WHERE.sub("", told["error"]["message"]) == message


def test_too_many_requests_are_refused(server: tuple[Emulator, str], ask: Ask) -> None:
    """The 100,001st request refuses the batch."""
    row = b'{"custom_id":"%d","params":{}}'
    body = b'{"requests":[' + b",".join(row % n for n in range(100_001)) + b"]}"
    reply = server[0].handle("POST", PATH, HEADERS, body)

    message = "requests: List should have at most 100000 items after validation, not 100001"
    assert (reply.status, reply.json()["error"]["message"]) == (400, message)


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"anthropic-version": "2026-10-21"}, 401, "x-api-key header is required"),
        (
            {"anthropic-version": "2026-10-21", "authorization": "Basic a2V5"},
            401,
            "x-api-key header is required",
        ),
        ({"anthropic-version": "2026-10-21", "x-api-key": "no"}, 401, "API key is invalid."),
        ({"x-api-key": "key"}, 400, "anthropic-version: header is required"),
        (
            {"x-api-key": "key", "anthropic-version": "1"},
            400,
            'anthropic-version: "1" is not a valid version',
        ),
    ],
)
def test_calls_must_say_who_they_are(headers: dict[str, str], status: int, message: str) -> None:
    """A call without a known key or without a version is refused."""
    reply = Emulator(keys={"key": ""}).handle("GET", PATH, headers)

    assert (reply.status, reply.json()["error"]["message"]) == (status, message)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/nothing", 404, "Not found"),
        ("GET", "/v1/messages/batches/msgbatch_1/cancel", 405, "Method Not Allowed"),
        ("PUT", "/v1/messages/batches", 405, "Method Not Allowed"),
        ("GET", "/v1/messages/batches/msgbatch_1", 404, "Message Batch msgbatch_1 not found."),
        ("GET", "/v1/messages/batches/a%2Fb", 404, "Message Batch a/b not found."),
        ("GET", "/v1/messages/batches?limit=0", 400, "limit: Input should be greater than or equal to 1"),
        ("GET", "/v1/messages/batches?limit=1001", 400, "limit: Input should be less than or equal to 1000"),
        (
            "GET",
            "/v1/messages/batches?limit=x",
            400,
            "limit: Input should be a valid integer, unable to parse string as an integer",
        ),
        ("GET", "/v1/messages/batches?after_id=x", 400, "after_id: no batch has the id x"),
        ("GET", "/v1/messages/batches?before_id=x", 400, "before_id: no batch has the id x"),
        (
            "GET",
            "/v1/messages/batches?after_id=x&before_id=y",
            400,
            "after_id and before_id cannot be used together",
        ),
    ],
)
def test_wrong_addresses_and_queries_are_refused(method: str, path: str, status: int, message: str) -> None:
    """Unknown paths, wrong methods and bad queries each get their own answer."""
    reply = Emulator().handle(method, path, HEADERS)

    assert (reply.status, reply.json()["error"]["message"]) == (status, message)


def test_an_unfinished_batch_has_no_results_and_stays(handle: Any, ask: Ask) -> None:
    """Before its end a batch has no results and cannot be deleted."""
    batch_id = handle("POST", PATH, {"requests": [ask()]}).json()["id"]
    results, deletion = handle("GET", f"{PATH}/{batch_id}/results"), handle("DELETE", f"{PATH}/{batch_id}")

    assert results.status == 404
    assert results.json()["error"]["message"] == f"Message Batch {batch_id} has no available results."
    assert deletion.status == 400
    assert deletion.json()["error"]["message"] == (
        "In progress batches cannot be deleted. Consider canceling the batch instead."
    )


def test_one_key_can_be_revoked_or_stripped_of_permission(handle: Any) -> None:
    """A fault may strike the calls of one key only."""
    emulator = Emulator(faults=[Fault(name="401", key="revoked"), Fault(name="403", key="poor")])
    statuses = {
        key: emulator.handle("GET", PATH, {"anthropic-version": "2023-06-01", "x-api-key": key}).status
        for key in ("revoked", "poor", "good")
    }

    assert statuses == {"revoked": 401, "poor": 403, "good": 200}


def test_live_calls_are_refused_at_once(remote: anthropic.Anthropic, server: tuple[Emulator, str], ask: Ask) -> None:
    """What a batch reports hours later, a live call reports in its reply."""
    params = ask()["params"]
    with pytest.raises(anthropic.NotFoundError, match="model: claude-none"):
        remote.messages.create(**{**params, "model": "claude-none"})
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: must be greater"):
        remote.messages.create(**{**params, "max_tokens": 0})
    with pytest.raises(anthropic.BadRequestError, match="valid dictionary"):
        remote.post("/v1/messages", cast_to=object, body=[])
    server[0].faults.add("errored", times=1)
    with pytest.raises(anthropic.OverloadedError):
        remote.messages.create(**params)


def test_live_answers_can_be_bent(remote: anthropic.Anthropic, server: tuple[Emulator, str], ask: Ask) -> None:
    """Row faults strike live messages too, apart from those that only a batch knows."""
    server[0].faults.add("expired")
    server[0].faults.add("refusal", times=1)
    reasons = [remote.messages.create(**ask()["params"]).stop_reason for _ in range(2)]

    assert reasons == ["refusal", "end_turn"]
