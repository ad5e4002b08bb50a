"""What became of the mutants that were tried, as it is written down."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from proof.findings import FOLDER

PATH = FOLDER / "mutation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One mutant, and whether a test failed."""

    file: str
    """Below the core."""
    line: int
    operator: str
    old: str
    new: str
    killed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The mutants that were drawn, out of how many, and what became of them."""

    tests: Sequence[str]
    """Those that were asked."""
    seed: int
    n_all: int
    """Mutants that there are of the files that were asked for."""
    seconds: float
    tried: Sequence[Tried]

    def save(self) -> None:
        """Write it down: figures for each file, and each mutant that survived."""
        files = {file: self._figures(file) for file in sorted({one.file for one in self.tried})}
        survivors = [asdict(one) for one in self.tried if not one.killed]
        for survivor in survivors:
            del survivor["killed"]
        figures = {
            "tests": list(self.tests),
            "seed": self.seed,
            "of": self.n_all,
            "seconds": round(self.seconds),
            "files": files,
        }
        PATH.write_text(json.dumps({**figures, "survivors": survivors}, indent=2, ensure_ascii=False) + "\n")

    def _figures(self, file: str) -> dict[str, int]:
        killed = [one.killed for one in self.tried if one.file == file]
        return {"tried": len(killed), "killed": sum(killed), "survived": killed.count(False)}
