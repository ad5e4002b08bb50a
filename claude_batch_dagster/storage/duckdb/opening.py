"""Opening the database file: created as a whole, waited for while another process holds it, closed whatever happens."""

import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from claude_batch_dagster.errors import WarehouseCorruptError, WarehouseError, WarehouseLockedError
from claude_batch_dagster.storage.duckdb.duckdb_errors import first_line

Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]
"""Opens a connection for a while, as `DuckDBResource.get_connection` does."""

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.25
"""Not longer: those who come later would look more often, and get the file first."""

FIRST_WORD_SECONDS, NEXT_WORD_SECONDS = 1.0, 15.0
"""After how long it is said for whom the file is waited, and how often that is said again."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How a database is opened."""

    database: str
    config: Mapping[str, Any]
    lock_timeout_seconds: float
    on_wait: Callable[[str], None]
    own: Connect | None = None

    @contextmanager
    def connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the database, waiting for other processes; close it in the end."""
        failure: BaseException | None = None
        with ExitStack() as outside, ExitStack() as stack:
            connection = self._open(stack)
            outside.callback(connection.close)  # after them: they may have something left to do; and after an error
            try:
                yield connection
            except BaseException as error:
                failure = error
                raise
        if failure is not None:  # which a resource of the user's may have meant to be logged only
            raise failure

    def _open(self, stack: ExitStack) -> duckdb.DuckDBPyConnection:
        self._create()
        began, pause, word = time.monotonic(), FIRST_PAUSE_SECONDS, FIRST_WORD_SECONDS
        while True:
            try:
                return self._try(stack)
            except duckdb.Error as error:
                waited = time.monotonic() - began
                if not _passes(error):
                    raise _translated(error, self.database) from error
                if waited > self.lock_timeout_seconds:
                    raise WarehouseLockedError(self.database, waited_seconds=waited, reason=_holder(error)) from error
                if waited >= word:
                    word = waited + NEXT_WORD_SECONDS
                    self.on_wait(
                        f"The DuckDB file {self.database!r} is {_holder(error)}; waited {waited:.0f} s, at most "
                        f"{self.lock_timeout_seconds:.0f} s"
                    )
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  (jitter, not a secret)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _try(self, stack: ExitStack) -> duckdb.DuckDBPyConnection:
        if self.own is None:
            return self._connected(self.database)
        with ExitStack() as guard:
            # The file is ours by the time they open it: what they do then waits for nobody, in its own way.
            if ":" not in self.database:  # a file
                with suppress(duckdb.ConnectionException):  # they have it open already, and set up otherwise
                    guard.enter_context(closing(self._connected(self.database)))
            try:
                return stack.enter_context(self.own())
            except duckdb.Error:  # perhaps because of us
                guard.close()
                return stack.enter_context(self.own())

    def _create(self) -> None:
        """Create the file as a whole: DuckDB does it in steps, and of two processes at once one undoes the other's."""
        file = Path(self.database)
        if ":" in self.database or file.exists():  # another kind of database, or nothing to do
            return
        draft = file.with_name(f"{file.name}.{os.urandom(8).hex()}")
        with suppress(duckdb.Error, OSError):  # opening it says what is wrong
            try:
                self._connected(str(draft)).close()
                os.link(draft, file)  # never in place of one that is there by now
            finally:
                draft.unlink(missing_ok=True)

    def _connected(self, database: str) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(database, config={"custom_user_agent": "dagster", **self.config})


def _passes(error: duckdb.Error) -> bool:
    """Whether the file is in use, by another process or, set up otherwise, by this one."""
    return "Could not set lock on file" in str(error) or "different configuration" in str(error)


def _holder(error: duckdb.Error) -> str:
    found = re.search(r"\(PID (\d+)\)", str(error))
    return f"held by process {found[1]}" if found else "held by another connection of this process"


def _translated(error: duckdb.Error, database: str) -> Exception:
    text = str(error)
    if "not a valid DuckDB" in text or "Corrupt" in text or "corrupt" in text or "checksum" in text:
        return WarehouseCorruptError(database, reason=first_line(error))
    if "Trying to read a database file with version" in text:
        return WarehouseError(f"{first_line(error)}. Open it with the DuckDB version that wrote it.")
    return WarehouseError(f"{database!r} cannot be opened: {first_line(error)}. Check the path and its permissions.")
