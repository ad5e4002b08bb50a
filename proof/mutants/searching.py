"""Bugs in the search for what may have been accepted: the one place where money can be spent twice."""

from proof.mutants.mutant import Mutant

RECOVERY = "tests/core/test_core_recovery.py"
LISTING = "tests/core/test_core_listing.py"
ORPHANS = "tests/core/test_core_late_orphans.py"
PAID_ONCE = "tests/core/test_core_paid_once.py"
OTHER_KEYS = "tests/core/test_core_other_keys.py"

SEARCHING = (
    Mutant(
        name="released-taken-for-sending",
        what="A chunk without an answer was not accepted, or there would be one.",
        file="core/recovery.py",
        old="self.ledger.chunks(self.pipeline, [State.SENDING])",
        new="self.ledger.chunks(self.pipeline, [State.SENDING, State.RELEASED])",
        caught_by=(
            f"{RECOVERY}::test_f33_f50_a_chunk_whose_sender_died_after_the_last_byte_is_adopted_once_it_has_ended",
        ),
    ),
    Mutant(
        name="adopted-by-count",
        what="A new batch of exactly our size, just after our call: whose else should it be?",
        file="core/recovery.py",
        old="return nonce in nonces if nonces else None",
        new="return True if nonces else None",
        caught_by=(f"{RECOVERY}::test_f34_a_foreign_batch_of_equal_size_is_never_adopted",),
    ),
    Mutant(
        name="one-silent-listing",
        what="If the list does not have it, it is not there.",
        file="core/recovery.py",
        old="MIN_SILENT_LISTINGS = 5",
        new="MIN_SILENT_LISTINGS = 1",
        caught_by=(f"{RECOVERY}::test_silence_must_last_the_quiet_period_and_several_listings[15-600-5]",),
    ),
    Mutant(
        name="quiet-period-cut-short",
        what="Five complete listings without a trace are proof enough.",
        file="core/recovery.py",
        old="if now - since < self.quiet_period or n_listings < MIN_SILENT_LISTINGS:",
        new="if n_listings < MIN_SILENT_LISTINGS:",
        caught_by=(f"{RECOVERY}::test_f34_a_batch_that_is_listed_late_is_found_within_the_quiet_period",),
    ),
    Mutant(
        name="running-candidate-is-silence",
        what="A batch that has not ended cannot be proved ours, so it is no candidate.",
        file="core/recovery.py",
        old="and batch.counts.total == chunk.n_requests:",
        new="and batch.ended and batch.counts.total == chunk.n_requests:",
        caught_by=(
            f"{RECOVERY}::test_f33_f50_a_chunk_whose_sender_died_after_the_last_byte_is_adopted_once_it_has_ended",
        ),
    ),
    Mutant(
        name="candidate-404-is-silence",
        what="A candidate whose results are not there is not ours.",
        file="core/recovery.py",
        old="# noqa: PLR2004  (not absence: it passes)\n                return None\n",
        new="\n                return False\n",
        caught_by=(f"{PAID_ONCE}::test_f68_a_candidate_that_cannot_be_read_yet_is_not_silence",),
    ),
    Mutant(
        name="foreign-once-for-all",
        what="A batch that was looked into once and is not ours need not be looked into again.",
        file="core/recovery.py",
        old="(batch.id, chunk.chunk_id) in self.foreign",
        new="batch.id in {batch_id for batch_id, _ in self.foreign}",
        caught_by=(f"{RECOVERY}::test_f33_a_batch_that_is_not_the_chunk_looked_for_may_be_another_of_ours",),
    ),
    Mutant(
        name="failed-listing-is-silence",
        what="A list that cannot be read shows no batch of ours.",
        file="core/recovery.py",
        old="        on_trouble(error)\n        return False\n",
        new="        on_trouble(error)\n        return True\n",
        caught_by=(f"{RECOVERY}::test_f55_listings_that_fail_do_not_count_as_silence",),
    ),
    Mutant(
        name="cached-list-counts",
        what="A list that is a minute old is good enough.",
        file="core/listing.py",
        old="    if age > 0:\n",
        new="    if age > 3_600:\n",
        caught_by=(
            f"{LISTING}::test_f123_a_list_out_of_a_cache_does_not_count",
            f"{LISTING}::test_f123_a_cached_list_never_ends_the_quiet_period",
        ),
    ),
    Mutant(
        name="one-walk-only",
        what="Reading the same list twice is a waste.",
        file="core/listing.py",
        old="first, second = walk(api, clock, since), walk(api, clock, since)",
        new="first = second = walk(api, clock, since)",
        caught_by=(f"{LISTING}::test_f124_a_batch_that_only_one_walk_shows_makes_silence_worthless",),
    ),
    Mutant(
        name="own-clock-trusted",
        what="Our clock is synchronized, so the list is read back to the intent and no further.",
        file="core/listing.py",
        old="SKEW = timedelta(hours=1)",
        new="SKEW = timedelta(0)",
        caught_by=(f"{PAID_ONCE}::test_f49_a_clock_that_is_fast_does_not_hide_the_batch",),
    ),
    Mutant(
        name="held-set-free-silently",
        what="What was held once and is still not there can be sent again.",
        file="core/recovery.py",
        old='elif self.on_unconfirmed == "resubmit":',
        new="else:",
        caught_by=(f"{RECOVERY}::test_hold_leaves_the_chunk_to_a_person_until_resubmit_is_said",),
    ),
    Mutant(
        name="held-set-free-at-once",
        what="It was held after a quiet period, and who runs with resubmit need not wait for another.",
        file="core/recovery.py",
        old='self.listen(self.ledger.move(chunk.chunk_id, to=State.AMBIGUOUS, note="held; looked for once more"))',
        new='self.let_go(chunk, "held; set free by on_unconfirmed")',
        caught_by=(
            f"{RECOVERY}::test_f34_a_chunk_held_too_early_is_found_by_the_run_that_may_resubmit",
            f"{RECOVERY}::test_hold_leaves_the_chunk_to_a_person_until_resubmit_is_said",
        ),
    ),
    Mutant(
        name="named-foreign-not-listened-for",
        what="The batch that the API named is not ours, so ours was not accepted.",
        file="core/recovery.py",
        old="self.ledger.move(chunk.chunk_id, to=State.AMBIGUOUS, batch_id=None, note=reason)",
        new="self.ledger.note(chunk.chunk_id, batch_id=None)\n            self.let_go(chunk, reason)",
        caught_by=(f"{RECOVERY}::test_f48_a_chunk_whose_named_batch_is_foreign_is_listened_for",),
    ),
    Mutant(
        name="silence-of-another-workspace",
        what="One ledger, one list: whatever it holds is looked for with the key at hand.",
        file="core/recovery.py",
        old="return [chunk for chunk in chunks if place_of(chunk.account) == place_of(self.api.account)]",
        new="return list(chunks)",
        caught_by=(f"{RECOVERY}::test_f56_f112_silence_elsewhere_proves_nothing",),
    ),
    Mutant(
        name="silence-of-another-key",
        what="A key is rotated now and then, and the base URL is the same: so is what it sees.",
        file="core/recovery.py",
        old="return account == self.api.account or account in self.kindred",
        new="return place_of(account) == place_of(self.api.account)",
        caught_by=(
            f"{OTHER_KEYS}::test_f56_f112_a_key_that_does_not_see_the_batch_cannot_testify_to_its_absence",
            f"{OTHER_KEYS}::test_f112_a_key_that_sees_what_the_old_one_sent_before_can_testify[another]",
        ),
    ),
    Mutant(
        name="late-orphans-not-watched",
        what="What was let go after a quarter of an hour will not turn up any more.",
        file="core/pipeline.py",
        old="if not self.ledger.chunks(self.name, [State.UNSEEN]):",
        new="if self.name:",
        caught_by=(f"{ORPHANS}::test_f34_a_batch_that_turns_up_after_the_quiet_period_is_found_landed_and_told",),
    ),
    Mutant(
        name="named-orphan-hidden-by-its-own-id",
        what="A batch whose id stands in the ledger has been found already.",
        file="core/recovery.py",
        old="known = self.ledger.batch_ids() - {chunk.batch_id}",
        new="known = self.ledger.batch_ids()",
        caught_by=(f"{ORPHANS}::test_f48_a_batch_that_the_api_named_is_watched_for[listed-found-in-time]",),
    ),
    Mutant(
        name="named-orphan-not-asked-for",
        what="Whatever was let go turns up in the list, if it turns up at all.",
        file="core/recovery.py",
        old="(chunk.batch_id is not None and self.look_at_named(chunk)) or self",
        new="self",
        caught_by=(f"{ORPHANS}::test_f48_a_batch_that_the_api_named_is_watched_for[named-found-in-time]",),
    ),
    Mutant(
        name="duplicate-dollars-untold",
        what="Once the late batch has landed there is no doubt left to tell of.",
        file="storage/doubts.py",
        old="set_free=row.set_free_at is not None,",
        new='set_free=row.state == "unseen",',
        caught_by=(f"{ORPHANS}::test_f34_a_batch_that_turns_up_after_the_quiet_period_is_found_landed_and_told",),
    ),
    Mutant(
        name="duplicate-bound-untold",
        what="What a lost batch may have cost is not known, so nothing is said of it.",
        file="core/doubts.py",
        old="possible_duplicate_usd=sum(known) if len(known) == len(costs) else None,",
        new="possible_duplicate_usd=None,",
        caught_by=(f"{ORPHANS}::test_doubts_are_told_to_the_partitions_whose_rows_they_carry",),
    ),
)
