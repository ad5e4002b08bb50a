"""Try mutants one at a time, each in a copy of the project, with the tests that run its line."""

import difflib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_item import MutationSpec

from proof.mutation.drawing import CORE
from proof.mutation.found import Tried
from proof.mutation.reach import Reach, measured
from proof.planted.suite import ALL_PASSED, ROOT, run
from proof.scratch import scratch

COPIED = ("claude_batch_dagster", "proof", "tests", "pyproject.toml")
"""What the tests of the core need."""

STOP_AT_THE_FIRST = ["-x", "--tb=no", "-p", "no:cov"]


def run_all(
    specs: Sequence[MutationSpec],
    asked: Sequence[str],
    seconds: float,
    on_tried: Callable[[Tried], None] = lambda _: None,
) -> list[Tried]:
    """Return what became of each mutant when these tests are asked; none is begun once so many seconds have passed."""
    began = time.monotonic()
    tried = []
    with scratch() as folder:
        copy = folder / "copy"
        _copy(copy)
        reach = measured(copy, CORE, asked)
        for spec in specs:
            if time.monotonic() - began > seconds:
                break
            if one := _challenge(spec, copy, reach):
                tried.append(one)
                on_tried(one)
    return tried


def _challenge(spec: MutationSpec, copy: Path, reach: Reach) -> Tried | None:
    """Run the quickest tests first, up to the first that fails; None if it is no Python. An endless loop is noticed."""
    path = copy / spec.module_path.relative_to(ROOT)
    operator = get_operator(spec.operator_name)(**spec.operator_args)
    file = str(spec.module_path.relative_to(ROOT / CORE))
    tests = reach.tests(file, spec.start_pos[0], spec.end_pos[0])
    with use_mutation(path, operator, spec.occurrence) as (before, after):
        if not _is_python(after):
            return None
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()  # two changes within a second, of equal length, would look like one
        killed = bool(tests) and _fail(copy, tests)
    old, new = _change(before, after)
    name = spec.operator_name.rpartition("/")[2]
    return Tried(file=file, line=spec.start_pos[0], operator=name, old=old, new=new, killed=killed)


def _copy(to: Path) -> None:
    """Copy what the tests need; bytecode too, which saves compiling it again."""
    to.mkdir()
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, to / name)


def _fail(copy: Path, tests: Sequence[str]) -> bool:
    """Whether one of these tests fails in the copy, or does not end."""
    folder = copy.with_name("run")
    failed = run(folder, [*STOP_AT_THE_FIRST, *tests], root=copy).exit_code != ALL_PASSED
    shutil.rmtree(folder)
    return failed


def _is_python(source: str) -> bool:
    """Whether it can be compiled at all: the tool takes the star of keyword-only parameters for a product."""
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _change(before: str, after: str) -> tuple[str, str]:
    """Return the changed lines as they were and as they became."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))[3:]
    old = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    new = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    return old, new
