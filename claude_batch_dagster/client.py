"""The only file that imports the Anthropic SDK."""

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, get_args
from urllib.parse import quote, urlsplit

import httpx2
import orjson
from anthropic import Anthropic, APIConnectionError, APIStatusError, DefaultHttpxClient, transform_schema
from anthropic.resources.messages import messages
from anthropic.types import Model
from pydantic import BaseModel, TypeAdapter, ValidationError

from claude_batch_dagster.core.asking.schema_rules import with_descriptions
from claude_batch_dagster.core.models import Models
from claude_batch_dagster.core.ports import Batch, Body, Counts, Page
from claude_batch_dagster.errors import (
    ApiRefusedError,
    ApiResponseError,
    ApiUnreachableError,
    ConfigurationError,
    CredentialError,
    SpendLimitError,
)

__all__ = ["MODELS", "Anthropic", "AnthropicBatches", "HurriedBatches", "new_client", "output_format"]

PATH = "/v1/messages/batches"
COUNT_PATH = "/v1/messages/count_tokens"
LIVE_PATH = "/v1/messages"
COUNTED = frozenset({"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"})
"""Params that the count of tokens takes (Claude docs, "Token counting")."""
CREATE_TIMEOUT_SECONDS = 900.0
LIVE_TIMEOUT_SECONDS = 600.0
READ_TIMEOUT_SECONDS = 120.0
PAGE_SIZE = 1000
READ_BYTES = 1 << 16
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SPEND_CODES = frozenset({"enforced_spend_limit_reached", "organization_on_hold", "cmek_key_disabled"})
SPEND_WORDS = ("You have reached your specified", "credit balance is too low")

MODELS = Models(names=get_args(get_args(Model)[0]), ends=getattr(messages, "DEPRECATED_MODELS", {}))

_TIME = TypeAdapter(datetime)


def new_client(
    *,
    api_key: str,
    base_url: str | None = None,
    workspace_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Anthropic:
    """
    Return an SDK client that tries nothing twice and follows nobody elsewhere.

    A create call has no idempotency key, so the SDK's retries could pay twice; a redirect would hand
    documents to another host. Raises `ConfigurationError` for a base URL that is not https (but for
    loopback) or that holds credentials. `headers` go with every call.
    """
    workspace = {"anthropic-workspace-id": workspace_id} if workspace_id else {}
    logging.getLogger("anthropic").setLevel(logging.INFO)  # its DEBUG prints whole prompts
    url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com"
    check_base_url(url)
    # A cookie with a character beyond ASCII would fail every later call, in a way of the cookie jar's own.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    # What is meant for this machine must not go through a proxy, whatever HTTP_PROXY says. The SDK reads that
    # by itself unless it is given a transport.
    here = urlsplit(url).hostname in LOOPBACK
    direct: dict[str, Any] = {"transport": httpx2.HTTPTransport(), "trust_env": False} if here else {}
    return Anthropic(
        api_key=api_key,
        base_url=url,
        max_retries=0,
        timeout=READ_TIMEOUT_SECONDS,
        default_headers={**(headers or {}), **workspace},
        http_client=DefaultHttpxClient(
            follow_redirects=False,
            event_hooks={"response": [_read_as_utf8]},
            cookies=no_cookies,
            **direct,
        ),
    )


def _read_as_utf8(response: httpx2.Response) -> None:
    """JSON is UTF-8. A charset that is none (`hex`) would make the SDK raise anything while it reads an error."""
    response.encoding = "utf-8"


def check_base_url(base_url: str) -> None:
    """Raise `ConfigurationError` unless the URL keeps keys and documents safe."""
    parts = urlsplit(base_url)
    if parts.username or parts.password:
        raise ConfigurationError("base_url must not hold a user or password; give the key as api_key.")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ConfigurationError(
            f"base_url {parts.scheme}://{parts.hostname or ''} is not https: key and documents would travel in the "
            "clear. Use https; http is allowed for loopback addresses only."
        )


def output_format(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `output_config.format` param that asks for answers fitting the model."""
    return {"type": "json_schema", "schema": transform_schema(with_descriptions(model.model_json_schema()))}


def earlier_output_format(model: type[BaseModel]) -> dict[str, Any]:
    """Return what the same was before descriptions beside references were kept: some answers are known by its bytes."""
    return {"type": "json_schema", "schema": transform_schema(model.model_json_schema())}


class AnthropicBatches:
    """The Message Batches API through the SDK's client: its answers read strictly, its errors translated."""

    def __init__(self, client: Anthropic, *, workspace_id: str | None = None) -> None:
        self._client = client
        secret = client.api_key or client.auth_token or ""
        tag = hashlib.sha256(secret.encode()).hexdigest()[:8]
        self.account = f"{str(client.base_url).rstrip('/')} {workspace_id or 'default'} {tag}"

    @cached_property
    def betas(self) -> tuple[str, ...]:
        """Names of the beta features that every call asks for, in alphabetical order."""
        named = self._client.default_headers.get("anthropic-beta")
        return tuple(sorted({name.strip() for name in str(named or "").split(",")} - {""}))

    @cached_property
    def answerer(self) -> str:
        """`emulator` for our emulator on this machine, which says so when asked; else empty."""
        if self._client.base_url.host not in LOOPBACK:
            return ""
        with _translated():
            try:
                health = self._client.get("/_emulator/health", cast_to=httpx2.Response)
            except APIStatusError:
                return ""  # some other server on this machine, such as a gateway
        return "emulator" if b'"emulator"' in health.content else ""

    def close(self) -> None:
        """Close the connections kept open."""
        self._client.close()

    def create(self, body: Body) -> Batch:
        """Send one batch, exactly once; nothing on the way tries again, and `core.sending.submission` ends the body."""
        with _translated():
            return _batch(_json(self._post(PATH, body, timeout_seconds=CREATE_TIMEOUT_SECONDS)))

    def ask(self, body: Body) -> bytes:
        """Send one request to the Messages API, exactly once; return the Message as it came, as JSON."""
        with _translated():
            response = self._post(LIVE_PATH, body, timeout_seconds=LIVE_TIMEOUT_SECONDS)
            match _json(response):
                case {"type": "message", "model": str(_), "content": list(_)}:
                    return response.content
                case _:
                    raise ApiResponseError("the API's answer is not a Message")

    def _post(self, path: str, body: Body, *, timeout_seconds: float) -> httpx2.Response:
        """Send a body as it is made, once."""
        return self._client.with_options(max_retries=0, timeout=timeout_seconds).post(
            path,
            cast_to=httpx2.Response,
            content=iter(body.pieces),
            options={"headers": {"Content-Type": "application/json", "Content-Length": str(body.n_bytes)}},
        )

    def retrieve(self, batch_id: str) -> Batch:
        """Return what the API says of the batch now."""
        with _translated():
            return _batch(_json(self._client.get(_path(batch_id), cast_to=httpx2.Response)))

    def list_batches(self, *, after_id: str | None = None, limit: int | None = None) -> Page:
        """Return a page of up to 1,000 batches, newest first, those older than `after_id`."""
        query = {"limit": limit or PAGE_SIZE, **({"after_id": after_id} if after_id else {})}
        with _translated():
            response = self._client.get(
                PATH, cast_to=httpx2.Response, options={"params": query, "headers": {"Cache-Control": "no-cache"}}
            )
            match _json(response):
                case {"data": list(items), "has_more": bool(has_more)}:
                    return Page(
                        batches=[_batch(item) for item in items],
                        has_more=has_more,
                        served_at=_moment(response.headers.get("date")),
                        age_seconds=_seconds(response.headers.get("age")) or 0.0,
                    )
                case _:
                    raise ApiResponseError("the API's list of batches cannot be read")

    def cancel(self, batch_id: str) -> Batch:
        """Ask the API to stop the batch; what has finished keeps its result."""
        with _translated():
            return _batch(_json(self._client.post(f"{_path(batch_id)}/cancel", cast_to=httpx2.Response)))

    def count_tokens(self, params: bytes) -> int:
        """Return how many input tokens a request has, by its params; free (Claude docs, "Token counting")."""
        counted = {name: value for name, value in orjson.loads(params).items() if name in COUNTED}
        with _translated():
            response = self._client.post(COUNT_PATH, cast_to=httpx2.Response, body=counted)
            match _json(response):
                case {"input_tokens": int(n_tokens)} if n_tokens >= 0:
                    return n_tokens
                case _:
                    raise ApiResponseError("the API's count of tokens cannot be read")

    @contextmanager
    def results(self, batch_id: str) -> Iterator[Iterator[bytes]]:
        """
        Open the stream of the raw bytes of the results.

        Asked of the configured base URL by id: the host that `results_url` names never sees the key.
        """
        headers = {"X-Stainless-Raw-Response": "stream", "Accept": "application/binary"}
        with _translated():
            response = self._client.get(
                f"{_path(batch_id)}/results", cast_to=httpx2.Response, options={"headers": headers}
            )
            try:
                yield response.iter_bytes(READ_BYTES)
            finally:
                response.close()


class HurriedBatches(AnthropicBatches):
    """The same for a quick look: a call gets a few seconds, and once these are over there is no further one."""

    def __init__(self, client: Anthropic, *, workspace_id: str | None = None, patience_seconds: float) -> None:
        limits = httpx2.Timeout(patience_seconds, connect=patience_seconds / 3)
        super().__init__(client.with_options(timeout=limits), workspace_id=workspace_id)
        self._patience = patience_seconds
        self._deadline = time.monotonic() + patience_seconds

    def retrieve(self, batch_id: str) -> Batch:
        """Return what the API says of the batch now."""
        self._hurry()
        return super().retrieve(batch_id)

    def list_batches(self, *, after_id: str | None = None, limit: int | None = None) -> Page:
        """Return a page of the list."""
        self._hurry()
        return super().list_batches(after_id=after_id, limit=limit)

    def _hurry(self) -> None:
        if time.monotonic() > self._deadline:
            raise ApiUnreachableError(f"the API was too slow to look at every batch within {self._patience:.0f} s")


def _path(batch_id: str) -> str:
    return f"{PATH}/{quote(batch_id, safe='')}"


def _json(response: httpx2.Response) -> Any:
    if not response.is_success:
        raise ApiResponseError(f"the API answered HTTP {response.status_code}, which it does not document here")
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise ApiResponseError("the API's answer is not JSON") from error


def _batch(body: Any) -> Batch:
    match body:
        case {
            "id": str(batch_id),
            "processing_status": str(status),
            "request_counts": dict(counts),
            "created_at": str(created_at),
        } if batch_id:
            try:
                return Batch(
                    id=batch_id,
                    processing_status=status,
                    counts=Counts(**{name: int(counts.get(name) or 0) for name in Counts.__slots__}),
                    created_at=_time(created_at),
                    ended_at=None if body.get("ended_at") is None else _time(body["ended_at"]),
                    archived_at=None if body.get("archived_at") is None else _time(body["archived_at"]),
                )
            except (ValidationError, ValueError, TypeError, OverflowError) as error:
                raise ApiResponseError("the API's answer is not a batch that can be read") from error
        case _:
            raise ApiResponseError("the API's answer is not a batch")


def _time(value: object) -> datetime:
    """Read a time into UTC; one without a zone is in UTC, as all of the API's are."""
    moment = _TIME.validate_python(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the SDK's errors into ours. Theirs hold requests and answers, so none is chained."""
    try:
        yield
    except APIStatusError as error:
        raise _refused(error) from None
    except (APIConnectionError, httpx2.HTTPError) as error:
        cause = error.__cause__ or error
        raise ApiUnreachableError(f"no complete answer from the API ({type(cause).__name__})") from None


def _refused(error: APIStatusError) -> ApiRefusedError:
    status, (kind, message, code) = error.status_code, _envelope(error.body, status=error.status_code)
    spent = kind == "billing_error" or code in SPEND_CODES or message.startswith(SPEND_WORDS)
    advice = {401: ". Check the API key", 403: ". Check what the API key may do, and its workspace"}.get(status, "")
    if spent:
        advice = ". Raise the limit or add credit in the Claude Console, then materialize again; nothing is lost"
    refusal = SpendLimitError if spent else CredentialError if status in {401, 403} else ApiRefusedError
    return refusal(
        message.rstrip(".") + advice,
        status=status,
        kind=kind,
        request_id=error.request_id,
        retry_after_seconds=_seconds(error.response.headers.get("retry-after")),
    )


def _envelope(body: object, *, status: int) -> tuple[str | None, str, str | None]:
    """
    Return an error's type, message and code, as far as the body has the API's shape.

    Gateways say `{"error": {...}}` of their own, also after they have passed a request on; only the edge's 413
    leaves out the outer type. Such an error has no type here, so it proves nothing.
    """
    match body:
        case {"error": {"type": str(kind), "message": str(message)} as error, **others}:
            is_own = others.get("type") == "error" or status == 413  # noqa: PLR2004  (content too large)
            details = error.get("details")
            code = details.get("error_code") if isinstance(details, dict) else None
            return kind if is_own else None, message, code if isinstance(code, str) else None
        case _:
            return None, "the answer has no error envelope", None


def _moment(header: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(header or "")
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _seconds(header: str | None) -> float | None:
    try:
        wait = float(header or "")
    except ValueError:
        return None
    return wait if 0 <= wait < float("inf") else None
