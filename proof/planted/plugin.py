"""
A plugin of pytest: `python -m pytest -p proof.planted.plugin --plant NAME TEST ...` runs tests with a bug in the code.

The bug is planted before a test, or what it imports, is read: so they see it, however they import.
"""

import pytest

from proof.planted.every import BUGS, find
from proof.planted.planter import MisplacedError, Planter


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a bug be named."""
    parser.addoption("--plant", metavar="NAME", help="plant one of the bugs of `python -m proof planted`")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Plant it."""
    given = early_config.known_args_namespace
    if given.plant is None:
        return
    if given.numprocesses:
        raise pytest.UsageError("a bug is planted in this process only: run with -n 0")
    try:
        find(given.plant).plant(Planter())
    except KeyError as error:
        names = ", ".join(bug.name for bug in BUGS)
        raise pytest.UsageError(f"there is no planted bug {error}. There are: {names}") from None
    except MisplacedError as error:
        raise pytest.UsageError(f"{given.plant} does not fit the code any more: {error}") from None
