"""What the server, the ledger, the spool and the table say, read past the code under test."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.emulator.audit import AcceptedRequest
from proof.simulation.jobs import QUESTION
from proof.simulation.world import SimulatedWorld, TableRow


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkEntry:
    """A chunk in the ledger."""

    chunk_id: str
    state: State
    n_requests: int
    batch_id: str | None
    doubted: bool
    """Whether the ledger says that it may have been paid for in vain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEntry:
    """A row of a chunk in the ledger."""

    chunk: ChunkEntry
    custom_id: str
    request_hash: str
    verdict: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CameBack:
    """What is written down of one request in the database."""

    chunk_id: str
    ordinal: int
    custom_id: str | None
    came: str


@dataclass(kw_only=True)
class Books:
    """All that was written down, here and at the API."""

    chunks: Mapping[str, ChunkEntry]
    planned: Mapping[str, RowEntry]
    """Every row ever planned, by custom_id."""
    accepted: Mapping[str, list[AcceptedRequest]]
    """What the server accepted of us, by custom_id."""
    spooled: frozenset[str]
    """custom_ids of the results on our disk."""
    answers: Sequence[CameBack]
    """What is written down of what came back."""
    table: Sequence[TableRow]
    billed: Mapping[str, list[RowEntry]] = field(init=False)
    """What the server billed, by question."""

    def __post_init__(self) -> None:
        """Sort the bill by question."""
        self.billed = defaultdict(list)
        for custom_id, requests in self.accepted.items():
            if (row := self.planned.get(custom_id)) is not None:
                self.billed[row.request_hash].extend(row for request in requests if request.billed)

    @classmethod
    def of(cls, world: SimulatedWorld) -> "Books":
        """Read everything."""
        chunks = _chunks(world)
        rows = world.storage.rows("SELECT chunk_id, custom_id, request_hash, verdict FROM rows")
        accepted: dict[str, list[AcceptedRequest]] = defaultdict(list)
        for request in world.emulator.audit.requests():
            if request.batch_id not in world.foreign:
                accepted[request.custom_id].append(request)
        return cls(
            chunks=chunks,
            planned={
                custom_id: RowEntry(
                    chunk=chunks[chunk_id], custom_id=custom_id, request_hash=request_hash, verdict=verdict
                )
                for chunk_id, custom_id, request_hash, verdict in rows
            },
            accepted=accepted,
            spooled=_spooled(world),
            answers=_answers(world),
            table=world.table(),
        )


def _chunks(world: SimulatedWorld) -> dict[str, ChunkEntry]:
    doubted = {doubt.chunk_id for doubt in world.storage.ledger.doubts(QUESTION.pipeline) if doubt.set_free}
    return {
        chunk_id: ChunkEntry(
            chunk_id=chunk_id,
            state=State(state),
            n_requests=n_requests,
            batch_id=batch_id,
            doubted=chunk_id in doubted,
        )
        for chunk_id, state, n_requests, batch_id in world.storage.rows(
            "SELECT chunk_id, state, n_requests, batch_id FROM chunks"
        )
    }


def _answers(world: SimulatedWorld) -> list[CameBack]:
    rows = world.held("claude_batch.answers", "chunk_id, ordinal, custom_id, came")
    return [
        CameBack(chunk_id=chunk_id, ordinal=ordinal, custom_id=custom_id, came=came)
        for chunk_id, ordinal, custom_id, came in rows
    ]


def _spooled(world: SimulatedWorld) -> frozenset[str]:
    lines = (line for file in world.storage.state.spool.glob("*.jsonl") for line in file.read_bytes().splitlines())
    return frozenset(_custom_id(line) for line in lines)


def _custom_id(line: bytes) -> str:
    try:
        return str(orjson.loads(line)["custom_id"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
