"""What is known of a model by its name, before a row is asked."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches

EFFORTS = ("low", "medium", "high", "xhigh", "max")
"""Values of `output_config.effort` (Claude docs, "Effort")."""

DATED = re.compile(r"-20\d{6}$")
"""How the name of a snapshot of a model ends."""

NOTICE_DAYS = 60
"""Days before its end from which on a model is doubtful: a table is asked for longer than that."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """The models that the SDK knows."""

    names: Collection[str]
    ends: Mapping[str, str]
    """Those that end, each with the day, such as `November 30th, 2026`."""

    def doubt_about(self, model: str, today: date) -> str | None:
        """Say what is doubtful about a model; None for one that is known, or a snapshot of one, and stays a while."""
        end = self._end_of(model)
        if end is not None:
            when = "was retired" if end <= today else "is retired"
            told = f"the model {model!r} {when} on {end:%d %B %Y}, and then the API refuses each row. Name a later one."
            return told if (end - today).days <= NOTICE_DAYS else None
        if DATED.sub("", model) in self.names or model in self.names:
            return None
        meant = "".join(f"Do you mean {name!r}? " for name in get_close_matches(model, sorted(self.names), n=1))
        return (
            f"nobody here knows the model {model!r}. {meant}If the API does not know it either, it refuses each row, "
            "hours later."
        )

    def _end_of(self, model: str) -> date | None:
        said = re.fullmatch(r"(\w+ \d+)\w*(, \d+)", self.ends.get(model, ""))
        return datetime.strptime(f"{said[1]}{said[2]} +0000", "%B %d, %Y %z").date() if said else None
