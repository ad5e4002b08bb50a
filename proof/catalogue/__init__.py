"""
The catalogue of faults: all that can go wrong on the way of a row, and what is promised then.

A fault is proved by tests that carry its number in their id: `test_f33_...`, or a parameter called
`F34-reset`. A fault that no test carries is excused, with the reason, in `faults.csv`.
"""

import csv
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parent / "faults.csv"
ROOT = Path(__file__).parents[2]

NUMBER = re.compile(r"(?<![A-Za-z0-9])[fF]([1-9][0-9]{0,2})(?![A-Za-z0-9])")
"""A fault's number in a test id: a word of its own, underscores and dashes around it."""

LATER = frozenset({"ledger", "checks", "sensors", "spending"})
"""Stages whose faults may be excused: they are not on the way of a row, or not built yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that can go wrong."""

    id: str
    stage: str
    fault: str
    outcome: str
    """What is promised."""
    excused: str
    """Why no test carries its number; empty if one must."""


def faults() -> list[Fault]:
    """Return the catalogue, in order."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return [Fault(**row) for row in csv.DictReader(file)]


def numbers_in(test_id: str) -> set[str]:
    """Return the faults that a test id names, in the names of its function and its parameters."""
    return {f"F{number}" for number in NUMBER.findall(test_id.partition("::")[2])}


def collect() -> list[str]:
    """Return the ids of all tests there are, as pytest lists them."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  (our own tests)
    ids = [line for line in done.stdout.splitlines() if "::" in line]
    if done.returncode or not ids:
        raise RuntimeError(f"the tests cannot be collected:\n{done.stdout[-2000:]}")
    return ids


def coverage(test_ids: Iterable[str]) -> Counter[str]:
    """Count the tests that carry each fault."""
    return Counter(number for test_id in test_ids for number in numbers_in(test_id))


def complaints(catalogue: Sequence[Fault], carried: Mapping[str, int]) -> list[str]:
    """Return what is wrong: faults neither proved nor excused, excused although proved, or not in the catalogue."""
    wrong: list[str] = []
    for fault in catalogue:
        proved = carried.get(fault.id, 0) > 0
        if not fault.excused and not proved:
            wrong.append(f"{fault.id} is in no test: {fault.fault}")
        if fault.excused and proved:
            wrong.append(f"{fault.id} is excused although tests carry it")
        if fault.excused and fault.stage not in LATER:
            wrong.append(f"{fault.id} must be proved, not excused")
    known = {fault.id for fault in catalogue}
    return wrong + [f"{number} is in no catalogue" for number in carried if number not in known]
