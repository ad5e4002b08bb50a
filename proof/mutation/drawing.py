"""The mutants that cosmic-ray can make of the core, and some of them, drawn at random."""

import random
from collections.abc import Sequence
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec

from proof.planted.suite import ROOT

CORE = Path("claude_batch_dagster/core")

NONSENSE = "BinaryOperator_BitOr"
"""What these operators change is `str | None`, and then nothing can be imported: no test is needed to notice."""


def mutants(files: Sequence[str]) -> list[MutationSpec]:
    """Return all mutants of these files of the core, or of all files; their paths are relative to the project."""
    paths = [ROOT / CORE / file for file in files] or sorted((ROOT / CORE).rglob("*.py"))
    with use_db(":memory:", WorkDB.Mode.create) as database:
        init(paths, database, {})
        specs = [spec for item in database.work_items for spec in item.mutations]
    sensible = [spec for spec in specs if NONSENSE not in spec.operator_name]
    return sorted(
        sensible, key=lambda spec: (str(spec.module_path), spec.start_pos, spec.operator_name, spec.occurrence)
    )


def drawn(specs: Sequence[MutationSpec], n: int | None, seed: int) -> list[MutationSpec]:
    """Return `n` of them, the same for the same seed, in an order of chance; all if there are fewer."""
    shuffled = random.Random(seed).sample(specs, len(specs))
    return shuffled if n is None else shuffled[:n]
