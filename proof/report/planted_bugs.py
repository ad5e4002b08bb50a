"""The page of the planted bugs."""

import json
from collections.abc import Iterator, Sequence

from proof.findings import FOLDER
from proof.report.proofs import cell

OPENING = """\
# Planted bugs

[Reliability](../reliability.md) / planted bugs

A proof that cannot fail proves nothing. So bugs are planted in the product, one at a time. Each looks like a change
that an innocent developer might make, and breaks a sentence of the promise. For each, the tests that have to catch it
were named before it was planted.
"""


def planted() -> list[dict[str, object]]:
    """Return the bugs, as they were saved when they were planted last."""
    bugs: list[dict[str, object]] = json.loads((FOLDER / "planted_table.json").read_text())
    return bugs


def page(planted: Sequence[dict[str, object]]) -> str:
    """Return the page."""
    return "\n".join([OPENING, *_bugs(planted)]) + "\n"


def _bugs(planted: Sequence[dict[str, object]]) -> Iterator[str]:
    yield f"## The {len(planted)} planted bugs"
    yield ""
    yield "Each was planted alone and caught by the tests named for it. `python -m proof planted NAME` shows one."
    sentence = None
    for bug in planted:
        if bug["promise"] != sentence:
            sentence = bug["promise"]
            yield from ("", f"> {sentence}", "")
            yield "| bug | what one might have thought | caught by |"
            yield "| --- | --- | --- |"
        caught_by = bug["caught_by"]
        tests = caught_by if isinstance(caught_by, list) else [caught_by]
        named = ", ".join(dict.fromkeys(f"`{str(test).partition('::')[2].partition('[')[0]}`" for test in tests))
        yield f"| {bug['name']} | {cell(str(bug['what']))} | {named} |"
