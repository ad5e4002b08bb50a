from collections import Counter

import pytest

from claude_batch_dagster.core.ledger import Doubt, State
from claude_batch_dagster.core.reporting.double_payments import summed
from claude_batch_dagster.core.reporting.report import PartitionReport, Standing
from claude_batch_dagster.core.verdicts import Verdict


def report(n_expected: int, **verdicts: int) -> PartitionReport:
    """Return the report of a partition with these verdicts."""
    return PartitionReport(
        partition_key="p",
        n_expected=n_expected,
        n_asked=0,
        n_shared=0,
        standing=Standing(verdicts=Counter(verdicts)),
        cost_usd=0.0,
        live_cost_usd=0.0,
        run_cost_usd=0.0,
        seconds_to_answer=None,
    )


def test_an_empty_partition_is_complete_and_without_errors() -> None:
    """Nothing asked, nothing wrong."""
    empty = report(0)

    assert (empty.balanced, empty.completeness, empty.error_rate, empty.expiry_rate) == (True, 1.0, 0.0, 0.0)


def test_rates_are_shares_of_the_rows() -> None:
    """Errors, expired rows and usable answers are counted apart."""
    mixed = report(10, succeeded=4, expired=2, errored=1, invalid=1, blocked=1, canceled=1)

    rates = (mixed.balanced, mixed.completeness, mixed.error_rate, mixed.expiry_rate, mixed.n(Verdict.EXPIRED))
    assert rates == (True, 0.4, 0.2, 0.2, 2)


@pytest.mark.parametrize("verdict", ["errored", "invalid", "truncated", "refused", "missing", "rejected"])
def test_these_verdicts_are_errors(verdict: str) -> None:
    """Each says something against the row, its request or the service."""
    assert report(2, succeeded=1, **{verdict: 1}).error_rate == 0.5


@pytest.mark.parametrize("n_expected", [1, 3])
def test_f103_books_that_do_not_balance_are_told(n_expected: int) -> None:
    """A row too many or too few shows."""
    assert not report(n_expected, succeeded=2).balanced


def test_a_batch_in_doubt_counts_once_for_the_table() -> None:
    """Its requests are those of all partitions; the batch is one."""
    doubts = [
        Doubt(
            chunk_id="chunk",
            partition_key=part,
            state=State.UNSEEN,
            n_requests=2,
            set_free=True,
            max_cost_usd=0.25,
            cost_usd=None,
        )
        for part in ("p", "q")
    ]

    found = summed(doubts)

    assert (found.n_unconfirmed, found.n_possible_duplicates, found.possible_duplicate_usd) == (1, 4, 0.5)
