"""One planted bug."""

from collections.abc import Callable
from dataclasses import dataclass

from proof.planted.planter import MisplacedError, Planter
from proof.planted.promises import Promise


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A change that an innocent developer might make, and the tests that must object to it."""

    promise: Promise
    """The sentence that it breaks."""
    caught_by: tuple[str, ...]
    """Ids of tests, or of parametrized tests as a whole. Each of them must fail."""
    change: Callable[[Planter], None]

    @property
    def name(self) -> str:
        """The name by which it is asked for."""
        return self.change.__name__.replace("_", "-")

    @property
    def what(self) -> str:
        """What the developer may have thought."""
        return (self.change.__doc__ or "").strip()

    @property
    def address(self) -> str:
        """Where it is defined: how another process finds it."""
        return f"{self.change.__module__}:{self.change.__name__}"

    def plant(self, planter: Planter) -> None:
        """Put it in its place; raise `MisplacedError` if that is not there, or if nothing is changed."""
        self.change(planter)
        if not planter.replaced:
            raise MisplacedError(f"{self.name} changes nothing")


def breaks(promise: Promise, *, caught_by: tuple[str, ...]) -> Callable[[Callable[[Planter], None]], Bug]:
    """Make a bug of a function that plants it; its docstring is what an innocent developer thinks."""
    return lambda change: Bug(promise=promise, caught_by=caught_by, change=change)
