"""Bugs in what is asked live: an answer that comes once, and is not written down; a price that is another one."""

# Docstrings of bugs are thoughts, not orders.
# ruff: noqa: D401

from claude_batch_dagster.core import pricing
from claude_batch_dagster.core.collecting import answer_records
from claude_batch_dagster.core.planning.lanes import Lanes
from claude_batch_dagster.core.pricing import Cost
from claude_batch_dagster.core.retries import Came
from claude_batch_dagster.core.running.dispatch import Dispatch
from claude_batch_dagster.core.running.following import Following
from claude_batch_dagster.core.sending import live
from claude_batch_dagster.core.sending.live import LiveLane
from claude_batch_dagster.storage.duckdb.collecting.matching import SpooledReceipt
from claude_batch_dagster.storage.ledger import double_payments
from proof.planted.bug import breaks
from proof.planted.planter import Planter
from proof.planted.promises import Promise

LIVE = "tests/core/test_core_live.py"
CRASHED = f"{LIVE}::test_what_was_answered_before_a_crash_is_not_asked_again"


@breaks(Promise.WRITTEN_DOWN_FIRST, caught_by=(f"{CRASHED}[1-False]",))
def live_calls_leave_no_trace(planter: Planter) -> None:
    """An answer comes within seconds, so the journal may wait for it."""
    planter.rewrite(live._Asking, "_tried", "self.write(_line(custom_id, BEGAN))", "pass")  # noqa: SLF001  (planted)


@breaks(Promise.NOTHING_LOST, caught_by=(f"{CRASHED}[1-True]",))
def journal_of_the_dead_is_not_read(planter: Planter) -> None:
    """Whoever died has not finished, so all of it is asked anew."""
    planter.rewrite(LiveLane, "seal", "dict(_last_words(", "dict(() and _last_words(")


@breaks(Promise.REPORTED, caught_by=(f"{LIVE}::test_where_nobody_may_pay_twice_a_person_decides",))
def what_was_not_heard_was_not_asked(planter: Planter) -> None:
    """A connection that broke has brought nothing."""
    planter.replace(live, "_costs_nothing", lambda error: True)  # noqa: ARG005  (called by its name)


@breaks(Promise.REPORTED, caught_by=(f"{CRASHED}[1-False]",))
def what_was_not_heard_is_not_told(planter: Planter) -> None:
    """A row or two are not worth a word."""
    planter.replace(double_payments, "_unheard", lambda connection, pipeline: iter(()))  # noqa: ARG005  (as above)


@breaks(Promise.PAID_ONCE, caught_by=(f"{LIVE}::test_a_batch_that_has_not_ended_by_its_deadline_is_given_up",))
def deadline_waits_for_the_batch(planter: Planter) -> None:
    """It will end some time."""
    planter.replace(Following, "_give_up", lambda self, chunks, seen: None)  # noqa: ARG005  (as above)


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{LIVE}::test_a_small_plan_is_asked_live",))
def live_answers_at_half_the_price(planter: Planter) -> None:
    """A price is a price."""
    planter.rewrite(SpooledReceipt, "_match", "lane = self.chunk.lane", "lane = Lane.BATCH")


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{LIVE}::test_what_is_no_usable_answer_has_its_price_too",))
def odd_live_answers_at_half_the_price(planter: Planter) -> None:
    """What few lines cost is not worth a thought."""
    planter.replace(Cost, "at", lambda self, lane: self.batch_usd)  # noqa: ARG005  (as above)


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{LIVE}::test_half_the_money_asks_half",))
def live_requests_are_reserved_at_half_the_price(planter: Planter) -> None:
    """What a request can cost is known."""
    planter.rewrite(pricing, "most", "price.at(size.lane)", "price.batch_usd")


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{LIVE}::test_money_for_an_answer_that_was_lost_stays_reserved",))
def what_was_not_heard_costs_nothing(planter: Planter) -> None:
    """Nobody has seen an answer."""
    planter.replace(answer_records, "WORDS", {**answer_records.WORDS, Came.UNHEARD: "errored"})


@breaks(Promise.NOTHING_UNANNOUNCED, caught_by=(f"{LIVE}::test_a_plan_that_is_not_small_is_a_batch",))
def every_plan_is_small(planter: Planter) -> None:
    """Sooner is better."""
    planter.rewrite(Lanes, "plan", "len(due) < self.small_below", "self.small_below")


@breaks(Promise.PAID_ONCE, caught_by=(f"{LIVE}::test_a_plan_that_is_not_small_is_a_batch",))
def given_up_before_its_time(planter: Planter) -> None:
    """A batch is slow."""
    planter.rewrite(Dispatch, "_live", "if self.lanes.is_late:", "if self.lanes:")
