"""Memory that the database may take: little by itself, and all there is for the documents that need it."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from claude_batch_dagster.errors import WarehouseMemoryError

P = ParamSpec("P")
T = TypeVar("T")


def with_more_memory(work: Callable[P, T]) -> Callable[P, T]:
    """Let work that may be done twice be done again, once the database may take more than it takes by itself."""

    @wraps(work)
    def done(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        except WarehouseMemoryError as error:
            if not error.may_take_more:
                raise
        return work(*args, **kwargs)

    return done
