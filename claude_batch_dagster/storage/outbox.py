"""The requests that one run may have to send, on disk, so that memory does not grow with the table."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

import orjson

from claude_batch_dagster.core.chunks import Candidate
from claude_batch_dagster.core.ledger import RowKey
from claude_batch_dagster.core.requests import Request
from claude_batch_dagster.storage.state_directory import open_private


@dataclass
class Outbox:
    """Written once, while the upstream table is open; read once for each round of sending."""

    path: Path
    n_requests: int = 0
    _file: IO[bytes] | None = field(default=None, repr=False)
    _closed: bool = False

    def __enter__(self) -> Self:
        self._file = open_private(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        """Take the file's name away: it holds documents, which must not outlive this process."""
        self._closed = True
        with suppress(OSError):  # where an open file keeps its name, `remove` takes it away
            self.path.unlink()

    def add(self, candidate: Candidate) -> None:
        """Put one request in."""
        if self._file is None or self._closed:
            raise ValueError("the outbox is closed")
        head = [*candidate.row, candidate.question]
        self._file.write(b"%b\n%b\n" % (orjson.dumps(head), candidate.request.params))
        self.n_requests += 1

    def __iter__(self) -> Iterator[Candidate]:
        file = self._file
        if file is None:
            return
        file.seek(0)
        for head in file:
            partition_key, key, request_hash = orjson.loads(head)
            request = Request(next(file).removesuffix(b"\n"), request_hash)
            yield Candidate(RowKey(partition_key, key), request)

    def remove(self) -> None:
        """Let go of the file, and with it of the documents."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.path.unlink(missing_ok=True)
