"""What requests are going to cost: by what requests like them have cost, else by tokens counted, else by bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

from claude_batch_dagster.core.ledger import Answered
from claude_batch_dagster.core.planning.answer_length import BYTES_PER_TOKEN, answer_tokens
from claude_batch_dagster.core.pricing import FEMTO, rates_of


class Basis(StrEnum):
    """What an estimate was made from."""

    HISTORY = "history"
    """Answers to this very question."""
    SAMPLE = "sample"
    """Input tokens that the API has counted of some requests; the length of answers is guessed."""
    BYTES = "bytes"
    """Bytes of the requests; all else is guessed."""


MIN_ANSWERED = 5
"""Answers from which on it is known what one costs."""

WEIGHTY = 0.05
"""Share of all requests from which on a batch says how far an estimate may be off."""

NARROWEST = 0.05
"""How far an estimate is off at least, by its own words."""

FEWEST_MISSED = 0.75
"""By which factor it may be less than expected, where nearly every request finds the cache."""

SAMPLING = 0.1
"""How far a few requests may be from all of them."""

FEWEST_BYTES_PER_TOKEN, MOST_BYTES_PER_TOKEN = 2.0, 6.0
"""Of text in a language that is written in Latin letters; others have fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """US dollars at batch prices, with the range in which the bill is expected."""

    usd: float
    low_usd: float
    high_usd: float
    basis: Basis
    n_seen: int = 0
    """Answers, or requests of the sample, from which it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests to be sent."""

    n_requests: int
    n_bytes: int

    def __add__(self, other: Self) -> Self:
        """Return both together."""
        return type(self)(n_requests=self.n_requests + other.n_requests, n_bytes=self.n_bytes + other.n_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCost:
    """What a byte of a request costs, and what its answer costs, in US dollars at batch prices."""

    usd_per_byte: float
    usd_per_answer: float
    low: float
    """Factor by which it may be less."""
    high: float
    basis: Basis
    n_seen: int = 0

    def of(self, load: Load) -> Estimate:
        """Estimate some requests."""
        usd = load.n_bytes * self.usd_per_byte + load.n_requests * self.usd_per_answer
        return Estimate(usd=usd, low_usd=usd * self.low, high_usd=usd * self.high, basis=self.basis, n_seen=self.n_seen)


def less(cost: UnitCost, load: Load, saved_usd: float) -> UnitCost:
    """Return what a request costs where so much less is expected to be paid for the input of all of them."""
    usd = cost.of(load).usd
    per_byte = max(0.0, cost.usd_per_byte - saved_usd / load.n_bytes)
    cheaper = replace(cost, usd_per_byte=per_byte)
    # What is expected to be saved may stay away, and then it is as dear as without; or be more.
    return replace(cheaper, low=cost.low * FEWEST_MISSED, high=cost.high * usd / cheaper.of(load).usd)


def live(cost: UnitCost, model: str) -> UnitCost:
    """Return what a request costs where it is asked at once, by what it costs in a batch."""
    rates = rates_of(model)
    if rates is None:
        return cost
    read, written = (one / half for one, half in zip(rates.live[:2], rates.batch[:2], strict=True))
    return replace(cost, usd_per_byte=cost.usd_per_byte * read, usd_per_answer=cost.usd_per_answer * written)


def by_history(model: str, seen: Sequence[Answered]) -> UnitCost | None:
    """
    Estimate by what chunks with the same definition came to; None if these are too few, or the price is not known.

    What was saved by caching is in what they cost.
    """
    rates, n = rates_of(model), sum(one.n_requests for one in seen)
    if rates is None or n < MIN_ANSWERED:
        return None
    per_token = rates.batch[1] / FEMTO
    for_output = per_token * sum(one.output_tokens for one in seen)
    for_input = max(0.0, sum(one.cost_usd for one in seen) - for_output)
    cost = UnitCost(
        usd_per_byte=for_input / sum(one.n_bytes for one in seen),
        usd_per_answer=for_output / n,
        low=1,
        high=1,
        basis=Basis.HISTORY,
        n_seen=n,
    )
    # A few requests that went first say little of what many come to: they may have written what those read.
    weighty = [one for one in seen if one.n_requests >= WEIGHTY * n]
    off = [one.cost_usd / usd for one in weighty if (usd := cost.of(_load(one)).usd) > 0]
    low, high = min([*off, 1 - NARROWEST]), max([*off, 1 + NARROWEST])
    return replace(cost, low=low, high=high)


def by_sample(params: Mapping[str, Any], sample: Sequence[tuple[int, int]]) -> UnitCost | None:
    """Estimate by requests of which bytes and input tokens are known; None if there is no price, or no sample."""
    n_bytes, n_tokens = (sum(column) for column in zip(*sample, strict=True)) if sample else (0, 0)
    return _guessed(params, n_tokens / n_bytes, 1 - SAMPLING, 1 + SAMPLING, len(sample)) if n_bytes else None


def by_bytes(params: Mapping[str, Any]) -> UnitCost | None:
    """Estimate by bytes alone; None if the price is not known."""
    low, high = BYTES_PER_TOKEN / MOST_BYTES_PER_TOKEN, BYTES_PER_TOKEN / FEWEST_BYTES_PER_TOKEN
    return _guessed(params, 1 / BYTES_PER_TOKEN, low, high, 0)


def _guessed(params: Mapping[str, Any], per_byte: float, low: float, high: float, n_seen: int) -> UnitCost | None:
    rates = rates_of(str(params.get("model")))
    if rates is None:
        return None
    few, usual, many = answer_tokens(params)
    for_input, for_output = (rate / FEMTO for rate in rates.batch[:2])
    # Both ends by a request whose input and answer cost alike: which of them weighs more is not known here.
    return UnitCost(
        usd_per_byte=per_byte * for_input,
        usd_per_answer=usual * for_output,
        low=min(low, few / usual),
        high=max(high, many / usual),
        basis=Basis.SAMPLE if n_seen else Basis.BYTES,
        n_seen=n_seen,
    )


def _load(one: Answered) -> Load:
    return Load(n_requests=one.n_requests, n_bytes=one.n_bytes)
