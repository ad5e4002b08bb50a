"""What all checks have in common: a name, two thresholds, and what they say."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from claude_batch_dagster.errors import ConfigurationError

Level = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Check(ABC):
    """One figure, held against two thresholds: the last values that still pass."""

    warn: float
    fail: float
    blocking: bool = False
    """Whether the run fails when the check fails (not when it warns), so that nothing downstream in it is started."""

    name: ClassVar[str]
    """What Dagster calls it."""
    figure: ClassVar[str]
    """Metadata key of the figure."""
    about: ClassVar[str]
    """What Dagster shows beside the name; may name its thresholds."""
    of_the_table: ClassVar[bool] = False
    """
    Whether a run evaluates it once, for the worst of its partitions; each has its rate in its metadata.

    An evaluation costs Dagster as much as a materialization.
    """

    def __post_init__(self) -> None:
        for limit in (self.warn, self.fail):
            if isinstance(limit, bool) or not isinstance(limit, int | float):
                raise ConfigurationError(f"{self.name} takes numbers as thresholds; got {limit!r}.")
        self.check_range()
        if self.margin(self.warn) < self.margin(self.fail):
            side = "above" if self.margin(1) < self.margin(0) else "below"
            raise ConfigurationError(f"{self.name} would fail before it warns: warn must not be {side} fail.")

    @property
    def description(self) -> str:
        """What Dagster shows beside the name: what is measured, and where it warns and fails."""
        side = "below" if self.margin(1) > self.margin(0) else "above"
        limits = f"Warns {side} {self.warn:g}" + (f", fails {side} {self.fail:g}" if self.can_fail else "")
        return f"{self.about.format(check=self)} {limits}{', and then blocks' if self.blocking else ''}."

    @abstractmethod
    def check_range(self) -> None:
        """Raise unless the thresholds are values that the figure can have."""

    def margin(self, value: float) -> float:
        """Return how good a value of the figure is: more is better."""
        return -value

    def level(self, value: float) -> Level:
        """Hold a value against the thresholds."""
        if self.margin(value) < self.margin(self.fail):
            return "fail"
        return "warn" if self.margin(value) < self.margin(self.warn) else "pass"

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The thresholds as metadata; one that nothing can pass is none."""
        fails = {"claude_batch/fail_threshold": self.fail} if self.can_fail else {}
        return {"claude_batch/warn_threshold": self.warn, **fails}

    @property
    def can_fail(self) -> bool:
        """Whether there is a value that fails: none is less than a share of 0, or more than infinity."""
        is_best_high = self.margin(1) > self.margin(0)
        return math.isfinite(self.fail) and not (is_best_high and self.fail <= 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a check says of one partition."""

    level: Level
    badness: tuple[bool, float]
    """More is worse."""
    metadata: Mapping[str, Any]
    told: str | None = None
    """What is to be said beside it, in a sentence."""
