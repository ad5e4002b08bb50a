"""Bugs in the search for what may have been accepted: the one place where money can be spent twice."""

# Docstrings of bugs are thoughts, not orders.
# ruff: noqa: D400, D401

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ledger import ChunkRecord, Doubt, State
from claude_batch_dagster.core.ports import Batch, BatchApi, Clock, Page
from claude_batch_dagster.core.sending import evidence, listing, recovery
from claude_batch_dagster.core.sending.evidence import Evidence
from claude_batch_dagster.core.sending.listing import Listing, Walk
from claude_batch_dagster.core.sending.recovery import Recovery
from claude_batch_dagster.errors import ApiError
from claude_batch_dagster.storage.ledger import double_payments
from proof.planted.bug import breaks
from proof.planted.planter import Planter
from proof.planted.promises import Promise

RECOVERY = "tests/core/test_core_recovery.py"
LISTING = "tests/core/test_core_listing.py"
ORPHANS = "tests/core/test_core_late_orphans.py"
OTHER_KEYS = "tests/core/test_core_other_keys.py"
HOLD = "tests/core/test_core_several_runs.py::test_hold_leaves_a_lost_chunk_to_a_person"
LATE = f"{ORPHANS}::test_f34_a_batch_that_turns_up_after_the_quiet_period_is_found_landed_and_told"
DIED = f"{RECOVERY}::test_f33_f50_a_chunk_whose_sender_died_after_the_last_byte_is_adopted_once_it_has_ended"


@breaks(Promise.SEARCHED_BEFORE_SENT_AGAIN, caught_by=(DIED,))
def released_taken_for_sending(planter: Planter) -> None:
    """A chunk without an answer was not accepted, or there would be one."""
    settle = Recovery.settle

    def boldly(self: Recovery) -> list[ChunkRecord]:
        for chunk in self.ledger.chunks(self.pipeline, [State.RELEASED]):
            self.ledger.move(chunk.chunk_id, to=State.REFUSED)
        return settle(self)

    planter.replace(Recovery, "settle", boldly)


@breaks(
    Promise.SEARCHED_BEFORE_SENT_AGAIN,
    caught_by=(f"{RECOVERY}::test_f34_a_foreign_batch_of_equal_size_is_never_adopted",),
)
def adopted_by_count(planter: Planter) -> None:
    """A new batch of exactly our size, just after our call: whose else should it be?"""
    prove = Evidence.prove

    def generously(self: Evidence, batch: Batch, nonce: str) -> bool | None:
        return None if prove(self, batch, nonce) is None else True

    planter.replace(Evidence, "prove", generously)


@breaks(Promise.SEARCHED_BEFORE_SENT_AGAIN, caught_by=(DIED,))
def running_candidate_is_silence(planter: Planter) -> None:
    """A batch that has not ended cannot be proved ours, so it is no candidate."""
    candidates = Evidence.candidates

    def ended(self: Evidence, chunk: ChunkRecord, listing: Listing) -> Iterator[Batch]:
        return (batch for batch in candidates(self, chunk, listing) if batch.ended)

    planter.replace(Evidence, "candidates", ended)


@breaks(
    Promise.SEARCHED_BEFORE_SENT_AGAIN,
    caught_by=(f"{RECOVERY}::test_silence_must_last_the_quiet_period_and_several_listings[15-600-5]",),
)
def one_silent_listing(planter: Planter) -> None:
    """If the list does not have it, it is not there."""
    planter.replace(recovery, "MIN_SILENT_LISTINGS", 1)


@breaks(
    Promise.SEARCHED_BEFORE_SENT_AGAIN,
    caught_by=(f"{RECOVERY}::test_f34_a_batch_that_is_listed_late_is_found_within_the_quiet_period",),
)
def quiet_period_cut_short(planter: Planter) -> None:
    """Five complete listings without a trace are proof enough."""
    listen = Recovery.listen

    def briefly(self: Recovery, chunk: ChunkRecord, listing: Listing) -> None:
        listen(replace(self, quiet_period=timedelta(0)), chunk, listing)

    planter.replace(Recovery, "listen", briefly)


@breaks(
    Promise.SEARCHED_BEFORE_SENT_AGAIN,
    caught_by=(f"{RECOVERY}::test_f55_listings_that_fail_do_not_count_as_silence",),
)
def failed_listing_is_silence(planter: Planter) -> None:
    """A list that cannot be read shows no batch of ours."""
    settled = recovery.settled

    def hopefully(recovery: Recovery, on_trouble: Callable[[ApiError], None] = lambda _: None) -> bool:
        troubles: list[ApiError] = []
        is_clear = settled(recovery, troubles.append)
        for trouble in troubles:
            on_trouble(trouble)
        return is_clear or bool(troubles)

    planter.replace(recovery, "settled", hopefully)


@breaks(
    Promise.SEARCHED_BEFORE_SENT_AGAIN,
    caught_by=(f"{RECOVERY}::test_f124_f125_the_list_is_read_page_by_page_down_to_the_intent",),
)
def first_page_only(planter: Planter) -> None:
    """Nobody has more than a thousand batches."""
    list_batches = AnthropicBatches.list_batches

    def at_most_a_thousand(self: AnthropicBatches, **given: Any) -> Page:
        return replace(list_batches(self, **given), has_more=False)

    planter.replace(AnthropicBatches, "list_batches", at_most_a_thousand)


@breaks(
    Promise.SEARCHED_BEFORE_SENT_AGAIN,
    caught_by=(
        f"{LISTING}::test_f123_a_list_out_of_a_cache_does_not_count",
        f"{LISTING}::test_f123_a_cached_list_never_ends_the_quiet_period",
    ),
)
def cached_list_counts(planter: Planter) -> None:
    """A list that is a minute old is good enough."""
    walk = listing.walk

    def not_so_strictly(api: BatchApi, clock: Clock, since: datetime) -> Walk:
        return replace(walk(api, clock, since), age_seconds=0.0)

    planter.replace(listing, "walk", not_so_strictly)


@breaks(
    Promise.SEARCHED_BEFORE_SENT_AGAIN,
    caught_by=(
        f"{RECOVERY}::test_f49_a_clock_that_is_set_right_after_the_intent_does_not_hide_the_batch[2-2]",
        f"{RECOVERY}::test_f34_f49_what_was_let_go_is_found_under_any_clock[2]",
    ),
)
def steps_of_the_clock_forgotten(planter: Planter) -> None:
    """How far our clock is off now tells how far it was off then."""
    planter.replace(evidence, "STEP", timedelta(0))


@breaks(
    Promise.SEARCHED_BEFORE_SENT_AGAIN,
    caught_by=(
        f"{OTHER_KEYS}::test_f56_f112_a_key_that_does_not_see_the_batch_cannot_testify_to_its_absence",
        f"{OTHER_KEYS}::test_f112_a_key_that_sees_what_the_old_one_sent_before_can_testify[another]",
    ),
)
def silence_of_another_key(planter: Planter) -> None:
    """A key is rotated now and then, and the base URL is the same: so is what it sees."""
    planter.replace(Evidence, "can_see", lambda *_: True)


@breaks(Promise.REPORTED, caught_by=(LATE,))
def late_orphans_not_watched(planter: Planter) -> None:
    """What was let go after a quarter of an hour will not turn up any more."""
    planter.replace(Recovery, "watch", lambda *_: [])


@breaks(Promise.REPORTED, caught_by=(LATE,))
def duplicate_dollars_untold(planter: Planter) -> None:
    """Once the late batch has landed there is no doubt left to tell of."""
    doubt = double_payments.doubt

    def until_it_turns_up(*facts: Any) -> Doubt:
        told = doubt(*facts)
        return replace(told, set_free=told.state is State.UNSEEN)

    planter.replace(double_payments, "doubt", until_it_turns_up)


@breaks(
    Promise.REPORTED,
    caught_by=(f"{RECOVERY}::test_hold_leaves_the_chunk_to_a_person_until_resubmit_is_said", HOLD),
)
def hold_forgotten(planter: Planter) -> None:
    """What has been silent for a quarter of an hour is not there, whatever is to be done about it."""
    listen = Recovery.listen

    def unasked(self: Recovery, chunk: ChunkRecord, listing: Listing) -> None:
        listen(replace(self, on_unconfirmed="resubmit"), chunk, listing)

    planter.replace(Recovery, "listen", unasked)
