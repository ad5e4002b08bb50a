"""The ports of the engine, each with a gate in front; behind it are the real ones."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ports import Batch, Body, Page
from claude_batch_dagster.errors import LedgerError, SpoolError
from claude_batch_dagster.storage.files.journals import FileJournals
from claude_batch_dagster.storage.files.outbox import Outbox
from claude_batch_dagster.storage.files.spool import FileSpool
from proof.simulation.gate import LOCAL, PIECE, REMOTE, CrashError, Gate


class GatedApi:
    """The real client; its connection can break at any call, and at any piece of what goes or comes."""

    def __init__(self, api: AnthropicBatches, gate: Gate, on_sent: Callable[[bytes], None]) -> None:
        self._api, self._gate = api, gate
        self._on_sent = on_sent
        """Told of each body, as far as it has left."""
        self.account, self.answerer, self.betas = api.account, api.answerer, api.betas

    def close(self) -> None:
        """Leave the connections to whoever opened them."""

    def create(self, body: Body) -> Batch:
        """Send one batch."""
        with self._gate.call("api create", REMOTE):
            return self._api.create(Body(pieces=self._sent(body.pieces), n_bytes=body.n_bytes))

    def retrieve(self, batch_id: str) -> Batch:
        """Look at one batch."""
        with self._gate.call("api retrieve", REMOTE):
            return self._api.retrieve(batch_id)

    def list_batches(self, *, after_id: str | None = None) -> Page:
        """Look at a page of batches."""
        with self._gate.call("api list", REMOTE):
            return self._api.list_batches(after_id=after_id)

    def cancel(self, batch_id: str) -> Batch:
        """Ask the API to stop a batch."""
        with self._gate.call("api cancel", REMOTE):
            return self._api.cancel(batch_id)

    def ask(self, body: Body) -> bytes:
        """Ask one request live."""
        with self._gate.call("api ask", REMOTE):
            return self._api.ask(Body(pieces=self._asked(body.pieces), n_bytes=body.n_bytes))

    def count_tokens(self, params: bytes) -> int:
        """Count the tokens of a request."""
        with self._gate.call("api count", REMOTE):
            return self._api.count_tokens(params)

    @contextmanager
    def results(self, batch_id: str) -> Iterator[Iterator[bytes]]:
        """Open the stream of results."""
        with ExitStack() as stack:
            with self._gate.call("api results", REMOTE):
                pieces = stack.enter_context(self._api.results(batch_id))
            yield self._received(_halves(pieces))

    def _sent(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        left = b""
        for piece in pieces:
            with self._gate.call("api create piece", PIECE):
                pass  # it leaves when the generator is asked for the next
            left += piece
            self._on_sent(left)
            yield piece

    def _asked(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            with self._gate.call("api ask piece", PIECE):
                pass
            yield piece

    def _received(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        while True:
            with self._gate.call("api results piece", REMOTE):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece


def _halves(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut each piece in two, so that a stream can break within a line."""
    for piece in pieces:
        middle = len(piece) // 2
        yield from (piece[:middle], piece[middle:])


class GatedLedger:
    """The real ledger: each of its methods is one transaction, so a crash comes before or after the whole of it."""

    def __init__(self, ledger: object, gate: Gate) -> None:
        self._ledger, self._gate = ledger, gate

    def __getattr__(self, name: str) -> Any:
        if isinstance(getattr(type(self._ledger), name), property):
            with self._gate.call(f"ledger {name}", LOCAL, failure=_ledger_in_trouble):
                return getattr(self._ledger, name)
        method = getattr(self._ledger, name)

        def gated(*args: Any, **facts: Any) -> Any:
            to = facts.get("to")
            with self._gate.call(f"ledger {name}" + (f" to {to}" if to else ""), LOCAL, failure=_ledger_in_trouble):
                return method(*args, **facts)

        return gated


def _ledger_in_trouble() -> Exception:
    return LedgerError("simulated: the disk is full, or the server does not answer")


def _full_disk() -> Exception:
    return SpoolError(Path("spool"), "simulated: No space left on device")


@dataclass(frozen=True)
class GatedSpool(FileSpool):
    """The real spool; what a dying process was writing stays where it was."""

    gate: Gate = field(kw_only=True)

    def write(self, batch_id: str, chunks: Iterable[bytes]) -> None:
        """Keep the results of a batch."""
        written: list[bytes] = []
        try:
            with self.gate.call("spool write", LOCAL, failure=_full_disk):
                super().write(batch_id, _noted(chunks, written))
        except CrashError:
            # The process that died could not tidy up.
            self._path(batch_id).with_suffix(".dead.partial").write_bytes(b"".join(written))
            raise

    def file(self, batch_id: str) -> Path:
        """Go to the results of a batch, to read them."""
        with self.gate.call("spool file", LOCAL, failure=_full_disk):
            return super().file(batch_id)

    def has(self, batch_id: str) -> bool:
        """Whether results of the batch are kept."""
        with self.gate.call("spool has", LOCAL, failure=_full_disk):
            return super().has(batch_id)

    def discard(self, batch_id: str) -> None:
        """Forget the results of the batch."""
        with self.gate.call("spool discard", LOCAL, failure=_full_disk):
            super().discard(batch_id)


@dataclass(frozen=True)
class GatedJournals(FileJournals):
    """The real journals of what is asked live."""

    gate: Gate = field(kw_only=True)

    @contextmanager
    def writing(self, chunk_id: str) -> Iterator[Callable[[bytes], None]]:
        """Begin a journal."""
        with ExitStack() as stack:
            with self.gate.call("journal begin", LOCAL, failure=_full_disk):
                write = stack.enter_context(super().writing(chunk_id))

            def gated(line: bytes) -> None:
                with self.gate.call("journal write", LOCAL, failure=_full_disk):
                    write(line)

            yield gated

    def has(self, chunk_id: str) -> bool:
        """Whether a journal is here."""
        with self.gate.call("journal has", LOCAL, failure=_full_disk):
            return super().has(chunk_id)

    def discard(self, chunk_id: str) -> None:
        """Forget a journal."""
        with self.gate.call("journal discard", LOCAL, failure=_full_disk):
            super().discard(chunk_id)


def _noted(pieces: Iterable[bytes], notes: list[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        notes.append(piece)
        yield piece


@dataclass
class GatedOutbox(Outbox):
    """The real outbox; a dead process takes no file away."""

    gate: Gate = field(kw_only=True)

    def __exit__(self, *error: object) -> None:
        """Take the file's name away."""
        if not self.gate.dead:
            with self.gate.call("outbox unlink"):
                super().__exit__(*error)

    def remove(self) -> None:
        """Let go of the file."""
        if self.gate.dead and self._file is not None:
            self._file.close()  # the operating system would
        elif not self.gate.dead:
            super().remove()
