"""
The stores of a deployment: where they are, and the door to the state directory and the ledger.

For a run all of them are opened together, by `engine.Engine.opened`.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from claude_batch_dagster.core.ledger import Condition, Ledger
from claude_batch_dagster.core.ports import Clock, LiveApi, Locks
from claude_batch_dagster.core.sending.live import LiveLane
from claude_batch_dagster.errors import ConfigurationError, LedgerError
from claude_batch_dagster.storage.files.journals import FileJournals
from claude_batch_dagster.storage.files.spool import FileSpool
from claude_batch_dagster.storage.files.state_directory import StateDirectory, others_can_write
from claude_batch_dagster.storage.ledger.opening import BUSY_SECONDS
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from claude_batch_dagster.storage.ledger.view import LedgerView

OTHER_KIND = re.compile(r"[A-Za-z0-9_]{2,}:|[A-Za-z][A-Za-z0-9+.-]+://")
"""How the name of a database begins that DuckDB takes for no file: an extension (`md:`, `ducklake:`), or a scheme."""

AT_HOME = re.compile(r"(?<=^sqlite:///)~[^/]*")
"""The home of a user in the URL of a ledger that is a file."""


@dataclass(frozen=True)
class SharedLocks:
    """The locks that all runs with a ledger share, made when one is held."""

    ledger: SqlLedger
    state: StateDirectory

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock called `name`, waiting for whoever has it."""
        with self.ledger.shared_locks(self.state).hold(name):
            yield


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Where everything is kept. What a run needs is created where it is absent; what is looked at never is."""

    database: str | None = None
    """Path of the DuckDB file."""
    database_config: Mapping[str, Any] = field(default_factory=dict)
    connect: Callable[[], AbstractContextManager[Any]] | None = None
    """How a resource of the user's opens it, if it does more than that."""
    state_directory: str | None = None
    """Default: `.claude_batch` beside the DuckDB file, else in the working directory."""
    ledger_url: str | None = None
    """SQLAlchemy URL; default: `ledger.sqlite` in the state directory."""
    lock_timeout_seconds: float = 120.0
    """How long to wait for another process to let go of the DuckDB file."""
    busy_seconds: float = BUSY_SECONDS
    """How long to wait for another process that writes to the ledger."""
    hint: str = ""
    """What to do where something that is looked at is absent: how it is named here."""

    def __post_init__(self) -> None:
        """Let `~` be the home of the user in every path, as a shell would: nobody means a folder of that name."""
        for name in ("database", "state_directory"):
            if path := getattr(self, name):
                object.__setattr__(self, name, _expanded(path))
        if self.ledger_url:
            object.__setattr__(self, "ledger_url", AT_HOME.sub(lambda home: _expanded(home[0]), self.ledger_url))

    @property
    def folder(self) -> Path:
        """The state directory, whether or not it is there."""
        if self.state_directory:
            return Path(self.state_directory)
        beside = Path(self.database).parent if self.database and self._is_file else Path()
        return beside / ".claude_batch"

    @property
    def _is_file(self) -> bool:
        return not OTHER_KIND.match(self.database or "")

    # --- for a run ---------------------------------------------------------------------------------

    def open_state_directory(self) -> StateDirectory:
        """Open the state directory, or create it; raise `ConfigurationError` if nobody has said where."""
        if not self.state_directory and not self._is_file:
            raise ConfigurationError(
                f"the database {self.database!r} is no file, so there is no folder beside it: set state_directory."
            )
        return StateDirectory.open(self.folder.absolute())

    def open_ledger(self, state: StateDirectory | None = None) -> SqlLedger:
        """Open the ledger, or create it; whoever does closes it."""
        url = self.ledger_url or (state or self.open_state_directory()).ledger_url
        return SqlLedger(url, busy_seconds=self.busy_seconds)

    @contextmanager
    def ledger(self) -> Iterator[SqlLedger]:
        """Open the ledger alone: for a look at what is on its way, while anything else may be in use."""
        ledger = self.open_ledger()
        try:
            yield ledger
        finally:
            ledger.dispose()

    @staticmethod
    def others_can_write(mode: int) -> bool:
        """Whether a state directory of this mode is refused."""
        return others_can_write(mode)

    # --- for a person ------------------------------------------------------------------------------

    @property
    def has_ledger(self) -> bool:
        """Whether a ledger is named, or there is one in the state directory."""
        return bool(self.ledger_url) or StateDirectory(self.folder).has_ledger

    def ledger_id(self) -> str:
        """Return the name that the ledger was given when it was created."""
        with self._view() as view:
            return view.ledger_id

    def condition(self) -> Condition:
        """Return how the ledger is found, whatever its revision."""
        with self._view() as view:
            return view.condition()

    @contextmanager
    def looking(self) -> Iterator[LedgerView]:
        """Open the ledger to look at it only; a run that goes on meanwhile does not notice."""
        with self._view() as view:
            if not view.is_current:
                raise LedgerError(
                    f"the ledger was written by an older version of claude-batch-dagster (revision {view.revision}). "
                    "The next run upgrades it, and so does `claude-batch reconcile`"
                )
            yield view

    @contextmanager
    def working(self) -> Iterator[tuple[SqlLedger, Locks]]:
        """Open the ledger, which must be there, to work on it; and the locks of those who send."""
        url = self._existing_ledger()
        LedgerView(url).dispose()  # opening it to work on it would create what is not there
        state = StateDirectory.open(self._existing_folder())
        ledger = SqlLedger(url)
        try:
            yield ledger, SharedLocks(ledger, state)
        finally:
            ledger.dispose()

    def live_lane(self, api: LiveApi, ledger: Ledger, clock: Clock) -> LiveLane:
        """Return what makes results of the journals of what was asked live."""
        return live_lane(StateDirectory(self._existing_folder()), api, ledger, clock)

    @contextmanager
    def _view(self) -> Iterator[LedgerView]:
        view = LedgerView(self._existing_ledger())
        try:
            yield view
        finally:
            view.dispose()

    def _existing_ledger(self) -> str | sa.URL:
        if self.ledger_url:
            return self.ledger_url
        state = StateDirectory(self._existing_folder())
        if not state.has_ledger:
            raise ConfigurationError(f"there is no ledger in the state directory {str(state.path)!r}. {self.hint}")
        return state.ledger_url

    def _existing_folder(self) -> Path:
        if not self.folder.is_dir():
            raise ConfigurationError(f"there is no state directory at {str(self.folder)!r}. {self.hint}")
        return self.folder


def _expanded(path: str) -> str:
    if Path(path).exists():  # a folder of that very name, of a version that took it for one
        return path
    return os.path.expanduser(path)  # noqa: PTH111  (the name of a database may be a URL, which Path would change)


def live_lane(state: StateDirectory, api: LiveApi, ledger: Ledger, clock: Clock) -> LiveLane:
    """Return what asks live, and keeps its journals in a state directory."""
    spool = FileSpool(state.spool)
    return LiveLane(api=api, ledger=ledger, clock=clock, journals=FileJournals(spool), spool=spool)
