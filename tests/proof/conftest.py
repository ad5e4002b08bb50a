"""What the proofs share: storage that is emptied before each schedule."""

from collections.abc import Iterator, Sequence

import pytest

from proof.simulation.lab import Lab, new_lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Return a lab, opened once: each schedule begins by emptying it."""
    with new_lab() as lab:
        yield lab


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Count no lines of simulations: thousands of schedules run the same ones, a third slower for being counted."""
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker("no_cover")
