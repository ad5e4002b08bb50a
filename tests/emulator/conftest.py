"""What the tests of the emulator share: an emulator, clients in front of it, questions to ask."""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import orjson
import pytest

from claude_batch_dagster.emulator import Emulator, EmulatorTransport, SystemClock, serving

Ask = Callable[..., Any]
Handle = Callable[..., Any]

HEADERS = {"x-api-key": "key", "anthropic-version": "2026-10-21", "host": "emulator.test"}
SCHEMA = {
    "type": "object",
    "properties": {
        "topic": {
            "type": "string",
            "enum": ["war", "economy", "other"],
            "description": "Topic.\n- war: armies, navy, battles\n- economy: money, trade, taxes\n- other: the rest",
        },
        "confidence": {"type": "number"},
    },
    "required": ["topic", "confidence"],
    "additionalProperties": False,
}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Return an emulator in memory whose clock stands still."""
    emulator = Emulator()
    yield emulator
    emulator.close()


@pytest.fixture
def client(emulator: Emulator) -> Iterator[anthropic.Anthropic]:
    """Return the official client, joined to the emulator without a socket, that tries once."""
    http_client = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator))
    with anthropic.Anthropic(api_key="key", http_client=http_client, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Emulator, str]]:
    """Return an emulator that ends batches at once, and the URL where it is served."""
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    with serving(emulator) as url:
        yield emulator, url
    emulator.close()


@pytest.fixture
def remote(server: tuple[Emulator, str]) -> Iterator[anthropic.Anthropic]:
    """Return the official client in front of a real socket, that tries once; faults are lifted afterwards."""
    emulator, url = server
    with anthropic.Anthropic(api_key="key", base_url=url, max_retries=0) as client:
        yield client
    emulator.faults.clear()
    emulator.pace.batch_seconds = 0


@pytest.fixture
def ask() -> Ask:
    """Return a function that makes one request of a batch."""

    def ask(custom_id: str = "row", text: str = "hello", **params: Any) -> dict[str, Any]:
        return {
            "custom_id": custom_id,
            "params": {
                "model": "claude-haiku-5-5",
                "max_tokens": 200,
                "messages": [{"role": "user", "content": text}],
                **params,
            },
        }

    return ask


@pytest.fixture
def topic() -> dict[str, Any]:
    """Return an `output_config` that asks for a topic."""
    return {"format": {"type": "json_schema", "schema": SCHEMA}}


@pytest.fixture
def handle(emulator: Emulator) -> Handle:
    """Return `emulator.handle` with the usual headers and a JSON body."""

    def handle(method: str, path: str, body: Any = None, **headers: str) -> Any:
        sent = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return emulator.handle(method, path, sent, b"" if body is None else orjson.dumps(body))

    return handle
