"""Random schedules of everything that can go wrong: 500 here, 10,000 under `make soak`."""

import pytest

from proof.simulation import seeds
from proof.simulation.drawing import draw
from proof.simulation.storage import SurvivingStorage

N_BLOCKS, N_SEEDS = 10, 500
"""In blocks, so that test processes share them."""


@pytest.mark.parametrize("first", range(0, N_SEEDS, N_SEEDS // N_BLOCKS))
def test_whatever_happens_is_paid_for_once_and_answered(first: int, storage: SurvivingStorage) -> None:
    """Crashes, lost answers, faults of the API, edits, cancellations, expiry, two runs at once, in any order."""
    tally = seeds.run_block(range(first, first + N_SEEDS // N_BLOCKS), storage)

    assert tally.failures == []
    assert tally.n_schedules == N_SEEDS // N_BLOCKS


@pytest.mark.parametrize("seed", [3, 10, 42])
def test_the_same_seed_gives_the_same_trace(seed: int, storage: SurvivingStorage) -> None:
    """Every call, every id and the end are the same, so that a failure can be seen again."""
    first, again = (seeds.play(draw(seed), storage) for _ in range(2))

    assert first.trace == again.trace
    assert seeds.play(draw(seed + 1), storage).trace != first.trace


def test_seeds_reach_what_they_are_for(storage: SurvivingStorage) -> None:
    """In two dozen of them processes die, batches are adopted, and chunks are set free unseen."""
    counts = seeds.run_block(range(24), storage).counts

    assert min(counts["crashes"], counts["batches adopted"], counts["chunks set free unseen"]) > 0, counts


@pytest.mark.soak
def test_ten_thousand_seeds() -> None:
    """As above, and more of it."""
    finding = seeds.run_seeds(range(10_000))

    assert finding.holds
    assert finding.facts["other promises broken"] == 0
