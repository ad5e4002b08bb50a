"""Which candidate to take: the cheapest of which it is shown that it is right often enough."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.comparison import rows_in_common
from claude_batch_dagster.quality.intervals import (
    RISK,
    Flags,
    Interval,
    Tally,
    Weights,
    interval,
    lower_bound,
    p_at_most,
    percent,
    tally,
)
from claude_batch_dagster.quality.resolution import POWER, rows_to_show

Point = tuple[float, float]
"""US dollars, and accuracy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model, a prompt or both, that has answered the gold rows."""

    name: str
    cost_usd: float
    """US dollars for any number of rows, the same for all candidates."""
    matches: Flags
    """Whether each gold row's answer is right, in one order for all candidates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the gold rows say of a candidate."""

    name: str
    cost_usd: float
    accuracy: Interval
    """Of this candidate by itself (95 %)."""
    at_least: float
    """Its one-sided lower bound, at the risk that is left for it where several are tried."""
    passes: bool
    """Whether it is shown that its accuracy is above the bar."""
    on_frontier: bool
    """Whether no other costs as little and is as accurate on the gold rows, and better in one of both."""
    more_rows: int | None
    """About how many more gold rows would show it, if it is what it looks like; None if it passes, or looks worse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """The candidate to take, and why."""

    bar: float
    n: int
    """Gold rows."""
    named: Judged | None
    """The cheapest that passes; None if none does."""
    candidates: tuple[Judged, ...]
    """All of them, the cheapest first."""

    @property
    def nearest(self) -> Judged | None:
        """The one that the fewest more gold rows would decide on, of those that would be named then."""
        cheaper = self.candidates if self.named is None else self.candidates[: self.candidates.index(self.named)]
        return min((each for each in cheaper if each.more_rows), key=lambda each: each.more_rows or 0, default=None)

    def __str__(self) -> str:
        rows, near = counted(self.n, "gold row"), self.nearest
        bar = percent(self.bar)
        if self.named is not None:
            return f"{self.named.name} is the cheapest of which {rows} show that it is right in more than {bar}"
        if near is None:
            return f"none can be named: with {rows} none looks right in more than {bar}"
        more = counted(near.more_rows or 0, "more gold row")
        return f"none can be named with {rows}; about {more} would decide on {near.name}"


def name_cheapest(
    candidates: Sequence[Candidate], bar: float, weights: Weights = None, *, risk: float = RISK, n_tried: int = 0
) -> Naming:
    """
    Name the cheapest candidate whose lower bound is above a bar (0 to 1).

    However many are tried, one whose accuracy is not above the bar passes in at most 5 % of cases (`risk`):
    the most certain one is tested at the risk by the number of candidates, the next by one less, and so on until one
    fails (Holm). `n_tried` counts them all, if others were tried on these gold rows and are not among them any more.
    """
    by_cost = sorted(candidates, key=lambda each: each.cost_usd)
    n = rows_in_common(each.matches for each in by_cost)
    if not n:
        raise ConfigurationError("candidates are judged by gold rows, and there are none")
    tallies = [tally(each.matches, weights) for each in by_cost]
    points = [(each.cost_usd, own.share) for each, own in zip(by_cost, tallies, strict=True)]
    tried = max(n_tried, len(by_cost))
    judged = tuple(
        Judged(
            name=each.name,
            cost_usd=each.cost_usd,
            accuracy=interval(own),
            at_least=at_least,
            passes=passes,
            on_frontier=_on_frontier((each.cost_usd, own.share), points),
            more_rows=None if passes else _more_rows(own, n, bar, risk / tried),
        )
        for each, own, (at_least, passes) in zip(by_cost, tallies, _bounds(tallies, bar, risk, tried), strict=True)
    )
    return Naming(bar=bar, n=n, named=next((each for each in judged if each.passes), None), candidates=judged)


def in_every_field(namings: Sequence[Naming]) -> Naming:
    """
    Say what several fields say together: a candidate passes if it does in each, and is as good as in its worst.

    One that is not above the bar in some field passes there in at most 5 % of cases, so here no more often. Each of the
    `namings` is of one field, with the same candidates.
    """
    if len(namings) == 1:
        return namings[0]
    worst = [_worst(each) for each in zip(*(_by_name(naming) for naming in namings), strict=True)]
    points = [(each.cost_usd, each.accuracy.estimate) for each in worst]
    worst = [replace(each, on_frontier=_on_frontier(point, points)) for each, point in zip(worst, points, strict=True)]
    together = tuple(sorted(worst, key=lambda each: each.cost_usd))
    return Naming(
        bar=namings[0].bar,
        n=min(naming.n for naming in namings),
        named=next((each for each in together if each.passes), None),
        candidates=together,
    )


def _by_name(naming: Naming) -> list[Judged]:
    return sorted(naming.candidates, key=lambda each: each.name)


def _worst(fields: Sequence[Judged]) -> Judged:
    """Return what is said of a candidate in the field that it is shown to be least right in."""
    failed = [each.more_rows for each in fields if not each.passes]
    needed = None if None in failed else max((rows or 0 for rows in failed), default=None)
    worst = min(fields, key=lambda each: each.at_least)
    return replace(worst, passes=not failed, more_rows=needed)


def _bounds(tallies: Sequence[Tally], bar: float, risk: float, tried: int) -> list[tuple[float, bool]]:
    """Return each lower bound, at the risk that is left for it, and whether it passes: the most certain one first."""
    p_values = [p_at_most(bar, each.hits, each.n) for each in tallies]
    bounds, all_pass, left = [(0.0, False)] * len(tallies), True, risk / tried
    for rank, index in enumerate(sorted(range(len(tallies)), key=p_values.__getitem__)):
        if all_pass:  # else as little is left for this one as for the one that failed
            left = risk / (tried - rank)
            all_pass = p_values[index] <= left
        bounds[index] = (lower_bound(tallies[index].hits, tallies[index].n, left), all_pass)
    return bounds


def _on_frontier(own: Point, others: Iterable[Point]) -> bool:
    """Whether no other point costs as little and is as accurate, and better in one of both."""
    cost_usd, accuracy = own
    return not any(
        cost <= cost_usd and share >= accuracy and (cost < cost_usd or share > accuracy) for cost, share in others
    )


def _more_rows(own: Tally, n: int, bar: float, risk: float) -> int | None:
    """Return about how many more gold rows would show it, of the kind that there are; None if it looks no better."""
    needed = rows_to_show(bar, own.share, risk=risk, power=POWER)
    return None if needed is None else max(math.ceil((needed - own.n) * n / own.n), 1)
