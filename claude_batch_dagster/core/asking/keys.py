"""The key of a row, as text that keeps `1` and `"1"` apart."""

from collections.abc import Sequence
from typing import Any

import orjson

NO_KEY = "null"
"""Key of the one row of a partition that stands for all rows without a usable key."""

INT64 = range(-(2**63), 2**63)


def canonical_key(values: Sequence[Any]) -> str | None:
    """
    Return a key's values as canonical JSON: one value bare, several as an array.

    None when a value is NULL, so that the row cannot be told from others, or is not UTF-8.
    """
    if len(values) == 1 and type(values[0]) is int and values[0] in INT64:
        return str(values[0])
    if any(value is None for value in values):
        return None
    plain = [_plain(value) for value in values]
    try:
        return orjson.dumps(plain[0] if len(plain) == 1 else plain, default=str).decode()
    except (orjson.JSONEncodeError, UnicodeError):
        return None


def key_values(key: str, n_columns: int) -> list[Any]:
    """Return the JSON values of a canonical key, one for each key column."""
    value = orjson.loads(key)
    return value if n_columns > 1 and isinstance(value, list) else [value] * n_columns


def _plain(value: Any) -> Any:
    too_large = isinstance(value, int) and value not in INT64
    return str(value) if too_large else value
