"""What a golden ledger holds: a chunk in every state, asked for documents that a test of today can put upstream."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from claude_batch_dagster.client import output_format
from claude_batch_dagster.core.asking.question_hash import earlier_hash
from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.sending.chunks import custom_id, new_nonce
from tests.core.world import PIPELINE, Label

PROMPT = "Label: {text}"
BASE = {
    "model": "claude-haiku-5-5",
    "max_tokens": 100,
    "thinking": {"type": "disabled"},
    "output_config": {"format": output_format(Label)},
}
START = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""Some hours before the time at which an emulator's clock stands."""

ACCOUNT = "https://api.anthropic.com default 00000000"
LEDGER_ID = "00000000-0000-4000-8000-000000000001"
N_ROWS = 2
"""Rows of each chunk."""

ROUTES = {
    "sending": ["sending"],
    "refused": ["sending", "refused"],
    "released": ["sending", "released"],
    "ambiguous": ["sending", "released", "ambiguous"],
    "held": ["sending", "released", "ambiguous", "held"],
    "unseen": ["sending", "released", "ambiguous", "unseen"],
    "adopted": ["sending", "released", "ambiguous", "adopted"],
    "accepted": ["sending", "released", "accepted"],
    "ended": ["sending", "released", "accepted", "ended"],
    "spooled": ["sending", "released", "accepted", "ended", "spooled"],
    "applied": ["sending", "released", "accepted", "ended", "spooled", "applied"],
    "lost": ["sending", "released", "accepted", "ended", "lost"],
}
"""How a chunk came to each state."""

VERDICTS = {"applied": "succeeded", "lost": "missing:gone"}


@dataclass(frozen=True, slots=True)
class Row:
    """A document and its place in the ledger."""

    chunk_id: str
    ordinal: int
    id: int
    """The key upstream."""

    @property
    def text(self) -> str:
        """The document."""
        return f"a golden text of {'war' if self.id % 2 else 'peace'}, number {self.id}"

    @property
    def custom_id(self) -> str:
        """Under which name it was sent."""
        return custom_id(self.chunk_id, self.ordinal, str(self.id))

    @property
    def request(self) -> Any:
        """What was asked."""
        return RequestBuilder(prompt=Template.parse(PROMPT), base=BASE).build({"text": self.text})


def chunk_ids() -> dict[str, str]:
    """Return the chunk of each state."""
    return {state: new_nonce(START + timedelta(minutes=n), bytes([n]) * 10) for n, state in enumerate(ROUTES)}


def rows() -> dict[str, list[Row]]:
    """Return the rows of the chunk of each state."""
    return {
        state: [Row(chunk_id, ordinal, N_ROWS * n + ordinal) for ordinal in range(N_ROWS)]
        for n, (state, chunk_id) in enumerate(chunk_ids().items())
    }


def cells() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield rows of the ledger's tables, with every column that there ever was; a revision takes those it has."""
    for n, (state, chunk_id) in enumerate(chunk_ids().items()):
        yield "chunks", _chunk(state, chunk_id, START + timedelta(minutes=n))
        for row in rows()[state]:
            yield "rows", _row(row, VERDICTS.get(state))
        yield "requests", _requests(rows()[state], VERDICTS.get(state))
        for step, reached in enumerate(ROUTES[state]):
            at = _naive(START + timedelta(minutes=n, seconds=step))
            yield "events", {"chunk_id": chunk_id, "at": at, "state": reached, "note": "why" if step > 1 else None}
    yield "spend", _spend(chunk_ids()["applied"])


def _chunk(state: str, chunk_id: str, at: datetime) -> dict[str, Any]:
    route = ROUTES[state]
    named = "accepted" in route or "adopted" in route
    return {
        "chunk_id": chunk_id,
        "pipeline": PIPELINE,
        "run_id": f"the run that left a chunk {state}",
        "account": ACCOUNT,
        "state": state,
        "n_requests": N_ROWS,
        "n_bytes": 1_000,
        "body_hash": "0" * 64,
        "intended_at": _naive(at),
        "batch_id": f"msgbatch_golden_{state}" if named else None,
        "released_at": _naive(at + timedelta(seconds=1)) if "released" in route else None,
        "batch_created_at": _naive(at + timedelta(seconds=2)) if named else None,
        "ended_at": _naive(at + timedelta(minutes=1)) if "ended" in route else None,
        "quiet_since": _naive(at + timedelta(seconds=30)) if state == "unseen" else None,
        "n_silent_listings": 5 if state == "unseen" else 0,
        "note": "why" if len(route) > 2 else None,
        "max_cost_usd": 0.01,
        "reserved_usd": None if state in {"applied", "refused"} else 0.01,
        "set_free_at": _naive(at + timedelta(seconds=4)) if state == "unseen" else None,
    }


def _row(row: Row, verdict: str | None) -> dict[str, Any]:
    return {
        "chunk_id": row.chunk_id,
        "ordinal": row.ordinal,
        "partition_key": "p",
        "key": str(row.id),
        "custom_id": row.custom_id,
        "request_hash": earlier_hash(row.request.params, asked_of=""),
        "attempt": 1,
        "verdict": verdict,
    }


def _requests(rows: Sequence[Row], verdict: str | None) -> dict[str, Any]:
    """Return the requests of a chunk, as they are kept since revision 0005: in columns."""
    columns = {
        "partition_keys": ["p"] * len(rows),
        "questions": [row.request.request_hash for row in rows],
        "attempts": [1] * len(rows),
        "outcomes": [verdict] * len(rows) if verdict else None,
        "keys": [str(row.id) for row in rows],
        "custom_ids": [row.custom_id for row in rows],
    }
    packed = {name: None if values is None else _packed(values) for name, values in columns.items()}
    return {"chunk_id": rows[0].chunk_id, "identity": "q1", **packed}


def _packed(values: Sequence[Any]) -> bytes:
    """Pack values without making them smaller, which comes out the same wherever it is done."""
    return zlib.compress(orjson.dumps(values), level=0)


def _spend(chunk_id: str) -> dict[str, Any]:
    return {
        "chunk_id": chunk_id,
        "partition_key": "p",
        "n_requests": N_ROWS,
        "input_tokens": 100,
        "output_tokens": 10,
        "cost_usd": 0.0001,
        "live_cost_usd": 0.0002,
    }


def _naive(at: datetime) -> datetime:
    """Return the time as ledgers hold it."""
    return at.replace(tzinfo=None)
