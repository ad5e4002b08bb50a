"""What may have been paid for twice, and at most how much: said aloud, never left to be found in a bill."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from claude_batch_dagster.core.ledger import Doubt, State

USD_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """Batches whose acceptance was not known at some time: those of one partition, or of a table."""

    n_unconfirmed: int = 0
    """Batches that may have been accepted and were not found."""
    n_held: int = 0
    """Those of them that wait for a person."""
    n_adopted: int = 0
    """Batches whose answer was lost, and which were found in the API's list."""
    n_possible_duplicates: int = 0
    """Requests whose rows were free to be sent again while their first batch, or its answer, was not found."""
    possible_duplicate_usd: float | None = 0.0
    """What those cost at most; None when a price is not known."""

    @property
    def figures(self) -> dict[str, float]:
        """Everything by name, as it is reported; dollars rounded to what can be billed."""
        usd = self.possible_duplicate_usd
        return {
            "possible_duplicate_requests": self.n_possible_duplicates,
            **({} if usd is None else {"possible_duplicate_usd": round(usd, USD_DIGITS)}),
            "unconfirmed_sends": self.n_unconfirmed,
            "held_chunks": self.n_held,
            "adopted_orphans": self.n_adopted,
        }


NO_DOUBTS = Doubts()


def doubts_by_partition(doubts: Iterable[Doubt]) -> dict[str | None, Doubts]:
    """Add up doubts for each partition."""
    grouped: dict[str | None, list[Doubt]] = defaultdict(list)
    for doubt in doubts:
        grouped[doubt.partition_key].append(doubt)
    return {partition_key: summed(some) for partition_key, some in grouped.items()}


def summed(doubts: Iterable[Doubt]) -> Doubts:
    """Add up doubts, of whatever partitions."""
    together = list(doubts)
    doubts = [doubt for doubt in together if not doubt.is_unheard]
    unfound = {State.AMBIGUOUS, State.HELD, State.UNSEEN}
    set_free = [doubt for doubt in together if doubt.set_free]
    costs = [_cost(doubt) for doubt in set_free]
    known = [cost for cost in costs if cost is not None]
    return Doubts(
        n_unconfirmed=len({doubt.chunk_id for doubt in doubts if doubt.state in unfound}),
        n_held=len({doubt.chunk_id for doubt in doubts if doubt.state is State.HELD}),
        n_adopted=len({doubt.chunk_id for doubt in doubts if doubt.state not in unfound}),
        n_possible_duplicates=sum(doubt.n_requests for doubt in set_free),
        possible_duplicate_usd=sum(known) if len(known) == len(costs) else None,
    )


def _cost(doubt: Doubt) -> float | None:
    """Return what the first batch cost if it was found and has landed; until then, what it can cost at most."""
    has_landed = doubt.state is State.APPLIED and not doubt.is_unheard
    return doubt.cost_usd or 0.0 if has_landed else doubt.max_cost_usd
