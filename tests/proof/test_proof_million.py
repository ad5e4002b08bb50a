"""A large table whose runs are killed on the way: a part of it on every push, a million documents in `make soak`."""

import pytest

from proof.kills.million import run_large


@pytest.mark.parametrize(
    ("n_documents", "n_kills"),
    [
        pytest.param(20_000, 5, marks=pytest.mark.verify, id="20,000 documents"),
        pytest.param(1_000_000, 20, marks=[pytest.mark.soak, pytest.mark.timeout(7_200)], id="a million documents"),
    ],
)
def test_a_large_table_through_kills(n_documents: int, n_kills: int) -> None:
    """Nothing is lost, no row is there twice, and nothing is billed twice."""
    told: list[str] = []

    finding = run_large(n_documents, n_kills, seed=1, tell=told.append)

    assert told == []
    assert finding.holds
    assert {name for name in finding.facts if name.startswith("kills, part")} >= {
        "kills, part 1 of 5",
        "kills, part 5 of 5",
    }
    assert (finding.facts["requests billed"], finding.facts["documents billed twice"]) == (n_documents, 0)
