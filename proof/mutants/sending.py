"""Bugs on the way out: what is sent, how often, and what an answer is taken to prove."""

from proof.mutants.mutant import Mutant

CLIENT = "tests/client/test_client.py"
SUBMISSION = "tests/core/test_core_submission.py"
SEVERAL_RUNS = "tests/core/test_core_several_runs.py"
LOST = f"{SEVERAL_RUNS}::test_a_batch_whose_answer_was_lost_is_found_adopted_and_billed_once"

SENDING = (
    Mutant(
        name="sdk-retries-on",
        what="The SDK repeats failed calls by itself; why should ours not?",
        file="client.py",
        old="        max_retries=0,\n",
        new="",
        caught_by=(f"{CLIENT}::test_f35_f47_our_client_tries_nothing_twice_and_follows_nobody",),
    ),
    Mutant(
        name="create-retried",
        what="The client has its retries set already, so the create call need not say it again.",
        file="client.py",
        old="with_options(max_retries=0, timeout=",
        new="with_options(timeout=",
        caught_by=(f"{CLIENT}::test_f35_a_create_call_is_one_post_whatever_client_it_goes_through[500]",),
    ),
    Mutant(
        name="redirects-followed",
        what="A gateway that has moved says so with a redirect.",
        file="client.py",
        old="follow_redirects=False",
        new="follow_redirects=True",
        caught_by=(
            f"{CLIENT}::test_f35_f47_our_client_tries_nothing_twice_and_follows_nobody",
            f"{CLIENT}::test_f47_a_redirect_hands_the_documents_to_nobody",
        ),
    ),
    Mutant(
        name="intent-after-post",
        what="The ledger is written once there is something to write: the answer.",
        file="core/submission.py",
        old="""\
        self.ledger.intend(*self.intent(chunk))
        try:
            batch = self.api.create(self.withhold_last_byte(chunk))
        except ApiError as error:
            return self._failed(chunk, error)
""",
        new="""\
        try:
            batch = self.api.create(chunk.body)
        except ApiError as error:
            self.ledger.intend(*self.intent(chunk))
            return self._failed(chunk, error)
        self.ledger.intend(*self.intent(chunk))
""",
        caught_by=(f"{SUBMISSION}::test_f32_f33_a_crash_leaves_what_recovery_needs",),
    ),
    Mutant(
        name="last-byte-not-withheld",
        what="A body is released when it has left, so that is when it is written down.",
        file="core/submission.py",
        old="""\
            yield held[:-1]
            self.ledger.move(chunk.nonce, to=State.RELEASED, released_at=self.clock.now())
            yield held[-1:]
""",
        new="""\
            yield held
            self.ledger.move(chunk.nonce, to=State.RELEASED, released_at=self.clock.now())
""",
        caught_by=(
            f"{SUBMISSION}::test_f23_f32_the_intent_precedes_the_first_byte_and_the_release_the_last",
            f"{SUBMISSION}::test_f32_f33_a_crash_leaves_what_recovery_needs[after it]",
        ),
    ),
    Mutant(
        name="released-before-the-first-byte",
        what="One write before the upload is simpler than one in the middle of it.",
        file="core/submission.py",
        old="""\
            held = b""
            for piece in body.pieces:
                if held:
                    yield held
                held = piece
            yield held[:-1]
            self.ledger.move(chunk.nonce, to=State.RELEASED, released_at=self.clock.now())
            yield held[-1:]
""",
        new="""\
            self.ledger.move(chunk.nonce, to=State.RELEASED, released_at=self.clock.now())
            yield from body.pieces
""",
        caught_by=(f"{SUBMISSION}::test_f32_a_body_that_broke_off_is_free_again",),
    ),
    Mutant(
        name="create-count-unchecked",
        what="The API would not accept another number of requests than it was sent.",
        file="core/submission.py",
        old="if batch.counts.total != len(chunk.passengers):",
        new="if batch.counts.total > len(chunk.passengers):",
        caught_by=(f"{SUBMISSION}::test_f48_a_batch_of_another_size_is_held_until_it_proves_itself",),
    ),
    Mutant(
        name="early-answer-not-believed",
        what="Nobody can answer a body that has not been sent whole.",
        file="core/submission.py",
        old="if self.ledger.chunk(chunk.nonce).state is State.SENDING:",
        new="if False:",
        caught_by=(f"{SUBMISSION}::test_f48_an_answer_before_the_last_byte_is_believed",),
    ),
    Mutant(
        name="no-without-envelope",
        what="A 400 is a 400, whoever says it.",
        file="core/submission.py",
        old="error.status in DEFINITE_NO and error.kind is not None",
        new="error.status in DEFINITE_NO",
        caught_by=(f"{SUBMISSION}::test_f36_to_f47_what_an_error_status_proves[True-None-400]",),
    ),
    Mutant(
        name="gateway-taken-for-the-api",
        what="An error object with a type and a message is the API's.",
        file="client.py",
        old="return kind if is_own else None, message,",
        new="return kind, message,",
        caught_by=(f"{CLIENT}::test_f45_an_error_without_the_api_s_envelope_has_no_kind",),
    ),
    Mutant(
        name="5xx-is-a-no",
        what="An internal error in the API's own words means that it did nothing.",
        file="core/submission.py",
        old="DEFINITE_NO = frozenset({400,",
        new="DEFINITE_NO = frozenset({500, 502, 503, 504, 529, 400,",
        caught_by=(f"{LOST}[F45-500]", f"{LOST}[F45-529]"),
    ),
    Mutant(
        name="lost-answer-is-a-no",
        what="A call that raised did not work, so its rows are free.",
        file="core/submission.py",
        old="        return self.ledger.move(chunk.nonce, to=State.AMBIGUOUS, note=error.brief)\n",
        new="        self.ledger.move(chunk.nonce, to=State.REFUSED, note=error.brief)\n        raise error\n",
        caught_by=(f"{LOST}[F34-reset]", f"{LOST}[F46-html]"),
    ),
    Mutant(
        name="sending-beside-an-unconfirmed-chunk",
        what="Other rows need not wait for the one chunk that is looked for.",
        file="storage/claims.py",
        old="        if place_of(account) == place_of(chunk.account):\n",
        new="        if account != chunk.account:\n",
        caught_by=(
            "tests/core/test_core_claims.py::test_f29_nothing_is_sent_while_another_run_has_a_chunk_unconfirmed",
        ),
    ),
    Mutant(
        name="sending-without-the-lock",
        what="The rows were looked up a moment ago; nobody else will have sent them.",
        file="core/pipeline.py",
        old="""\
            with self.locks.hold(self.name):
                if settled(""",
        new="""\
            if self.locks:
                if settled(""",
        caught_by=("tests/core/test_core_locks.py::test_f28_one_run_at_a_time_looks_and_sends",),
    ),
    Mutant(
        name="rows-not-looked-up-again",
        what="What is to be asked was decided before; the lock only keeps the order.",
        file="core/pipeline.py",
        old="                if isinstance(decision, Ask):\n                    params =",
        new="                decision = decision if isinstance(decision, Ask) else Ask(attempt=1, n_truncated=0)\n"
        "                if decision:\n                    params =",
        caught_by=(f"{SEVERAL_RUNS}::test_f28_rows_that_another_run_claimed_first_are_left_to_it",),
    ),
    Mutant(
        name="retry-after-not-capped",
        what="The server knows best how long it wants to be left alone.",
        file="core/waiting.py",
        old="clock.sleep(max(wait, min(at_least, MAX_RETRY_AFTER_SECONDS)))",
        new="clock.sleep(max(wait, at_least))",
        caught_by=("tests/core/test_core_waiting.py::test_f44_a_pause_is_as_long_as_the_server_asks_but_never_absurd",),
    ),
    Mutant(
        name="batch-beyond-its-bytes",
        what="A chunk is full when it has passed the limit.",
        file="core/chunks.py",
        old="n_bytes=n_bytes + size",
        new="n_bytes=n_bytes",
        caught_by=("tests/core/test_core_chunks.py::test_f18_nothing_is_lost_or_sent_twice_and_no_limit_is_passed",),
    ),
    Mutant(
        name="batch-beyond-its-dollars",
        what="What a row may cost does not change when it is asked again.",
        file="core/pipeline.py",
        old="yield replace(candidate, n_truncated=decision.n_truncated)",
        new="yield candidate",
        caught_by=(
            "tests/core/test_core_engine.py::test_a_limit_in_dollars_holds_also_for_what_is_asked_with_more_room",
        ),
    ),
    Mutant(
        name="custom-id-without-ordinal",
        what="Keys are unique, so a key is enough to tell rows apart.",
        file="core/chunks.py",
        old='f"{nonce}-{ordinal:05d}-{slug}"',
        new='f"{nonce}-{slug}"',
        caught_by=("tests/core/test_core_chunks.py::test_f20_f21_custom_ids_are_allowed_and_unique_for_any_keys",),
    ),
)
