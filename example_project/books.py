"""What the ledger of EXAMPLE_HOME says about requests on their way and about dollars."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from claude_batch_dagster.core.ledger import TRAVELLING, State
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger

PIPELINE = "public.classified_documents"

_HOME_AGAIN = {State.ENDED, State.SPOOLED, State.APPLIED}


@dataclass(frozen=True, kw_only=True)
class Requests:
    """How many requests are how far; each step includes the next."""

    submitted: int = 0
    ended: int = 0
    landed: int = 0

    def __str__(self) -> str:
        """Put it in words."""
        return f"{self.submitted:,} sent, {self.ended:,} answered, {self.landed:,} landed"


@dataclass(frozen=True, kw_only=True)
class Bill:
    """What requests came to; dollars are those of models whose price is known."""

    n_requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    live_cost_usd: float = 0.0


@contextmanager
def opened(home: Path) -> Iterator[SqlLedger]:
    """Open the ledger, or start one."""
    ledger = SqlLedger(f"sqlite:///{home / 'ledger.sqlite'}")
    try:
        yield ledger
    finally:
        ledger.dispose()


def watch(ledger: SqlLedger) -> Iterator[Requests]:
    """Yield, whenever asked, how far the requests are that had not landed at the first look."""
    landed_before = {chunk.chunk_id for chunk in ledger.chunks(PIPELINE, [State.APPLIED])}
    while True:
        chunks = [
            chunk
            for chunk in ledger.chunks(PIPELINE, TRAVELLING | {State.APPLIED})
            if chunk.chunk_id not in landed_before
        ]
        yield Requests(
            submitted=sum(chunk.n_requests for chunk in chunks),
            ended=sum(chunk.n_requests for chunk in chunks if chunk.state in _HOME_AGAIN),
            landed=sum(chunk.n_requests for chunk in chunks if chunk.state is State.APPLIED),
        )


def count_sent(ledger: SqlLedger, run_id: str) -> int:
    """Count the requests that one run handed to the API."""
    chunks = ledger.chunks(PIPELINE, TRAVELLING | {State.APPLIED, State.LOST}, run_id=run_id)
    return sum(chunk.n_requests for chunk in chunks)


def read_bill(ledger: SqlLedger, *, run_id: str | None = None) -> Bill:
    """Add up what the requests of one run, or of all, came to."""
    spends = ledger.spends(PIPELINE, run_id=run_id)
    return Bill(
        n_requests=sum(spend.n_requests for spend in spends),
        input_tokens=sum(spend.input_tokens for spend in spends),
        output_tokens=sum(spend.output_tokens for spend in spends),
        cost_usd=sum(spend.cost_usd or 0.0 for spend in spends),
        live_cost_usd=sum(spend.live_cost_usd or 0.0 for spend in spends),
    )
