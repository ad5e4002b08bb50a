"""What a ledger says of batches on their way and of dollars, for a look from outside of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from claude_batch_dagster.core.ledger import OPEN, TRAVELLING, State
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.core.reporting.overview import (
    BatchStatus,
    TableStatus,
    batch_status,
    table_statuses,
    total,
)
from claude_batch_dagster.core.waiting import SystemClock
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.storage.ledger.view import LedgerView
from claude_batch_dagster.stores import Stores

__all__ = ["BatchStatus", "LedgerStatus", "RequestCounts", "Spending", "TableStatus"]

_ENDED = frozenset({State.ENDED, State.SPOOLED, State.APPLIED})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCounts:
    """How many requests are how far; each step includes the next."""

    sent: int = 0
    ended: int = 0
    """The API is done with them."""
    landed: int = 0
    """Their answers are in the table."""

    @property
    def in_flight(self) -> int:
        """Sent, and not ended yet."""
        return self.sent - self.ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What requests came to; an amount is None where the price of one of them is not known."""

    n_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0
    """At batch prices."""
    live_cost_usd: float | None = 0.0
    """What the live API would have cost."""


@dataclass(frozen=True, kw_only=True)
class LedgerStatus:
    """
    What is on its way and what it has cost, as of each call.

    Only the ledger is read: the API is left alone, nothing is created or changed, and a run that goes on meanwhile does
    not notice. Where nothing was ever sent there is no ledger, and everything is empty.

    Args:
        database: Path of the DuckDB file. The ledger lies beside it unless one of the others says otherwise; where it
            does not, the file is asked where its ledger is.
        state_directory: Folder of the ledger.
        ledger_url: SQLAlchemy URL of the ledger.

    Raises:
        ConfigurationError: There is nothing where database or state_directory say.
        LedgerError: The ledger cannot be read, or was written by another version.

    """

    database: str | None = None
    state_directory: str | None = None
    ledger_url: str | None = field(default=None, repr=False)
    clock: Clock = field(default_factory=SystemClock, repr=False)

    def batches(self, *, everything: bool = False) -> list[BatchStatus]:
        """Return the batches on their way, oldest first; with `everything` also those that are done with."""
        with self._looking() as ledger:
            found = ledger.sightings(State if everything else OPEN) if ledger else []
        now = self.clock.now()
        return [batch_status(one, now) for one in found if everything or one.chunk.state in OPEN]

    def tables(self) -> list[TableStatus]:
        """Return what was sent for each table, by base URL and workspace."""
        with self._looking() as ledger:
            return table_statuses(ledger.sightings(())) if ledger else []

    def requests(self, table: str, *, run_id: str | None = None) -> RequestCounts:
        """Count the requests of a table (`"public.answers"`), or of one run of it."""
        with self._looking() as ledger:
            chunks = ledger.chunks(self._pipeline(table), TRAVELLING | {State.APPLIED}, run_id=run_id) if ledger else []
        return RequestCounts(
            sent=sum(chunk.n_requests for chunk in chunks),
            ended=sum(chunk.n_requests for chunk in chunks if chunk.state in _ENDED),
            landed=sum(chunk.n_requests for chunk in chunks if chunk.state is State.APPLIED),
        )

    def spending(self, table: str, *, run_id: str | None = None) -> Spending:
        """Add up what the landed answers of a table came to, or those of one run of it."""
        with self._looking() as ledger:
            spends = ledger.spends(self._pipeline(table), run_id=run_id) if ledger else []
        return Spending(
            n_requests=sum(spend.n_requests for spend in spends),
            input_tokens=sum(spend.input_tokens for spend in spends),
            output_tokens=sum(spend.output_tokens for spend in spends),
            cost_usd=total(spend.cost_usd for spend in spends),
            live_cost_usd=total(spend.live_cost_usd for spend in spends),
        )

    def _pipeline(self, table: str) -> str:
        """Return the name of a table in the ledger; raise for one that could only be taken for nothing sent."""
        if "." not in table:
            raise ConfigurationError(f"name the table with its schema: 'public.{table}'.")
        return table

    @contextmanager
    def _looking(self) -> Iterator[LedgerView | None]:
        stores = Stores(database=self.database, state_directory=self.state_directory, ledger_url=self.ledger_url)
        if not stores.has_ledger:
            stores = self._elsewhere(stores)
        if not stores.has_ledger:
            yield None
            return
        with stores.looking() as ledger:
            yield ledger

    def _elsewhere(self, stores: Stores) -> Stores:
        """Ask the database where its ledger is; raise if there is not even that."""
        if self.state_directory:
            if not stores.folder.is_dir():
                raise ConfigurationError(f"there is no state directory at {str(stores.folder)!r}.")
            return stores
        from claude_batch_dagster.pairings import remembered  # noqa: PLC0415  (DuckDB, if it is needed)

        return remembered(stores)
