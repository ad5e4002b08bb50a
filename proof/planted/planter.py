"""How a bug is planted: a function, a method or a constant of the product is replaced while it runs."""

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

PROJECT = ("claude_batch_dagster", "proof", "tests")
"""Packages in which a name that was imported is replaced as well."""

HERE = "proof.planted"
"""Planted code calls what it takes the place of, so its own imports stay as they are."""

ANY_NUMBER = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


class MisplacedError(Exception):
    """What a bug takes the place of is not there any more, or is called in another way: the bug must be fitted anew."""


class Planter:
    """Replaces what it is told to, and can put it back."""

    def __init__(self) -> None:
        self.replaced: list[tuple[object, str, Any]] = []
        """Owner, name, and what was there; in order."""

    def replace(self, owner: object, name: str, new: Any) -> None:
        """
        Put something else in the place of a name that `owner` itself defines: a module, a class, an object.

        What a module defines is replaced wherever the project has imported it under its name, too.
        """
        held = _held(owner, name)
        if not _is_called_alike(held, new):
            raise MisplacedError(f"{_path(owner)}.{name} is no longer called like what is put in its place")
        for holder in (owner, *_importers(owner, name, held)):
            self.replaced.append((holder, name, held))
            setattr(holder, name, new)

    def rewrite(self, owner: object, name: str, old: str, new: str) -> None:
        """Replace a text that occurs exactly once in one function, where nothing but its middle will do."""
        held = _held(owner, name)
        function = inspect.unwrap(held)
        source = textwrap.dedent(inspect.getsource(function))
        if (n := source.count(old)) != 1:
            raise MisplacedError(f"{_path(owner)}.{name} has {old!r} {n} times, not once")
        written: dict[str, Any] = {}
        code = compile(source.replace(old, new), f"<planted in {_path(owner)}.{name}>", "exec")
        exec(code, function.__globals__, written)  # noqa: S102  (our own function, with our own change)
        self.replace(owner, name, written[name])

    def undo(self) -> None:
        """Put back what was there."""
        while self.replaced:
            setattr(*self.replaced.pop())


def _held(owner: object, name: str) -> Any:
    """Return what the owner itself has under a name: as it stands in a class, so that it can be put back."""
    try:
        return vars(owner)[name] if isinstance(owner, ModuleType | type) else getattr(owner, name)
    except (KeyError, AttributeError):
        raise MisplacedError(f"{_path(owner)} defines no {name}") from None


def _is_called_alike(held: Any, new: Any) -> bool:
    """Whether a function takes the parameters of the one that it replaces, or any."""
    functions = [_function(one) for one in (held, new)]
    if functions == [None, None]:
        return True
    if None in functions:
        return False
    was, now = ([*inspect.signature(one).parameters.values()] for one in functions if one is not None)
    if any(parameter.kind in ANY_NUMBER for parameter in now):
        return True
    return len(was) == len(now) and all(
        new.name in {old.name, "_"} and new.kind == old.kind for old, new in zip(was, now, strict=True)
    )


def _function(value: Any) -> Callable[..., Any] | None:
    """Return the function in what a class or a module holds; None for a constant or a property."""
    match value:
        case FunctionType():
            return value
        case classmethod() | staticmethod():
            return value.__func__
        case _:
            return None


def _importers(owner: object, name: str, held: Any) -> Iterator[ModuleType]:
    if not isinstance(owner, ModuleType):
        return
    for module in [*sys.modules.values()]:
        path = getattr(module, "__name__", "")
        ours = path.partition(".")[0] in PROJECT and not path.startswith(HERE)
        if ours and module is not owner and vars(module).get(name) is held:
            yield module


def _path(owner: object) -> str:
    return owner.__name__ if isinstance(owner, ModuleType | type) else type(owner).__name__
