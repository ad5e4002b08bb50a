"""What answers cost, in tokens: as their usage says it, added up by model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens that were billed, by what each costs."""

    input: int = 0
    """Neither read from the cache nor written to it."""
    output: int = 0
    cache_read: int = 0
    cache_written_5m: int = 0
    cache_written_1h: int = 0

    @classmethod
    def of(cls, usage: Mapping[str, Any]) -> "Tokens":
        """Read them off the `usage` of a message."""
        return cls(
            input=usage["input_tokens"],
            output=usage["output_tokens"],
            cache_read=usage["cache_read_input_tokens"],
            cache_written_5m=usage["cache_creation"]["ephemeral_5m_input_tokens"],
            cache_written_1h=usage["cache_creation"]["ephemeral_1h_input_tokens"],
        )

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(**{name: value + vars(other)[name] for name, value in vars(self).items()})


Bill = dict[str, Tokens]
"""By the model that has answered."""


def billed(lines: Iterable[bytes]) -> Bill:
    """Add up the usage of results; what did not succeed costs nothing."""
    bill: Bill = {}
    for line in lines:
        result = orjson.loads(line)["result"]
        if result["type"] == "succeeded":
            add(bill, result["message"]["model"], Tokens.of(result["message"]["usage"]))
    return bill


def add(bill: Bill, model: str, tokens: Tokens) -> None:
    """Put tokens of a model on a bill."""
    bill[model] = bill.get(model, Tokens()) + tokens
