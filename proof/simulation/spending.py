"""What was spent, against what was allowed: by the bill of the server, and by who has sent what and when."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.emulator.audit import AcceptedBatch
from claude_batch_dagster.errors import CanaryError
from proof.money import ROUNDING_USD, billed_usd, most_usd_of, usd_of
from proof.simulation.runs import FIRST_RUN, Ran
from proof.simulation.world import Sent, SimulatedWorld

LOOKED_FOR = frozenset(f"ledger move to {state}" for state in (State.AMBIGUOUS, State.ADOPTED, State.UNSEEN))
"""Calls of a run that has found a batch in doubt."""


def beyond_budget(world: SimulatedWorld) -> Iterator[str]:
    """Find more dollars than a budget allows, billed or at stake, for all that was sent in one of its times."""
    together: dict[tuple[Budget, str], list[AcceptedBatch]] = defaultdict(list)
    for batch in world.emulator.audit.accepted():
        sent = world.sent.get(batch.sha256)
        if sent and sent.budget:
            together[sent.budget, _window(world, sent, sent.budget)].append(batch)
    for (budget, window), batches in together.items():
        usd = max(_at_stake(world, batches))
        if usd > budget.usd + ROUNDING_USD:
            yield f"{usd:.8f} USD were at stake for what was sent in {window}, and {budget} is {budget.usd:.8f}"


def beyond_budget_with_live_answers(world: SimulatedWorld) -> Iterator[str]:
    """Find more dollars than a budget of all runs allows, billed for batches and for what was asked live."""
    budget, audit = world.job.spending.budget, world.emulator.audit
    if budget is None or budget.per != "backfill":
        return
    others = {batch.id for batch in audit.accepted() if not ((sent := world.sent.get(batch.sha256)) and sent.budget)}
    usd = billed_usd(world.emulator, without=others) + usd_of(audit.live_bill(), live=True)
    if usd > budget.usd + ROUNDING_USD:
        yield f"{usd:.8f} USD were billed, live answers among it, and {budget} is {budget.usd:.8f}"


def _at_stake(world: SimulatedWorld, batches: Iterable[AcceptedBatch]) -> Iterator[float]:
    """
    Yield what these could have cost together whenever one of them was accepted, and what they have cost by now.

    What had ended by then counts with its bill; what had not, with the most that it could come to.
    """
    accepted = {batch.id for batch in world.emulator.audit.accepted()}
    ended_at, earlier = world.emulator.audit.ended_at(), list[tuple[datetime | None, float, float]]()
    for batch in batches:
        at = datetime.fromisoformat(batch.created_at)
        most, usd = (
            most_usd_of(world.sent[batch.sha256].body),
            billed_usd(world.emulator, without=accepted - {batch.id}),
        )
        yield most + sum(was if ended and ended <= at else could for ended, was, could in earlier)
        earlier.append((ended_at.get(batch.id), usd, most))
    yield sum(usd for _, usd, _ in earlier)


def _window(world: SimulatedWorld, sent: Sent, budget: Budget) -> str:
    """Name the time of a budget in which something was sent."""
    match budget.per:
        case "day":
            return f"{sent.at:%Y-%m-%d}"
        case "month":
            return f"{sent.at:%Y-%m}"
        case "run":
            return FIRST_RUN if world.job.repeats else sent.run_id
        case "backfill":
            return "all runs"


def beyond_canary(world: SimulatedWorld, runs: Sequence[Ran]) -> Iterator[str]:
    """Find runs that stopped at their first rows and have sent more than those."""
    for ran in runs:
        if isinstance(ran.error, CanaryError):
            n_sent = sum(batch.n_requests for batch in _sent_by(world, ran))
            if n_sent > world.job.spending.canary:
                yield f"run {ran.run_id} stopped at its canary, and has sent {n_sent} requests"


def too_many_ahead(world: SimulatedWorld, runs: Iterable[Ran]) -> Iterator[str]:
    """Find plans of which more goes ahead than one request, or than the first rows; and whatever waits for others."""
    for ran, steps in _steps(world, runs):
        most = max(1, world.job.spending.canary)
        if len(steps) > 2 or (len(steps) == 2 and steps[0] > most):  # noqa: PLR2004  (what goes first, and the others)
            yield f"run {ran.run_id} has sent questions of one plan one after the other: {steps}"


def n_ahead(world: SimulatedWorld, runs: Iterable[Ran]) -> int:
    """Count the plans of which something went ahead."""
    return sum(len(steps) > 1 for _, steps in _steps(world, runs))


def _steps(world: SimulatedWorld, runs: Iterable[Ran]) -> Iterator[tuple[Ran, list[int]]]:
    """
    Yield runs with how many questions that nobody had asked before they have sent at each moment.

    Only undisturbed ones without a budget that have no batch to look for: others wait for whatever else, and go on
    with what is left then.
    """
    new = _new_questions(world)
    for ran in runs:
        batches = list(_sent_by(world, ran))
        is_free = not any(world.sent[batch.sha256].budget for batch in batches)
        if ran.is_undisturbed and is_free and LOOKED_FOR.isdisjoint(ran.gate.trace):
            at: dict[str, int] = defaultdict(int)
            for batch in batches:
                at[batch.created_at] += new.get(batch.id, 0)
            yield ran, [n for n in at.values() if n]


def _new_questions(world: SimulatedWorld) -> Mapping[str, int]:
    """Count the questions of each batch that no earlier one has."""
    asked: set[str] = set()
    new: dict[str, int] = defaultdict(int)
    for request in world.emulator.audit.requests():  # oldest first
        new[request.batch_id] += request.params_sha256 not in asked
        asked.add(request.params_sha256)
    return new


def _sent_by(world: SimulatedWorld, ran: Ran) -> Iterator[AcceptedBatch]:
    for batch in world.emulator.audit.accepted():
        sent = world.sent.get(batch.sha256)
        if sent and sent.run_id == ran.run_id:
            yield batch
