"""What is answered where there is nothing to choose: made up, or quoted from the text."""

from collections.abc import Callable, Mapping
from typing import Any

from claude_batch_dagster.emulator.reading import Reading

Answerer = Callable[[Reading], Any]
Schema = Mapping[str, Any]

_FORMATS: Mapping[str, tuple[str, str]] = {
    "date": (r"\b\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])\b", "2026-01-01"),
    "date-time": (
        r"\b\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T[0-2]\d:[0-5]\d:[0-5]\dZ",
        "2026-01-01T00:00:00Z",
    ),
    "time": (r"\b[01]\d:[0-5]\d:[0-5]\dZ", "12:00:00Z"),
    "duration": (r"\bP\d+D\b", "P1D"),
    "email": (r"\b[\w.]+@[\w-]+\.[a-z]{2,}\b", "someone@example.com"),
    "hostname": (r"\b(?:[a-z0-9-]+\.)+(?:com|org|net)\b", "example.com"),
    "uri": (r"\bhttps?://[\w./-]+", "https://example.com/"),
    "ipv4": (r"\b(?:1?\d?\d\.){3}1?\d?\d\b", "192.0.2.1"),
    "ipv6": (r"\b(?:[0-9a-f]{4}:){7}[0-9a-f]{4}\b", "2001:db8::1"),
    "uuid": (
        r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        "00000000-0000-4000-8000-000000000000",
    ),
}
"""For each format how it is found in a text, and what is answered if it is not there."""


def string(schema: Schema) -> Answerer:
    """Return what answers a string: the beginning of the text, or what has the format in it."""
    if pair := _FORMATS.get(schema.get("format", "")):
        pattern, otherwise = pair
        return lambda reading: reading.first(pattern) or otherwise
    return lambda reading: reading.extract() or "empty"


def nothing(_: str) -> Answerer:
    """Return what answers null."""
    return lambda _: None


SCALARS: Mapping[str, Callable[[str], Answerer]] = {
    "integer": lambda path: lambda reading: int(reading.chance(path) * 10),
    "number": lambda path: lambda reading: round(reading.chance(path), 2),
    "boolean": lambda path: lambda reading: reading.chance(path) * 2 < 1,
}
"""What answers where the text cannot: small values that depend on the text."""
