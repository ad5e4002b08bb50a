"""The requests that one run may have to send, on disk, so that memory does not grow with the table."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import IO, Self

import orjson

from claude_batch_dagster.core.sending.chunks import OpenRow, rows_of
from claude_batch_dagster.storage.files.state_directory import open_private


@dataclass
class Outbox:
    """Written once, while the upstream table is open; read once for each round of sending."""

    path: Path
    n_requests: int = 0
    _file: IO[bytes] | None = field(default=None, repr=False)
    _closed: bool = False

    def __enter__(self) -> Self:
        self.remove()  # what was put in by who is doing it again
        self._file, self._closed, self.n_requests = open_private(self.path), False, 0
        return self

    def __exit__(self, *_: object) -> None:
        """Take the file's name away: it holds documents, which must not outlive this process."""
        self._closed = True
        with suppress(OSError):  # where an open file keeps its name, `remove` takes it away
            self.path.unlink()

    def add(
        self,
        partition_keys: Sequence[str | None],
        keys: Sequence[str],
        questions: Sequence[str],
        params: Sequence[bytes],
    ) -> None:
        """Put some rows in."""
        if self._file is None or self._closed:
            raise ValueError("the outbox is closed")
        self._file.write(orjson.dumps([partition_keys, keys, questions, list(map(len, params))]) + b"\n")
        self._file.writelines(params)
        self.n_requests += len(params)

    def __iter__(self) -> Iterator[OpenRow]:
        file = self._file
        if file is None:
            return
        file.seek(0)
        for head in iter(file.readline, b""):
            partition_keys, keys, questions, sizes = orjson.loads(head)
            together, ends = file.read(sum(sizes)), list(accumulate(sizes))
            params = [together[start:end] for start, end in pairwise([0, *ends])]
            del together
            yield from rows_of(partition_keys, keys, questions, params)

    def sizes(self) -> Iterator[tuple[str | None, str, int]]:
        """Yield partition, question and bytes of each request, in order, without reading it."""
        file = self._file
        if file is None:
            return
        file.seek(0)
        while head := file.readline():
            partition_keys, _, questions, sizes = orjson.loads(head)
            file.seek(sum(sizes), os.SEEK_CUR)
            yield from zip(partition_keys, questions, sizes, strict=True)

    def at(self, places: Sequence[int]) -> Iterator[bytes]:
        """Yield the requests at some places, which are in order, and read no other."""
        file, first, wanted = self._file, 0, deque(places)
        if file is None:
            return
        file.seek(0)
        while wanted and (head := file.readline()):
            *_, sizes = orjson.loads(head)
            begins, starts = file.tell(), [0, *accumulate(sizes)]
            while wanted and wanted[0] < first + len(sizes):
                place = wanted.popleft() - first
                file.seek(begins + starts[place])
                yield file.read(sizes[place])
            file.seek(begins + starts[-1])
            first += len(sizes)

    def remove(self) -> None:
        """Let go of the file, and with it of the documents."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self.path.unlink(missing_ok=True)
