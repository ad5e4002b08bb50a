"""What the proofs share: storage that is emptied before each schedule."""

from collections.abc import Iterator, Sequence

import pytest

from proof.simulation.storage import SurvivingStorage, new_storage


@pytest.fixture(scope="session")
def storage() -> Iterator[SurvivingStorage]:
    """Return storage, opened once: each schedule begins by emptying it."""
    with new_storage() as storage:
        yield storage


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Count no lines of simulations: thousands of schedules run the same ones, a third slower for being counted."""
    for item in items:
        if "storage" in getattr(item, "fixturenames", ()):
            item.add_marker("no_cover")
