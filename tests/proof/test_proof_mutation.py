"""Mutants of the core: which are drawn, what becomes of them, and how it is written down."""

from typing import Any

import pytest

from proof.mutation.drawing import drawn, mutants
from proof.mutation.page import page
from proof.mutation.running import run_all

CHUNKS = ["tests/core/test_core_chunks.py"]

FOUND: dict[str, Any] = {
    "tests": CHUNKS,
    "seed": 1,
    "of": 90,
    "files": {"chunks.py": {"tried": 3, "killed": 2, "survived": 1}},
    "survivors": [{"file": "chunks.py", "line": 7, "operator": "Or", "old": "a | b", "new": "a  or b"}],
}


@pytest.mark.verify
def test_the_same_seed_draws_the_same_mutants() -> None:
    """Of each file that is asked for, in an order of chance; another seed draws others."""
    specs = mutants(["sending/chunks.py", "verdicts.py"])
    first, again, other = drawn(specs, 20, 1), drawn(specs, 20, 1), drawn(specs, 20, 2)

    assert first == again != other
    assert {spec.module_path.name for spec in specs} == {"chunks.py", "verdicts.py"}
    assert len(specs) > len(first) == 20


def test_the_page_has_the_figures_and_every_survivor() -> None:
    """A pipe in the code breaks no table."""
    text = page(FOUND)

    assert "3 of 90 mutants were tried (seed 1): 2 were noticed." in text
    assert "| `chunks.py` | 3 | 2 | 1 |" in text
    assert "| `chunks.py:7` | `a \\| b` | `a or b` |" in text


@pytest.mark.verify
def test_a_mutant_that_matters_is_killed_and_one_that_does_not_survives() -> None:
    """A loop over the rows that never turns is noticed; an estimate of 257 bytes in place of 256 is not."""
    chosen = {("ZeroIterationForLoop", 1): True, ("NumberReplacer", 2): False}
    by_name = {(spec.operator_name.partition("/")[2], spec.occurrence): spec for spec in mutants(["sending/chunks.py"])}

    tried = run_all([by_name[one] for one in chosen], CHUNKS, seconds=3_600)

    assert [one.killed for one in tried] == list(chosen.values())
