"""The page of docs about mutants of the core, made from what was found: `docs/reliability/mutation.md`."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from proof.mutation.found import PATH

OPENING = """\
# Mutants of the core

[Reliability](../reliability.md) / mutants of the core

[cosmic-ray](https://cosmic-ray.readthedocs.io) changes the core in every small way it knows (a comparison, a number, a
condition, a decorator), one at a time, and those of the tests named below that run the changed line are run. A change
that none of them notices is a *survivor*: either it makes no difference, or another test notices, or one is missing.
`python -m proof mutation` tries all of them, `--sample 200` as many, drawn at random.
"""


def page(found: Mapping[str, Any]) -> str:
    """Return the whole page."""
    return "\n".join([OPENING, *_figures(found), "", *_survivors(found)]) + "\n"


def written() -> str:
    """Return the page as what was found last makes it."""
    return page(json.loads(PATH.read_text()))


def _figures(found: Mapping[str, Any]) -> Iterator[str]:
    files = found["files"]
    tried, killed = (sum(figures[name] for figures in files.values()) for name in ("tried", "killed"))
    yield f"{tried:,} of {found['of']:,} mutants were tried (seed {found['seed']}): {killed:,} were noticed."
    yield f"Asked were {', '.join(f'`{test}`' for test in found['tests'])}."
    yield ""
    yield "| file | tried | noticed | survived |"
    yield "| --- | ---: | ---: | ---: |"
    for file, figures in files.items():
        yield f"| `{file}` | {figures['tried']} | {figures['killed']} | {figures['survived']} |"


def _survivors(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Survivors"
    yield ""
    yield "| line | as it is | changed to |"
    yield "| --- | --- | --- |"
    for one in sorted(found["survivors"], key=lambda one: (one["file"], one["line"])):
        yield f"| `{one['file']}:{one['line']}` | {_code(one['old'])} | {_code(one['new'])} |"


def _code(text: str) -> str:
    """Return code that cannot break a table."""
    return f"`{' '.join(text.split()).replace('|', chr(92) + '|')}`" if text else ""
