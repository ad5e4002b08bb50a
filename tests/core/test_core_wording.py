"""How numbers of things are told."""

import pytest

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.errors import HeldChunksError, UnconfirmedError


@pytest.mark.parametrize(
    ("n", "told"), [(0, "0 batches open"), (1, "1 batch open"), (2, "2 batches open"), (1_234, "1,234 batches open")]
)
def test_one_thing_is_told_as_one(n: int, told: str) -> None:
    """Only one of them is told in the singular."""
    assert f"{counted(n, 'batch', 'batches')} open" == told
    assert counted(n, "request").endswith("request" if n == 1 else "requests")


def test_errors_count_as_people_do() -> None:
    """A chunk of one request has one request, and one chunk is held."""
    assert "(1 request)" in str(UnconfirmedError("c1", 1))
    assert str(HeldChunksError(["c1"])).startswith("1 chunk is held, which the API may or may not have accepted: c1.")
    assert str(HeldChunksError(["c1", "c2"])).startswith("2 chunks are held")
