"""What the server, the ledger, the spool and the table say, read past the code under test."""

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from claude_batch_dagster.core.ledger import Lane, State
from claude_batch_dagster.core.verdicts import UNHEARD
from claude_batch_dagster.emulator.audit import AcceptedRequest
from proof.simulation.jobs import LABELS, TASK
from proof.simulation.world import SimulatedWorld, TableRow

STOPPED = {"max_tokens": "truncated", "refusal": "refused"}
"""What a Message is worth that has stopped for this reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkEntry:
    """A chunk in the ledger."""

    chunk_id: str
    state: State
    n_requests: int
    batch_id: str | None
    doubted: bool
    """Whether the ledger says that it may have been paid for in vain."""
    is_live: bool = False
    """Whether it was asked live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEntry:
    """A row of a chunk in the ledger."""

    chunk: ChunkEntry
    custom_id: str
    request_hash: str
    outcome: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CameBack:
    """What is written down of one request in the database."""

    chunk_id: str
    ordinal: int
    custom_id: str | None
    came: str
    detail: str | None
    text: str | None
    cost_usd: float | None


@dataclass(kw_only=True)
class Books:
    """All that was written down, here and at the API."""

    chunks: Mapping[str, ChunkEntry]
    planned: Mapping[str, RowEntry]
    """Every row ever planned, by custom_id."""
    accepted: Mapping[str, list[AcceptedRequest]]
    """What the server accepted of us, by custom_id."""
    answered_live: Mapping[str, int]
    """How many live answers the server has billed, by question."""
    spooled: Mapping[str, str | None]
    """What the results on our disk are worth, by custom_id; None for what is no Message."""
    answers: Sequence[CameBack]
    """What is written down of what came back."""
    table: Sequence[TableRow]
    worth: Mapping[str, str] = field(init=False)
    """What each Message is worth that we have, by custom_id."""
    billed: Mapping[str, list[RowEntry]] = field(init=False)
    """What the server billed, by question."""

    def __post_init__(self) -> None:
        """Sort the bill by question, and judge what came back."""
        written = {one.custom_id: worth(one.detail, one.text) for one in self.answers if one.came == "succeeded"}
        spooled = {custom_id: one for custom_id, one in self.spooled.items() if one}
        self.worth = {**spooled, **{custom_id: one for custom_id, one in written.items() if custom_id}}
        self.billed = defaultdict(list)
        for custom_id, requests in self.accepted.items():
            if (row := self.planned.get(custom_id)) is not None:
                self.billed[row.request_hash].extend(row for request in requests if request.billed)
        for question, n in self.answered_live.items():
            self.billed[question].extend(self._asked_live(question)[:n])

    def _asked_live(self, question: str) -> list[RowEntry]:
        """Return the live requests of a question, those first whose answers are known: a bill does not say which."""
        found = [row for row in self.planned.values() if row.request_hash == question and row.chunk.is_live]
        return sorted(found, key=lambda row: (row.custom_id not in self.worth, row.outcome not in {None, UNHEARD}))

    @classmethod
    def of(cls, world: SimulatedWorld) -> "Books":
        """Read everything."""
        chunks = _chunks(world)
        rows = _requests(world)
        accepted: dict[str, list[AcceptedRequest]] = defaultdict(list)
        for request in world.emulator.audit.requests():
            if request.batch_id not in world.foreign:
                accepted[request.custom_id].append(request)
        return cls(
            chunks=chunks,
            planned={
                custom_id: RowEntry(
                    chunk=chunks[chunk_id], custom_id=custom_id, request_hash=request_hash, outcome=outcome
                )
                for chunk_id, custom_id, request_hash, outcome in rows
            },
            accepted=accepted,
            answered_live=Counter(world.question_of(call.params_sha256) for call in world.emulator.audit.live()),
            spooled=_spooled(world),
            answers=_answers(world),
            table=world.table(),
        )


def _requests(world: SimulatedWorld) -> Iterator[tuple[str, str, str, str | None]]:
    """Yield chunk, custom_id, question and outcome of every request in the ledger."""
    columns = "SELECT chunk_id, custom_ids, questions, outcomes FROM requests"
    for chunk_id, *packed in world.storage.rows(columns):
        custom_ids, questions, outcomes = ([] if one is None else json.loads(zlib.decompress(one)) for one in packed)
        told = outcomes or [None] * len(questions)
        for custom_id, question, outcome in zip(custom_ids, questions, told, strict=True):
            yield chunk_id, custom_id, question, outcome


def _chunks(world: SimulatedWorld) -> dict[str, ChunkEntry]:
    doubted = {doubt.chunk_id for doubt in world.storage.ledger.doubts(TASK.pipeline) if doubt.set_free}
    return {
        chunk_id: ChunkEntry(
            chunk_id=chunk_id,
            state=State(state),
            n_requests=n_requests,
            batch_id=batch_id,
            doubted=chunk_id in doubted,
            is_live=lane == Lane.LIVE,
        )
        for chunk_id, state, n_requests, batch_id, lane in world.storage.rows(
            "SELECT chunk_id, state, n_requests, batch_id, lane FROM chunks"
        )
    }


def _answers(world: SimulatedWorld) -> list[CameBack]:
    rows = world.held("claude_batch.answers", "chunk_id, ordinal, custom_id, came, detail, text, cost_usd")
    return [
        CameBack(
            chunk_id=chunk_id,
            ordinal=ordinal,
            custom_id=custom_id,
            came=came,
            detail=detail,
            text=text,
            cost_usd=cost_usd,
        )
        for chunk_id, ordinal, custom_id, came, detail, text, cost_usd in rows
    ]


def _spooled(world: SimulatedWorld) -> dict[str, str | None]:
    lines = (line for file in world.storage.state.spool.glob("*.jsonl") for line in file.read_bytes().splitlines())
    return dict(found for line in lines if (found := _result(line)))


def _result(line: bytes) -> tuple[str, str | None] | None:
    """Return the custom_id of a result and what it is worth, if it can be read at all."""
    try:
        match orjson.loads(line):
            case {"custom_id": str(custom_id), "result": {"message": {"stop_reason": stop_reason, "content": content}}}:
                return custom_id, worth(stop_reason, "".join(block["text"] for block in content))
            case {"custom_id": str(custom_id)}:
                return custom_id, None
    except orjson.JSONDecodeError:
        pass
    return None


def worth(stop_reason: str | None, text: str | None) -> str:
    """Say what a Message is worth: judged by hand, past the code under test."""
    if stop_reason in STOPPED:
        return STOPPED[stop_reason]
    try:
        answer = orjson.loads(text or "")
    except orjson.JSONDecodeError:
        return "invalid"
    return "succeeded" if isinstance(answer, dict) and answer.get("label") in LABELS else "invalid"
