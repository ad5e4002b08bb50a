"""Random lives of a table: the same few on every change, new ones on every push, 10,000 under `make soak`."""

import pytest

from proof.simulation import fresh, seeds
from proof.simulation.drawing import draw
from proof.simulation.storage import SurvivingStorage

N_FEW, N_KNOWN, N_NEW = 4, 30, 30


@pytest.mark.parametrize(
    "seed", [*range(N_FEW), *(pytest.param(seed, marks=pytest.mark.verify) for seed in range(N_FEW, N_KNOWN))]
)
def test_whatever_happens_is_paid_for_once_and_answered(seed: int, storage: SurvivingStorage) -> None:
    """Crashes, lost answers, faults of the API, edits, cancellations, expiry, two runs at once, in any order."""
    tally = seeds.run_block([seed], storage)

    assert tally.failures == []
    assert tally.n_schedules == 1


@pytest.mark.verify
@pytest.mark.parametrize("number", range(N_NEW))
def test_a_life_that_nobody_has_seen_is_paid_for_once_and_answered(number: int, storage: SurvivingStorage) -> None:
    """The same for seeds of this commit's own: the head of the tests' output names the first of them."""
    tally = seeds.run_block([fresh.first_seed() + number], storage)

    assert tally.failures == []


def test_each_commit_has_seeds_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never those of `make proof`; the seeds of another commit, or a number, are played again by saying so."""
    monkeypatch.delenv(fresh.FIRST_SEED, raising=False)
    here = fresh.first_seed()
    monkeypatch.setenv(fresh.FIRST_SEED, "123")

    assert fresh.first_seed("25e6f8c1") == fresh.first_seed("25e6f8c1") != fresh.first_seed("25e6f8c2")
    assert min(here, fresh.first_seed(""), fresh.first_seed("0" * 40)) >= 10_000
    assert fresh.first_seed() == 123


@pytest.mark.parametrize("seed", [3, *(pytest.param(seed, marks=pytest.mark.verify) for seed in (10, 42))])
def test_the_same_seed_gives_the_same_trace(seed: int, storage: SurvivingStorage) -> None:
    """Every call, every id and the end are the same, so that a failure can be seen again."""
    first, again = (seeds.play(draw(seed), storage) for _ in range(2))

    assert first.trace == again.trace
    assert seeds.play(draw(seed + 1), storage).trace != first.trace


@pytest.mark.verify
def test_seeds_reach_what_they_are_for(storage: SurvivingStorage) -> None:
    """In two dozen of them processes die, batches are found or let go, money is short, and requests go ahead."""
    counts = seeds.run_block(range(24), storage).counts

    assert {name for name, n in counts.items() if n} == {
        "calls",
        "crashes",
        "batches adopted",
        "chunks set free unseen",
        "plans with a request ahead",
        "runs short of money",
    }


@pytest.mark.soak
def test_ten_thousand_seeds() -> None:
    """As above, and more of it."""
    finding = seeds.run_seeds(range(10_000))

    assert finding.holds
    assert finding.facts["other promises broken"] == 0
