from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch_dagster.core.asking.keys import canonical_key, key_values

SCALARS = st.one_of(st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans())


@pytest.mark.parametrize(
    ("values", "key"),
    [
        pytest.param([1], "1", id="F6-number"),
        pytest.param(["1"], '"1"', id="F6-text"),
        pytest.param(["é"], '"é"', id="F6-composed"),
        pytest.param(["e\u0301"], '"e\u0301"', id="F6-decomposed"),
        pytest.param([True], "true", id="F5-boolean"),
        pytest.param(["a", 1], '["a",1]', id="F5-composite"),
        pytest.param(['["a",1]'], '"[\\"a\\",1]"', id="F5-text-like-a-composite"),
        pytest.param([2**63], '"9223372036854775808"', id="F5-unsigned"),
        pytest.param([2**70], '"1180591620717411303424"', id="F5-huge"),
        pytest.param([-(2**63)], "-9223372036854775808", id="F5-smallest"),
        pytest.param([Decimal("1.50")], '"1.50"', id="F5-decimal"),
        pytest.param([date(2026, 1, 2)], '"2026-01-02"', id="F5-date"),
        pytest.param([datetime(2026, 1, 2, 3, tzinfo=UTC)], '"2026-01-02T03:00:00+00:00"', id="F5-time"),
        pytest.param([UUID(int=1)], '"00000000-0000-0000-0000-000000000001"', id="F5-uuid"),
        pytest.param([""], '""', id="F5-empty"),
        pytest.param([None], None, id="F5-null"),
        pytest.param(["a", None], None, id="F5-null-in-composite"),
        pytest.param(["half \ud83d"], None, id="F10-surrogate"),
    ],
)
def test_a_key_is_canonical_json_that_keeps_its_type(values: list[Any], key: str | None) -> None:
    """Numbers and texts stay apart, Unicode is not normalized, and what is NULL is no key."""
    assert canonical_key(values) == key


@given(keys=st.lists(st.lists(SCALARS, min_size=2, max_size=2), min_size=2, max_size=2))
def test_f6_different_keys_stay_different(keys: list[list[Any]]) -> None:
    """No two keys of different value or type are ever taken for one."""
    same = [[(type(value), value) for value in values] for values in keys]

    assert (canonical_key(keys[0]) == canonical_key(keys[1])) == (same[0] == same[1])


@given(values=st.lists(SCALARS, min_size=1, max_size=3))
def test_a_key_gives_its_values_back(values: list[Any]) -> None:
    """What was put into a key comes out of it, one value for each column."""
    key = canonical_key(values)

    assert key is not None
    assert key_values(key, len(values)) == values


def test_the_row_without_a_key_has_null_in_every_key_column() -> None:
    """All rows without a usable key share one place, in a table of any number of key columns."""
    assert (key_values("null", 1), key_values("null", 2)) == ([None], [None, None])
