"""What the emulator has billed, in US dollars at batch prices: the judge of every budget."""

from collections.abc import Collection
from math import inf
from typing import Any

import orjson

from claude_batch_dagster.core.pricing import FEMTO, rates_of
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.emulator.bill import Bill

ROUNDING_USD = 1e-8
"""How far two sums of the same dollars may be apart."""


CACHED = b'"cache_control"'


def usd_of(bill: Bill, *, live: bool = False) -> float:
    """Price what was billed, of batches or live; infinite where a price is not known."""
    usd = 0.0
    for model, tokens in bill.items():
        if (rates := rates_of(model)) is None:
            return inf
        plain, output, for_minutes, for_an_hour, read = rates.live if live else rates.batch
        usd += tokens.input * plain + tokens.output * output + tokens.cache_read * read
        usd += tokens.cache_written_5m * for_minutes + tokens.cache_written_1h * for_an_hour
    return usd / FEMTO


def billed_usd(emulator: Emulator, *, without: Collection[str] = ()) -> float:
    """Return what the emulator has billed by now, leaving out some batches."""
    return usd_of(emulator.audit.bill(without=without))


def most_usd_of(body: bytes) -> float:
    """Price what a batch can cost at most: a token for each byte of a request, and an answer of `max_tokens`."""
    return sum(_most_usd(request["params"]) for request in orjson.loads(body)["requests"])


def _most_usd(params: dict[str, Any]) -> float:
    sent = orjson.dumps(params)
    if (rates := rates_of(params["model"])) is None:
        return inf
    plain, output, _, written, _ = rates.batch
    femtodollars: int = len(sent) * (written if CACHED in sent else plain) + params["max_tokens"] * output
    return femtodollars / FEMTO
