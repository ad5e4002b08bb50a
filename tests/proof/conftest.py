"""What the proofs share: storage that is emptied before each schedule."""

from collections.abc import Iterator

import pytest

from proof.simulation.lab import Lab, new_lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Return a lab, opened once: each schedule begins by emptying it."""
    with new_lab() as lab:
        yield lab
