"""Random schedules, each from one seed."""

import time
from collections.abc import Iterable, Sequence

from proof.findings import Finding
from proof.simulation.drawing import Script, draw
from proof.simulation.ending import MAX_RECOVERIES, is_idle, look_back, recover
from proof.simulation.judge import judge
from proof.simulation.runs import Ran
from proof.simulation.schedules import Outcome, outcome_of
from proof.simulation.storage import SurvivingStorage
from proof.simulation.tally import Tally
from proof.simulation.workers import spread
from proof.simulation.world import new_world

PROMISE = (
    "Whatever strikes in any order (crashes, lost answers, faults of the API, edits, cancellations, expiry, two runs "
    "at once), each question is billed once unless the report says otherwise, and every document is answered in the end"
)
BLOCK = 50
"""Seeds that a worker takes at a time."""


def play(script: Script, storage: SurvivingStorage) -> Outcome:
    """Let everything happen, judge after each step, then run until nothing is left to do."""
    with new_world(script.job, storage) as world:
        runs: list[Ran] = []
        for act in script.acts:
            ran = act.do(world)
            runs += ran
            if ran and (judgement := judge(world, runs, finished=False)).broken:
                return outcome_of(str(script), world, runs, judgement)
        world.calm()
        runs += recover(world)
        runs += look_back(world)
        judgement = judge(world, runs, finished=True)
        if not is_idle(world, runs[-1]):
            judgement.others.append(f"after {MAX_RECOVERIES} runs without faults there still is something to do")
        return outcome_of(str(script), world, runs, judgement)


def run_block(seeds: Iterable[int], storage: SurvivingStorage) -> Tally:
    """Play a few seeds."""
    tally = Tally()
    for seed in seeds:
        tally.add(play(draw(seed), storage))
    return tally


def run_seeds(seeds: Sequence[int], *, n_processes: int = 2) -> Finding:
    """Play many seeds."""
    began = time.monotonic()
    blocks = [seeds[at : at + BLOCK] for at in range(0, len(seeds), BLOCK)]
    tally = Tally.sum(spread(run_block, blocks, n_processes=n_processes))
    named = f"{seeds[0]}..{seeds[-1]}"
    return tally.finding("seeds", PROMISE, seconds=time.monotonic() - began, seeds=named)
