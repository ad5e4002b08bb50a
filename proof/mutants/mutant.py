"""One planted bug."""

from dataclasses import dataclass
from pathlib import Path

PACKAGE = "claude_batch_dagster"


class MisplacedError(Exception):
    """The text that a bug takes the place of is not there, or is there more than once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A change that an innocent developer might make, and the tests that must object to it."""

    name: str
    what: str
    """What the developer may have thought."""
    file: str
    """Path below the package."""
    old: str
    """The text that is replaced; it occurs exactly once in the file."""
    new: str
    caught_by: tuple[str, ...]
    """Ids of tests, or of parametrized tests as a whole. Each of them must fail."""

    def path(self, root: Path) -> Path:
        """Return its file in a copy of the project."""
        return root / PACKAGE / self.file

    def planted_in(self, source: str) -> str:
        """Return the source with the bug in it."""
        n = source.count(self.old)
        if n != 1:
            raise MisplacedError(
                f"{self.name}: the text to replace occurs {n} times in {PACKAGE}/{self.file}, not once"
            )
        return source.replace(self.old, self.new)
