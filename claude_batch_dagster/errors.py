"""
Everything this package raises.

    ClaudeBatchError
    ├── ConfigurationError          a setting or a definition cannot work
    │   ├── TemplateError           a prompt template names no plain column
    │   ├── OutputModelError        an output model does not fit into a table
    │   └── StateDirectoryError     the state directory cannot be used
    ├── BudgetError                 a chunk can cost more than is left of its budget
    ├── CanaryError                 the first rows say that the others would be wasted
    ├── RepayError                  rows with an answer would be asked again for more than was allowed
    ├── GoldError                   gold rows cannot be used
    ├── UpstreamError               the upstream table or a column of it is missing
    ├── ApiError                    the API did not do what was asked
    │   ├── ApiUnreachableError     no complete answer came back
    │   ├── BatchVanishedError      the API no longer shows a batch that it accepted
    │   ├── BatchOverdueError       a batch has not ended although its time is over
    │   ├── UnconfirmedError        it is not known whether a chunk was accepted
    │   ├── ApiResponseError        an answer came back that cannot be read
    │   └── ApiRefusedError         the API answered with an error status
    │       ├── CredentialError     401 or 403
    │       └── SpendLimitError     billing or a spend limit
    ├── WarehouseError              DuckDB did not do what was asked
    │   ├── WarehouseLockedError    another process holds the file
    │   ├── WarehouseMemoryError    the memory that it may take does not do
    │   └── WarehouseCorruptError   the file is not a DuckDB database (any more)
    ├── SpoolError                  raw results cannot be kept on disk
    ├── LedgerError                 the ledger cannot be read or written
    │   ├── LedgerConflictError     a chunk cannot move to the state asked for
    │   ├── ClaimConflictError      another run has claimed rows of a chunk, or may have sent one
    │   └── StrangeLedgerError      the ledger is not the one that knows of this table
    └── HeldChunksError             chunks wait for a person to decide

A row that fails is data (a verdict in the output table), never an exception. Messages say what to
do next; the facts are attributes.
"""

from pathlib import Path
from typing import Self

from claude_batch_dagster.amounts import counted, dollars


class ClaudeBatchError(Exception):
    """The base of everything this package raises."""


class ConfigurationError(ClaudeBatchError, ValueError):
    """A setting or a definition cannot work; the message says which and how to mend it."""


class TemplateError(ConfigurationError):
    """A prompt template holds something that is not the plain name of a column."""


class OutputModelError(ConfigurationError):
    """An output model cannot be laid out as columns of a table."""


class StateDirectoryError(ConfigurationError):
    """The state directory cannot be created or written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"the state directory {str(path)!r} cannot be used ({reason}). Nothing was sent. "
            "Set state_directory to a folder that this user can write."
        )
        self.path, self.reason = path, reason


class BudgetError(ClaudeBatchError):
    """A chunk can cost more than is left of its budget. Its rows are `blocked`, and go when there is money again."""

    def __init__(self, max_cost_usd: float | None, *, left_usd: float) -> None:
        cost = "nobody knows how much" if max_cost_usd is None else f"${max_cost_usd:,.6f}"
        super().__init__(f"the chunk can cost {cost}, and ${left_usd:,.6f} are left of the budget. Nothing was sent.")
        self.max_cost_usd, self.left_usd = max_cost_usd, left_usd


class CanaryError(ClaudeBatchError):
    """The first rows of a large plan came back in a way that says that the others would be wasted."""

    def __init__(self, reason: str, *, n_rows: int, n_left: int) -> None:
        super().__init__(
            f"the first {counted(n_rows, 'row')} came back, and the other {n_left:,} were not sent: {reason}. What was "
            "answered is kept. Mend the question and materialize again; or let all rows go with canary=0 on the asset."
        )
        self.reason, self.n_rows, self.n_left = reason, n_rows, n_left


class RepayError(ClaudeBatchError):
    """Rows that have an answer would be asked again, for more dollars than may be spent without a person's word."""

    def __init__(self, n_rows: int, usd: float | None, *, most_usd: float, changed: frozenset[str] | None) -> None:
        cost = "nobody knows how many dollars (the price is not listed)" if usd is None else f"about {dollars(usd)}"
        parts = f", for these parts of the definition have changed: {', '.join(sorted(changed))}" if changed else ""
        super().__init__(
            f"{counted(n_rows, 'row')} with an answer would be asked again for {cost}{parts}. That is more than "
            f"${most_usd:,.2f} (confirm_repay_usd), so nothing was sent. Look at it with dry_run: true in the run "
            "config; then say confirm_repay: true there, or raise confirm_repay_usd of the asset."
        )
        self.n_rows, self.usd, self.most_usd, self.changed = n_rows, usd, most_usd, changed


class GoldError(ClaudeBatchError):
    """Gold rows cannot be read, or lack the columns that are needed; answers are not concerned."""


class UpstreamError(ClaudeBatchError):
    """The upstream table, a column of it, or its partition expression does not work."""


class ApiError(ClaudeBatchError):
    """The API did not do what was asked of it."""

    @property
    def brief(self) -> str:
        """What happened, in words of ours: the ledger keeps nothing that a request may have held."""
        return type(self).__name__


class ApiUnreachableError(ApiError):
    """No complete answer came back: refused, reset, timed out or cut off."""


class ApiResponseError(ApiError):
    """An answer came back that is not what the API documents."""


class BatchVanishedError(ApiError):
    """The API does not show a batch that it once accepted, and has not for a while."""

    def __init__(self, batch_id: str | None, *, same_account: bool) -> None:
        cause = (
            "It may have been deleted, or the API has lost sight of it"
            if same_account
            else "It was sent with another key, workspace or base URL than this run uses"
        )
        super().__init__(
            f"the API no longer shows batch {batch_id}, which it accepted. {cause}. Its rows were paid for and are not "
            "sent again: look for it in the Claude Console, then materialize again. After 29 days they are given up."
        )
        self.batch_id, self.same_account = batch_id, same_account


class BatchOverdueError(ApiError):
    """A batch has not ended although its 24 hours are long over."""

    def __init__(self, batch_id: str | None, *, hours: float) -> None:
        super().__init__(
            f"batch {batch_id} has not ended after {hours:.0f} hours, though batches expire after 24. It is asked "
            "after for as long as the API shows it; if this goes on, cancel it with `claude-batch cancel`"
        )
        self.batch_id, self.hours = batch_id, hours


class UnconfirmedError(ApiError):
    """It is not known whether the API accepted a chunk; nothing else is sent until it is."""

    def __init__(self, chunk_id: str, n_requests: int, *, note: str | None = None) -> None:
        super().__init__(
            f"it is not known whether the API accepted chunk {chunk_id} ({counted(n_requests, 'request')}), so it is "
            "looked for in the API's list and nothing else is sent meanwhile. A workspace of its own makes this quick"
            + (f" ({note})" if note else "")
        )
        self.chunk_id, self.n_requests = chunk_id, n_requests


class ApiRefusedError(ApiError):
    """The API answered with an error status."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        kind: str | None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        trace = f" (request id {request_id})" if request_id else ""
        super().__init__(f"HTTP {status} {kind or 'without an error type'}: {message}{trace}")
        self.message, self.status, self.kind = message, status, kind
        self.request_id, self.retry_after_seconds = request_id, retry_after_seconds

    @property
    def brief(self) -> str:
        """Status, error type and request id, without the message."""
        return f"HTTP {self.status} {self.kind}, request id {self.request_id}"

    def saying(self, message: str) -> Self:
        """Return the same refusal in other words."""
        return type(self)(
            message,
            status=self.status,
            kind=self.kind,
            request_id=self.request_id,
            retry_after_seconds=self.retry_after_seconds,
        )


class CredentialError(ApiRefusedError):
    """The API does not accept the key (401), or the key may not do this (403)."""


class SpendLimitError(ApiRefusedError):
    """The account cannot pay or has reached a limit; sending again soon is of no use."""


class WarehouseError(ClaudeBatchError):
    """DuckDB did not do what was asked of it."""


class WarehouseLockedError(WarehouseError):
    """Another process holds the DuckDB file and did not let go in time."""

    def __init__(self, database: str, *, waited_seconds: float, reason: str) -> None:
        super().__init__(
            f"the DuckDB file {database!r} is held by another process; waited {waited_seconds:.0f} s "
            f"({reason}). Nothing that was paid for is lost: close the other connection and "
            "materialize again."
        )
        self.database, self.waited_seconds, self.reason = database, waited_seconds, reason


class WarehouseMemoryError(WarehouseError):
    """DuckDB needed more memory than it may take."""

    def __init__(self, database: str, *, may_take_more: bool) -> None:
        super().__init__(
            f"DuckDB does not get the memory that it needs for {database!r}. It reads 2,048 rows at a time, documents "
            "and answers included. Nothing that was paid for is lost: give it more (memory_limit in the "
            "connection_config of the DuckDBResource, or a larger machine), or split large documents upstream, and "
            "materialize again."
        )
        self.database, self.may_take_more = database, may_take_more


class WarehouseCorruptError(WarehouseError):
    """The file is not a DuckDB database, or not one any more."""

    def __init__(self, database: str, *, reason: str) -> None:
        super().__init__(
            f"{database!r} cannot be opened as a DuckDB database ({reason}). Move it away and "
            "materialize again: answers already paid for are restored from the spool at no cost."
        )
        self.database, self.reason = database, reason


class SpoolError(ClaudeBatchError):
    """Raw results cannot be written to the state directory: its disk is full, or its permissions have changed."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"raw results cannot be kept in {str(folder)!r} ({reason}). Nothing that was paid for is lost: make room, "
            "and materialize again within 29 days."
        )
        self.folder, self.reason = folder, reason


class LedgerError(ClaudeBatchError):
    """The ledger cannot be read or written; nothing is sent without it."""


class LedgerConflictError(LedgerError):
    """A chunk cannot move to the state it was asked to move to."""

    def __init__(self, chunk_id: str, *, was: str | None, wanted: str) -> None:
        super().__init__(
            f"chunk {chunk_id} is {was or 'unknown'} and cannot become {wanted}; "
            "another run probably moved it. Materialize again to take up its state."
        )
        self.chunk_id, self.was, self.wanted = chunk_id, was, wanted


class ClaimConflictError(LedgerError):
    """A chunk must not be sent, for what another run has written down meanwhile; look at its rows again."""

    def __init__(self, chunk_id: str, reason: str) -> None:
        super().__init__(f"another run has written down chunk {chunk_id} meanwhile: {reason}. Nothing was sent.")
        self.chunk_id, self.reason = chunk_id, reason


class StrangeLedgerError(LedgerError):
    """The ledger is new, a copy, or older than the table: it does not know what may be on its way."""

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(
            f"{reason}. So it does not know what was sent for table {table} and may still be on its way, and rows "
            "could be paid for twice. Nothing was sent. Bring back the ledger that belongs to the table; or, if it is "
            "gone, let this one take its place: claude-batch --database FILE reconcile --accept-new-ledger"
        )
        self.table, self.reason = table, reason


class HeldChunksError(ClaudeBatchError):
    """Chunks may or may not have been accepted, and `on_unconfirmed` is `hold`."""

    def __init__(self, chunk_ids: list[str]) -> None:
        super().__init__(
            f"{counted(len(chunk_ids), 'chunk is', 'chunks are')} held, which the API may or may not have accepted: "
            f"{', '.join(chunk_ids)}. Look for them in the Claude Console; then say what you found with `claude-batch "
            "resolve`, or set on_unconfirmed to 'resubmit' to send their rows again."
        )
        self.chunk_ids = chunk_ids
