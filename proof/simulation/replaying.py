"""See one schedule again, call by call."""

import re

from proof.simulation.drawing import draw
from proof.simulation.runs import Ran
from proof.simulation.schedules import Outcome, Schedule, execute
from proof.simulation.seeds import play
from proof.simulation.storage import new_storage


def replay(text: str) -> bool:
    """Run the schedule of this text, print it, and return whether every promise was kept."""
    with new_storage() as storage:
        if match := re.fullmatch(r"seed (\d+)", text):
            script = draw(int(match[1]))
            print(script.job, *script.acts, sep="\n")
            outcome = play(script, storage)
        else:
            outcome = execute(Schedule.parse(text), storage)
    show(outcome)
    return not outcome.failure


def show(outcome: Outcome) -> None:
    """Print every call of every run, and the judgement."""
    for number, ran in enumerate(outcome.runs, 1):
        print(f"run {number}")
        for at, line in enumerate(ran.gate.trace, 1):
            print(f"  {at:4} {line}")
        print(f"  {_end(ran)}")
    print(f"trace {outcome.trace}")
    print(outcome.failure or "every promise was kept")


def _end(ran: Ran) -> str:
    if ran.crashed:
        return "the process died"
    if ran.report is None:
        return f"it raised {ran.surprise or ran.error!r}"
    return f"it failed: {ran.report.failure}" if ran.report.failure else f"it ended, {ran.report.n_sent} requests sent"
