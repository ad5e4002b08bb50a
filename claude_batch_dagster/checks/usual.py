"""Which checks an asset has."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from claude_batch_dagster.checks.check import Check
from claude_batch_dagster.checks.gold import Accuracy, LabelRecall
from claude_batch_dagster.checks.rows import (
    BudgetUsed,
    Complete,
    ErrorRate,
    ExpiryRate,
    InvalidRate,
    LabelDrift,
    PaidOnce,
    Retention,
)
from claude_batch_dagster.errors import ConfigurationError

USUAL: Mapping[type[Check], Callable[[], Check]] = {
    kind: kind
    for kind in (
        ErrorRate,
        ExpiryRate,
        InvalidRate,
        LabelDrift,
        Complete,
        PaidOnce,
        Retention,
        BudgetUsed,
        Accuracy,
        LabelRecall,
    )
}
"""All there are, in the order in which Dagster is told of them."""


NO_GOLD = "the asset has no gold rows. Leave it out, or name them: gold='labelled_tickets'."


@dataclass(frozen=True, kw_only=True)
class Has:
    """What an asset has that can be checked, beside rows."""

    labels: bool
    """An output field with a closed list of values."""
    budget: bool = False
    gold: bool = False
    """Gold rows."""

    @property
    def idle(self) -> Mapping[type[Check], str]:
        """The checks that have nothing to check, each with what is missing, and what to do about it."""
        no_labels = (
            "the output has no field with a closed list of values{}. Leave it out, or give a field such a type: "
            "Literal['low', 'high']."
        )
        lacking: Mapping[type[Check], tuple[bool, str]] = {
            LabelDrift: (self.labels, no_labels.format(" that could drift")),
            BudgetUsed: (self.budget, "the asset has no budget. Leave it out, or give one: budget=Budget(usd=10)."),
            Accuracy: (self.gold, NO_GOLD),
            LabelRecall: (self.gold and self.labels, no_labels.format("") if self.gold else NO_GOLD),
        }
        return {kind: missing for kind, (has, missing) in lacking.items() if not has}


def checks_of(given: Iterable[Check], has: Has) -> Sequence[Check]:
    """
    Return the checks of an asset: those given, and the usual ones in place of those that are not.

    Raises `ConfigurationError` for what is no check, for one that is given twice, and for one without a thing to check.
    """
    if isinstance(given, Check):
        raise ConfigurationError(f"checks= takes a list: [{type(given).__name__}(...)].")
    by_kind: dict[type[Check], Check] = {}
    for check in given:
        if type(check) not in USUAL:
            raise ConfigurationError(
                f"checks= takes instances of {', '.join(kind.__name__ for kind in USUAL)}, such as "
                f"ErrorRate(warn=0.02, fail=0.10); got {check!r}."
            )
        if by_kind.setdefault(type(check), check) is not check:
            raise ConfigurationError(f"checks= names {type(check).__name__} twice. Leave one out.")
    idle = has.idle
    for kind in by_kind.keys() & idle.keys():
        raise ConfigurationError(f"checks= names {kind.__name__}, but {idle[kind]}")
    return [by_kind.get(kind) or usual() for kind, usual in USUAL.items() if kind not in idle]
