"""Plant each bug by itself, and see whether the tests that were named catch it."""

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from proof.planted.bug import Bug
from proof.planted.suite import ALL_PASSED, SOME_FAILED, Suite, run
from proof.scratch import scratch

N_AT_ONCE = 2

NONSENSE = (
    "NameError",
    "UnboundLocalError",
    "AttributeError",
    "TypeError",
    "ImportError",
    "ModuleNotFoundError",
    "SyntaxError",
)
"""Errors of code that nobody would have kept: that a test fails with one of these says nothing about the test."""


class BrokenTestsError(Exception):
    """The named tests fail without any bug, so that they prove nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one planted bug."""

    bug: Bug
    survived: str | None
    """Why it does not count as caught; None if it was caught."""
    said: str
    """What the first of the named tests said."""
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether every named test objected."""
        return self.survived is None


def run_all(bugs: Sequence[Bug], on_outcome: Callable[[Outcome], None] = lambda _: None) -> list[Outcome]:
    """
    Plant each bug by itself; return what became of them, in order.

    First the named tests are run without a bug: raises `BrokenTestsError` if they do not pass then.
    """
    with scratch() as folder:
        _prove_sound(folder / "sound", bugs)
        with ThreadPoolExecutor(N_AT_ONCE) as pool:

            def challenge(bug: Bug) -> Outcome:
                outcome = _challenge(bug, folder / bug.name)
                on_outcome(outcome)
                return outcome

            return list(pool.map(challenge, bugs))


def _prove_sound(folder: Path, bugs: Sequence[Bug]) -> None:
    """Run all named tests once with the code as it is."""
    suite = run(folder, sorted({test_id for bug in bugs for test_id in bug.caught_by}))
    shutil.rmtree(folder, ignore_errors=True)
    if suite.exit_code != ALL_PASSED:
        raise BrokenTestsError(suite.output)


def _challenge(bug: Bug, folder: Path) -> Outcome:
    """Plant one bug and run the tests that it is to be caught by."""
    began = time.monotonic()
    suite = run(folder, bug.caught_by, bug=bug)
    shutil.rmtree(folder, ignore_errors=True)
    said = next(iter(suite.failures.values()), "")
    return Outcome(bug, _survival(bug, suite), said, time.monotonic() - began)


def _survival(bug: Bug, suite: Suite) -> str | None:
    """Say why a bug was not caught; None if each named test failed, and by what it promises."""
    if suite.exit_code not in {ALL_PASSED, SOME_FAILED}:
        return f"the tests could not be run: {suite.output.strip()[-500:]}"
    for test_id in bug.caught_by:
        why = suite.failed(test_id)
        if why is None:
            return f"{test_id} passes"
        if why.startswith(NONSENSE):
            return f"it is nonsense rather than a bug: {why}"
    return None
