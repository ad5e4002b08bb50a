"""A trial: what candidates have answered to the same gold rows, and what is written down of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRow:
    """One gold row as one candidate has answered it."""

    status: str | None
    """The verdict on the row; None for one that is not upstream."""
    weight: float
    """How many rows of the table it stands for; 1 where each had the same chance of being drawn."""
    cost_usd: float | None
    """US dollars at batch prices for all answers to its question, whoever has paid for them; None: not known."""
    answers: Mapping[str, Any]
    """By output field; None of each where there is no usable answer."""
    truths: Mapping[str, Any]
    """By output field, of those that have a true value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedRows:
    """All gold rows as one candidate has answered them."""

    fields: tuple[str, ...]
    """Output fields of which there are true values, in the order of the output model."""
    rows: Mapping[str, TriedRow]
    """By the key as text, as JSON: the same for every candidate."""
    is_weighed: bool
    """Whether the gold rows say how many rows each stands for."""
    usd: float | None
    """US dollars at batch prices for all answers, each question once; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialLine:
    """One row of the table of a trial: a candidate, and one output field with true values."""

    candidate: str
    model: str
    prompt: str
    """Its name; `current` for that of the table."""
    effort: str | None
    is_current: bool
    """Whether it is the definition that the table has."""
    field: str
    gold_rows: int
    """Those that it is judged by: the same for all candidates."""
    answers: int | None = None
    """Those that have a usable answer; the others count as wrong."""
    right_answers: int | None = None
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    at_least: float | None = None
    """One-sided lower bound of the accuracy, at the risk that is left where several are tried."""
    passes: bool | None = None
    """Whether it is shown to be above the bar; None for a candidate that is not judged."""
    named: bool = False
    on_frontier: bool | None = None
    """Whether no other costs as little and is as accurate, and better in one of both."""
    more_rows: int | None = None
    """About how many more gold rows would show it, if it is what it looks like."""
    held_out_rows: int | None = None
    """Of the one that is named, where prompts were tried: gold rows that had no part in the choice."""
    held_out_accuracy: float | None = None
    held_out_low: float | None = None
    held_out_high: float | None = None
    cost_usd: float | None = None
    """For its answers to all gold rows, whoever has paid for them, each question once."""
    cost_per_1000_usd: float | None = None
    """For 1,000 rows, at batch prices."""
    note: str | None = None
    """Why it is not judged, if it is not."""
    run_id: str
    tried_at: datetime
