"""The results of a batch, cut at every byte: each cut is noticed, and nothing is lost or made up."""

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from proof.cuts.results import N_ROWS
from proof.cuts.world import WHOLE, CutApi, CutWorld, cut_world
from proof.findings import Finding
from proof.scratch import scratch

__all__ = ["CHAIN", "LAST", "cut_in_chains", "places_near_line_ends", "restored_in_chains", "run"]

PROMISE = "Results that end too early, at whatever byte and without a word, are downloaded again, and no row is lost."

SEED = 1
CHAIN = 20
"""Downloads cut one after the other before one comes whole."""

LAST = len(WHOLE) - 1
"""From here on nothing is lacking but, perhaps, the last newline."""

NEAR = 2
"""Bytes from a line's end that count as near it."""


def run() -> Finding:
    """
    Cut at every byte, in chains; and near each line's end, where a cut can look like the end, one by one.

    Those near a line's end also strike answers that come back into a table that was lost.
    """
    began = time.monotonic()
    with scratch() as folder:
        near = places_near_line_ends()
        problems = cut_in_chains(folder / "every", range(LAST), length=CHAIN)
        problems += cut_in_chains(folder / "near", near, length=1)
        problems += restored_in_chains(folder / "again", near, length=CHAIN)
    for problem in problems[:20]:
        print(problem)
    return Finding(
        name="cuts",
        promise=PROMISE,
        n_schedules=LAST + 2 * len(near),
        n_lost=len(problems),
        n_duplicate_rows=0,
        n_unreported_double_bills=0,
        seconds=round(time.monotonic() - began, 1),
        seeds=f"{SEED}",
        facts={
            "rows of the batch": N_ROWS,
            "bytes of its results": len(WHOLE),
            "cuts in chains": LAST,
            "cuts followed by the whole": len(near) + -(-LAST // CHAIN),
            "cuts on the way back into a table that was lost": len(near),
        },
    )


def places_near_line_ends() -> list[int]:
    """Return the places up to two bytes from the end of a line."""
    ends = [place + 1 for place, byte in enumerate(WHOLE) if byte == ord("\n")]
    near = {end + offset for end in ends for offset in range(-NEAR, NEAR + 1)}
    return sorted(place for place in near if place < LAST)


def cut_in_chains(folder: Path, places: Sequence[int], *, length: int) -> list[str]:
    """
    Cut downloads at these places, in an order that a seed decides; return what went wrong.

    After each cut the chunk waits for another download with nothing landed and nothing kept; after `length`
    cuts the whole comes, and every row has its verdict.
    """
    shuffled = random.Random(SEED).sample(places, len(places))
    api = CutApi()
    with cut_world(folder, api) as world:
        return [problem for chain in _chains(shuffled, length) for problem in _bring_home(world, api, chain)]


def _bring_home(world: CutWorld, api: CutApi, chain: Iterable[int]) -> Iterator[str]:
    for place in chain:
        api.content = WHOLE[:place]
        problems = ["taken for whole"] if world.collect() else world.faults_in_vain()
        yield from (f"cut at {place}: {problem}" for problem in problems)
        if problems:
            world.set_back()
    if world.rows():
        yield f"rows landed before the whole came, after cuts down to {place}"
    api.content = WHOLE
    problems = world.faults_at_home() if world.collect() else ["not taken for whole"]
    yield from (f"whole after a cut at {place}: {problem}" for problem in problems)
    world.set_back()


def restored_in_chains(folder: Path, places: Sequence[int], *, length: int) -> list[str]:
    """
    Cut downloads of answers that come back into a table that was lost; return what went wrong.

    After each cut no row is told as anything but what it was; after `length` cuts the whole comes.
    """
    shuffled = random.Random(SEED).sample(places, len(places))
    api = CutApi(WHOLE)
    with cut_world(folder, api) as world:
        world.collect()
        return [problem for chain in _chains(shuffled, length) for problem in _bring_back(world, api, chain)]


def _bring_back(world: CutWorld, api: CutApi, chain: Iterable[int]) -> Iterator[str]:
    world.lose()
    for place in chain:
        api.content = WHOLE[:place]
        problems = world.faults_half_restored() if world.restore() else ["taken for whole"]
        yield from (f"restored, cut at {place}: {problem}" for problem in problems)
    api.content = WHOLE
    problems = world.faults_at_home() if world.restore() is None else ["not taken for whole"]
    yield from (f"restored, whole after cuts: {problem}" for problem in problems)


def _chains(places: Sequence[int], length: int) -> Iterator[list[int]]:
    left = iter(places)
    while chain := list(islice(left, length)):
        yield chain
