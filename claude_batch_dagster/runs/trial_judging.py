"""Which candidate of a trial to take: all of them held against the same gold rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import md5

import numpy as np
import numpy.typing as npt

from claude_batch_dagster.core.reporting.trials import TriedRow, TriedRows
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.errors import GoldError
from claude_batch_dagster.quality.accuracy import Accuracy, accuracy
from claude_batch_dagster.quality.comparison import Pair, compare_neighbours
from claude_batch_dagster.quality.intervals import Weights
from claude_batch_dagster.quality.matching import Rule, matches
from claude_batch_dagster.quality.naming import Candidate, Naming, in_every_field, name_cheapest
from claude_batch_dagster.runs.candidates import CandidateTask, Trials

PER = 1_000
"""Rows of which it is told what they cost."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A candidate, and what it has answered."""

    candidate: CandidateTask
    rows: TriedRows
    problem: str | None = None
    """Why it cannot be judged, if it cannot."""

    def has_answered(self, key: str) -> bool:
        """Whether a gold row has a usable answer."""
        return self.rows.rows[key].status == Verdict.SUCCEEDED

    def usd_per_1000(self, keys: Sequence[str]) -> float:
        """Return what 1,000 rows like these gold rows cost, where the price of each is known."""
        rows = [self.rows.rows[key] for key in keys]
        return PER * float(np.average([row.cost_usd or 0.0 for row in rows], weights=[row.weight for row in rows]))


@dataclass(frozen=True, kw_only=True)
class FieldTrial:
    """What came of a trial in one output field."""

    naming: Naming
    n_answered: Mapping[str, int]
    """By candidate, how many of the gold rows that it is judged by have a usable answer."""
    right: Mapping[str, npt.NDArray[np.bool_]]
    """By candidate, whether its answer to each of these is right."""
    pairs: Sequence[Pair] = ()
    """Neighbours on the frontier: each with the next dearer one."""
    held_out: Accuracy | None = None
    """How right the one that is named is, on gold rows that had no part in the choice."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What came of a trial."""

    fields: Mapping[str, FieldTrial] = field(default_factory=dict)
    naming: Naming | None = None
    """In all fields together; None where no candidate can be judged."""
    usd_per_1000: Mapping[str, float] = field(default_factory=dict)
    """What 1,000 rows cost at batch prices, by candidate."""
    is_split: bool
    """Whether candidates are judged by one half of the gold rows, and the one that is named is told of by the other."""
    n_gold: int
    n_absent: int = 0
    """Gold rows that are not upstream."""
    n_never_asked: int = 0
    """Gold rows that no candidate can be asked about: of several rows with one key, or of an empty document."""

    @property
    def held_out(self) -> Accuracy | None:
        """How right the one that is named is on the other half, in its worst field."""
        known = [one.held_out for one in self.fields.values() if one.held_out is not None]
        return min(known, key=lambda one: one.share.low, default=None)


def judge(tried: Sequence[Tried], trials: Trials, *, n_tried: int) -> Judgement:
    """
    Hold candidates against the gold rows that are there for all of them.

    A gold row without a usable answer counts as wrong: a candidate that fails to answer is no good. `n_tried` is how
    many candidates were ever tried on these gold rows. Raises `GoldError` where no gold row tells anything.
    """
    judging = _Judging(
        judged=[one for one in tried if one.problem is None],
        trials=trials,
        n_tried=max(n_tried, len(tried)),
        n_gold=max((len(one.rows.rows) for one in tried), default=0),
    )
    return judging.judgement()


def is_chosen_by(key: str) -> bool:
    """Whether a gold row is of the half by which prompts are compared: by its key, so the same in every trial."""
    return int(md5(key.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest(), 16) % 2 == 0


@dataclass(frozen=True, kw_only=True)
class _Judging:
    """Judges candidates that have answered all that they were asked."""

    judged: Sequence[Tried]
    trials: Trials
    n_tried: int
    n_gold: int

    def judgement(self) -> Judgement:
        if not self.judged:
            return Judgement(is_split=self._is_split, n_gold=self.n_gold)
        fields = {name: found for name in self.judged[0].rows.fields if (found := self._of_field(name)) is not None}
        if not fields:
            raise GoldError(
                f"the gold rows, {self.trials.gold.source.shown_as}, tell nothing of the candidates: there is none of "
                "which both a document and a true value are there. Answers are kept: mend the gold rows and "
                "materialize again, at no cost."
            )
        naming = in_every_field([found.naming for found in fields.values()])
        return Judgement(
            fields={name: self._compared(name, found, naming) for name, found in fields.items()},
            naming=naming,
            usd_per_1000={one.candidate.name: one.usd_per_1000(self._keys) for one in self.judged},
            is_split=self._is_split,
            n_gold=self.n_gold,
            n_absent=self.n_gold - len(self._there),
            n_never_asked=len(self._there) - len(self._keys),
        )

    # --- which gold rows ----------------------------------------------------------------------------

    @property
    def _is_split(self) -> bool:
        return self.trials.n_prompts > 1

    @cached_property
    def _there(self) -> list[str]:
        """The gold rows that are upstream."""
        return [key for key in self.judged[0].rows.rows if all(one.status is not None for one in self._rows_of(key))]

    @cached_property
    def _keys(self) -> list[str]:
        """Those of them that a candidate can be asked about."""
        return [key for key in self._there if any(one.status != Verdict.REJECTED for one in self._rows_of(key))]

    def _rows_of(self, key: str) -> list[TriedRow]:
        return [one.rows.rows[key] for one in self.judged]

    def _with_truth(self, name: str, *, held_out: bool = False) -> list[str]:
        """Return the gold rows that have a true value: by which candidates are judged, or those that are held out."""
        keys = [key for key in self._keys if name in self.judged[0].rows.rows[key].truths]
        return [key for key in keys if is_chosen_by(key) != held_out] if self._is_split else [] if held_out else keys

    # --- what they say ------------------------------------------------------------------------------

    def _of_field(self, name: str) -> FieldTrial | None:
        """Judge the answers to one field; None without gold rows."""
        keys = self._with_truth(name)
        if not keys:
            return None
        right = {one.candidate.name: self._right(one, name, keys) for one in self.judged}
        candidates = [
            Candidate(name=one.candidate.name, cost_usd=one.usd_per_1000(self._keys), matches=right[one.candidate.name])
            for one in self.judged
        ]
        return FieldTrial(
            naming=name_cheapest(candidates, self.trials.bar, self._weights(keys), n_tried=self.n_tried),
            n_answered={one.candidate.name: sum(one.has_answered(key) for key in keys) for one in self.judged},
            right=right,
        )

    def _right(self, one: Tried, name: str, keys: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Say of gold rows whether they were answered, and with the true value."""
        rows = [one.rows.rows[key] for key in keys]
        answered = np.array([one.has_answered(key) for key in keys], dtype=bool)
        same = matches([row.answers[name] for row in rows], [row.truths[name] for row in rows], self._rule(name))
        return answered & same

    def _rule(self, name: str) -> Rule:
        return self.trials.gold.rules[name]

    def _weights(self, keys: Sequence[str]) -> Weights:
        rows = self.judged[0].rows
        return [rows.rows[key].weight for key in keys] if rows.is_weighed else None

    def _compared(self, name: str, found: FieldTrial, naming: Naming) -> FieldTrial:
        """Add what is told once it is known which candidate is named: in all fields, so not by this one alone."""
        frontier = [each.name for each in naming.candidates if each.on_frontier]
        pairs = compare_neighbours({one: found.right[one] for one in frontier})
        return replace(found, pairs=pairs, held_out=self._held_out(name, naming))

    def _held_out(self, name: str, naming: Naming) -> Accuracy | None:
        """Return how right the named candidate is on gold rows that had no part in the choice."""
        named = next((one for one in self.judged if naming.named and one.candidate.name == naming.named.name), None)
        keys = self._with_truth(name, held_out=True)
        return None if named is None else accuracy(self._right(named, name, keys), self._weights(keys))
