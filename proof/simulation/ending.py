"""How every schedule ends: runs without faults until nothing is left to do, and one look back much later."""

from claude_batch_dagster.core.ledger import OPEN, State
from proof.simulation.books import Books
from proof.simulation.runs import Order, Ran, run
from proof.simulation.world import SimulatedWorld

MAX_RECOVERIES = 4
"""Runs without faults after which every document has its answer."""

BETWEEN_SECONDS = 600
"""Time from one such run to the next: batches that nobody asks for any more are not waited for."""

LATER_SECONDS = 3 * 3_600
"""After so long the API's list shows every batch, in whatever surroundings."""


def recover(world: SimulatedWorld) -> list[Ran]:
    """Run without faults until a run has nothing to send, fails at nothing, and its books balance."""
    runs = [run(world, Order())]
    while len(runs) <= MAX_RECOVERIES and not is_idle(world, runs[-1]):
        world.pass_time(BETWEEN_SECONDS)
        runs.append(run(world, Order()))
    return runs


def look_back(world: SimulatedWorld) -> list[Ran]:
    """Run once more when the API shows batches that were accepted and let go: they are watched for."""
    if not let_go(Books.of(world)):
        return []
    world.pass_time(LATER_SECONDS)
    return recover(world)


def let_go(books: Books) -> list[str]:
    """Return requests that were accepted and whose chunk was set free unseen, and not found so far."""
    planned = (books.planned[custom_id] for custom_id in books.accepted if custom_id in books.planned)
    return [row.custom_id for row in planned if row.chunk.state is State.UNSEEN]


def is_idle(world: SimulatedWorld, ran: Ran) -> bool:
    """Whether a run found nothing to do and everything in order, and no batch is on its way, asked for or not."""
    report = ran.report
    if report is None or report.n_sent or report.failure:
        return False
    return all(partition.balanced for partition in report.partitions) and not has_open_batches(world)


def has_open_batches(world: SimulatedWorld) -> bool:
    """Whether the ledger waits for any batch."""
    return any(State(state) in OPEN for (state,) in world.storage.rows("SELECT DISTINCT state FROM chunks"))
