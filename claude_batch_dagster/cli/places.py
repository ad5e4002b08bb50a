"""Where the things are that a command looks at: named by options, never created by looking."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.errors import ConfigurationError

HOW_TO_NAME_IT = (
    "Name the one that the runs use with --state-directory (CLAUDE_BATCH_STATE_DIRECTORY), or the DuckDB file that it "
    "lies beside with --database (CLAUDE_BATCH_DATABASE)"
)


class WallClock:
    """The real time."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        time.sleep(seconds)


@dataclass(frozen=True, kw_only=True)
class Places:
    """What the options of the program name."""

    state_directory: str | None = None
    ledger_url: str | None = None
    database: str | None = None
    base_url: str | None = None
    workspace_id: str | None = None
    clock: Clock = field(default_factory=WallClock)

    @property
    def folder(self) -> Path:
        """The state directory, whether or not it is there."""
        if self.state_directory:
            return Path(self.state_directory)
        beside = Path(self.database).parent if self.database else Path()
        return beside / ".claude_batch"

    def existing_folder(self) -> Path:
        """Return the state directory; raise `ConfigurationError` if there is none."""
        if not self.folder.is_dir():
            raise ConfigurationError(f"there is no state directory at {str(self.folder)!r}. {HOW_TO_NAME_IT}")
        return self.folder

    def existing_database(self) -> str:
        """Return the DuckDB file; raise `ConfigurationError` if none is named, or none is there."""
        if not self.database:
            raise ConfigurationError("name the DuckDB file with --database (CLAUDE_BATCH_DATABASE)")
        if not Path(self.database).is_file():
            raise ConfigurationError(f"there is no DuckDB file at {self.database!r}; looking creates none")
        return self.database
