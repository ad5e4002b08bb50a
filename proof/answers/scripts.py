"""How each cell goes over the wire."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from proof.answers.cells import (
    BATCH,
    CUT_JSON,
    CUT_OFF,
    EDGE,
    EMPTY,
    ENVELOPE,
    GARBLED,
    HTML,
    LOCATION,
    NO_ID,
    NO_TLS,
    NO_TYPE,
    OBJECT,
    OTHER_COUNT,
    REFUSED,
    SUCCESS,
    Cell,
)
from proof.answers.server import Ending, Script, http

KINDS = {
    "401": "authentication_error",
    "402": "billing_error",
    "403": "permission_error",
    "404": "not_found_error",
    "408": "timeout_error",
    "409": "conflict_error",
    "413": "request_too_large",
    "429": "rate_limit_error",
    "500": "api_error",
    "502": "api_error",
    "503": "api_error",
    "504": "timeout_error",
    "529": "overloaded_error",
}
"""The API's error type for a status; `invalid_request_error` for the others."""

PAGE = b"<html><head><title>A gateway</title></head><body>Something else than the API speaks.</body></html>"

SILENT = {
    NO_TLS: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    REFUSED: b"",
    "reset": b"",
    "closed": b"",
    "timeout": b"",
    "not HTTP": b"220 mail.example ESMTP\r\n",
    "half a status line": b"HTTP/1.1 20",
    "100 and closed": b"HTTP/1.1 100 Continue\r\n\r\n",
}
"""What is said when no answer is given."""

ENDINGS: Mapping[str, Ending] = {"reset": "reset", "timeout": "hang"}


def script(cell: Cell, *, n_requests: int, batch_id: str, elsewhere: str) -> Script:
    """Return what the server does in this cell; redirects lead to `elsewhere`."""
    if cell.status in SILENT:
        ending = ENDINGS.get(cell.status, "close")
        return Script(SILENT[cell.status], cell.released, ending, greets=cell.status == NO_TLS)
    body = _body(cell, n_requests, batch_id)
    n_missing = 20 if cell.body == CUT_OFF else 0
    says = http(cell.status, _headers(cell, elsewhere), body, n_missing=n_missing)
    return Script(says, reads_all=cell.released)


def _headers(cell: Cell, elsewhere: str) -> Iterator[tuple[str, str]]:
    yield "request-id", "req_1"
    if cell.header == LOCATION:
        yield "location", elsewhere
    elif cell.header and cell.header != NO_TYPE:
        name, _, value = cell.header.partition(": ")
        yield name, value
    if cell.header != NO_TYPE and not cell.header.startswith("content-type"):
        yield "content-type", "text/html" if cell.body == HTML else "application/json"
    if cell.body == GARBLED:
        yield "content-encoding", "gzip"


def _body(cell: Cell, n_requests: int, batch_id: str) -> bytes:
    good = json.dumps(_batch(n_requests, batch_id)).encode()
    error = {"type": KINDS.get(cell.status, "invalid_request_error"), "message": "Not this time."}
    envelope = json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()
    whole = good if cell.status in SUCCESS else envelope
    bodies = {
        ENVELOPE: envelope,
        EDGE: json.dumps({"error": {**error, "param": None, "code": cell.status}}).encode(),
        BATCH: good,
        OTHER_COUNT: json.dumps(_batch(n_requests + 1, batch_id)).encode(),
        NO_ID: json.dumps(_batch(n_requests, "")).encode(),
        OBJECT: b'{"object":"batch","status":"validating","input_file_id":"file-1"}',
        CUT_JSON: good[:-20],
        CUT_OFF: whole,  # only the length tells that bytes are missing
        GARBLED: whole,
        HTML: PAGE,
        EMPTY: b"",
    }
    return bodies[cell.body]


def _batch(n_requests: int, batch_id: str) -> dict[str, Any]:
    return {
        "id": batch_id,
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": {"processing": n_requests, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "ended_at": None,
        "created_at": "2026-11-20T18:37:24.100435Z",
        "expires_at": "2026-11-21T18:37:24.100435Z",
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": None,
    }
