"""What a check-up finds."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """A run works, or may work; somebody should look."""
    PROBLEM = "problem"
    """A run cannot work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check-up."""

    subject: str
    level: Level
    text: str
    advice: str = ""
    """The next step, if one is needed."""


def ok(subject: str, text: str, advice: str = "") -> Finding:
    """Return a finding that is well."""
    return Finding(subject, Level.OK, text, advice)


def warning(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that somebody should look at."""
    return Finding(subject, Level.WARNING, text, advice)


def problem(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that keeps runs from working."""
    return Finding(subject, Level.PROBLEM, text, advice)
