"""Plant each bug in a copy of the project of its own, and see whether the tests that were named catch it."""

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from proof.mutants.mutant import Mutant
from proof.mutants.suite import ALL_PASSED, ROOT, SOME_FAILED, Suite, copied, run
from proof.scratch import scratch

N_AT_ONCE = 2

NONSENSE = ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "SyntaxError", "IndentationError")
"""Errors of code that nobody would have kept: that a test fails with one of these says nothing about the test."""


class BrokenTestsError(Exception):
    """The named tests fail without any bug, so that they prove nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one planted bug."""

    mutant: Mutant
    survived: str | None
    """Why it does not count as caught; None if it was caught."""
    told: str
    """What the first of the named tests said."""
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether every named test objected."""
        return self.survived is None


def run_all(mutants: Sequence[Mutant], on_outcome: Callable[[Outcome], None] = lambda _: None) -> list[Outcome]:
    """
    Plant each bug by itself; return what became of them, in order.

    First the named tests are run without a bug: raises `BrokenTestsError` if they do not pass then.
    """
    with scratch() as folder:
        sound = copied(ROOT, folder / "sound")
        _prove_sound(sound, mutants)
        with ThreadPoolExecutor(N_AT_ONCE) as pool:

            def challenge(mutant: Mutant) -> Outcome:
                outcome = _challenge(mutant, sound, folder / mutant.name)
                on_outcome(outcome)
                return outcome

            return list(pool.map(challenge, mutants))


def _prove_sound(sound: Path, mutants: Sequence[Mutant]) -> None:
    """Run all named tests once as they are; they compile the copy, too."""
    suite = run(sound, sorted({test_id for mutant in mutants for test_id in mutant.caught_by}))
    shutil.rmtree(sound / "tmp", ignore_errors=True)
    if suite.exit_code != ALL_PASSED:
        raise BrokenTestsError(suite.output)


def _challenge(mutant: Mutant, sound: Path, folder: Path) -> Outcome:
    """Plant one bug in a copy of the sound project and run the tests that it is to be caught by."""
    began = time.monotonic()
    shutil.copytree(sound, folder)
    path = mutant.path(folder)
    path.write_text(mutant.planted_in(path.read_text()))
    suite = run(folder, mutant.caught_by)
    shutil.rmtree(folder)
    told = next(iter(suite.failures.values()), "")
    return Outcome(mutant, _survival(mutant, suite), told, time.monotonic() - began)


def _survival(mutant: Mutant, suite: Suite) -> str | None:
    """Say why a bug was not caught; None if each named test failed, and by what it promises."""
    if suite.exit_code not in {ALL_PASSED, SOME_FAILED}:
        return f"the tests could not be run: {suite.output.strip()[-500:]}"
    for test_id in mutant.caught_by:
        why = suite.failed(test_id)
        if why is None:
            return f"{test_id} passes"
        if why.startswith(NONSENSE):
            return f"it is nonsense rather than a bug: {why}"
    return None
