"""Documents, answers and an API for the cases: made up, the same each time."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

import httpx2
import orjson
from anthropic import Anthropic, DefaultHttpxClient

LABELS = ("economy", "war", "law", "health", "other")
WORDS = ("tariff", "treaty", "navy", "court", "harvest", "railroad", "school", "debt", "frontier", "vote")
BATCH_ID = "msgbatch_01benchbenchbenchbenchbe"


def text(n: int) -> str:
    """Return a document of about 1 KB: for each number another one."""
    return " ".join(f"{WORDS[(n + place) % len(WORDS)]}{n * (place + 1) % 9_973}" for place in range(105))


def result_line(custom_id: str, n: int, *, distinct: bool = False) -> bytes:
    """Return one line of results, about 0.7 KB, as the API writes it; `distinct` adds a reason that no other has."""
    answer = {"label": LABELS[n % len(LABELS)], **({"reason": f"It is about {text(n)[:80]}."} if distinct else {})}
    message = {
        "model": "claude-haiku-5-5",
        "id": f"msg_01{n:022d}",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": orjson.dumps(answer).decode()}],
        "container": None,
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 250 + n * 7_919 % 9_973,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": 6,
            "service_tier": "batch",
            "inference_geo": "not_available",
        },
        "diagnostics": None,
    }
    return orjson.dumps({"custom_id": custom_id, "result": {"type": "succeeded", "message": message}}) + b"\n"


def batch(
    batch_id: str, n_requests: int, *, ended: bool, base_url: str = "https://api.anthropic.com"
) -> dict[str, object]:
    """Return a batch as the API shows it."""
    now = datetime.now(UTC).isoformat()
    counts = {"processing": 0 if ended else n_requests, "succeeded": n_requests if ended else 0}
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": "ended" if ended else "in_progress",
        "request_counts": {**counts, "errored": 0, "canceled": 0, "expired": 0},
        "ended_at": now if ended else None,
        "created_at": now,
        "expires_at": now,
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"{base_url}/v1/messages/batches/{batch_id}/results",
    }


class CannedApi(httpx2.BaseTransport):
    """Accepts batches and hands out prepared results: the work of the client is all that is measured."""

    def __init__(self, n_requests: int, results: Path | None = None) -> None:
        self.results = results
        self.batch = batch(BATCH_ID, n_requests, ended=bool(results))
        self.batch_ids = chain([BATCH_ID], map("msgbatch_01another{:014d}".format, count()))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Read the request to its end and answer."""
        for _ in request.stream:  # type: ignore[union-attr]
            pass
        if request.url.path.endswith("/results"):
            assert self.results is not None  # noqa: S101  (nobody asks for what has not ended)
            headers = {"content-type": "application/x-jsonl", "content-length": str(self.results.stat().st_size)}
            return httpx2.Response(200, headers=headers, stream=Pieces(self.results))
        batch_id = next(self.batch_ids) if request.method == "POST" else BATCH_ID
        return httpx2.Response(200, json={**self.batch, "id": batch_id})


class Pieces(httpx2.SyncByteStream):
    """A body that arrives in pieces of 64 KB, as from a socket."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces."""
        with self.file.open("rb") as body:
            yield from iter(lambda: body.read(1 << 16), b"")


def client(api: CannedApi) -> Anthropic:
    """Return the SDK's client in front of the canned API."""
    return Anthropic(api_key="bench", max_retries=0, http_client=DefaultHttpxClient(transport=api))
