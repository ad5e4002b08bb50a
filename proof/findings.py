"""What a proof found: one file of figures for each, from which the page of docs is made."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "findings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of one proof. Everything that went wrong is counted; a proof that holds has three zeros."""

    name: str
    """Also the name of its file and the subcommand that repeats it: `python -m proof <name>`."""
    promise: str
    """One sentence: what holds in every schedule."""
    n_schedules: int
    """Runs, cuts, cells or kills tried."""
    n_lost: int
    """Documents whose paid answer is neither in the table nor in the spool at the end."""
    n_duplicate_rows: int
    """Rows of the output table beyond one for each document."""
    n_unreported_double_bills: int
    """Documents billed twice without a word of it in the report."""
    seconds: float
    seeds: str = ""
    """Which seeds were run, such as `0..9999`."""
    facts: Mapping[str, int | float | str] = field(default_factory=dict)
    """Further figures, by what they count: `crashes`, `batches adopted`, ..."""

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, doubled or billed twice in silence."""
        return not (self.n_lost or self.n_duplicate_rows or self.n_unreported_double_bills)

    def save(self) -> Path:
        """Write the figures down for the docs."""
        path = FOLDER / f"{self.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")
        return path

    @classmethod
    def load(cls, path: Path) -> "Finding":
        """Read figures written earlier."""
        return cls(**json.loads(path.read_text()))
