"""Bugs of what is stopped with a run, and of what the collect sensor starts anew."""

# Docstrings of bugs are thoughts, not orders.

from typing import Any

from claude_batch_dagster.core.ports import Batch
from claude_batch_dagster.core.running import canceling
from claude_batch_dagster.core.running.canceling import Cancellation
from claude_batch_dagster.core.running.following import Following
from proof.planted.bug import breaks
from proof.planted.planter import Planter
from proof.planted.promises import Promise

NEEDED = "tests/core/test_core_several_runs.py::test_f63_a_batch_that_others_need_is_not_canceled"


@breaks(
    Promise.STOPPED_BY_A_PERSON,
    caught_by=(f"{NEEDED}[the run that sent it still waits]", f"{NEEDED}[it has rows of another partition]"),
)
def batches_of_others_canceled(planter: Planter) -> None:
    """Who terminates a run wants its batches to stop, all of them."""

    def cancel(following: Following, **_: Any) -> Cancellation:
        chunks = [following.ledger.chunk(chunk_id) for chunk_id in sorted(following.followed | following.sent)]
        canceled = [chunk.batch_id for chunk in chunks if chunk.batch_id]
        for batch_id in canceled:
            following.api.cancel(batch_id)
        return Cancellation(canceled=canceled)

    planter.replace(canceling, "cancel", cancel)


@breaks(
    Promise.STOPPED_BY_A_PERSON,
    caught_by=("tests/dagster/test_dagster_pending.py::test_f63_what_a_person_has_canceled_is_not_started_again",),
)
def canceled_by_a_person_started_again(planter: Planter) -> None:
    """Rows on their way are rows that somebody wants."""
    planter.replace(Batch, "was_canceled", property(lambda _: False))
