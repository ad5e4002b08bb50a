"""Bugs in the decision what to ask: the same question twice, or one that is not asked when it should be."""

from proof.mutants.mutant import Mutant

SEVERAL_RUNS = "tests/core/test_core_several_runs.py"
DECIDE = "tests/core/test_core_verdicts.py::test_a_row_is_asked_again_only_if_that_helps"
SHARED = "tests/core/test_core_verdicts.py::test_a_question_is_paid_for_once_whoever_asks_it"
HASH = "tests/core/test_core_requests.py::test_f110_the_hash_changes_with_anything_that_is_asked"
MODELS = "tests/core/test_core_model_changes.py"
PAID_ONCE = "tests/core/test_core_paid_once.py"

HASHED = "return Request.of(params, asked_of=self.asked_of)"


def hash_without(param: str) -> str:
    """Return code that hashes a request without one of its params."""
    rest = f'{{name: value for name, value in orjson.loads(params).items() if name != "{param}"}}'
    return (
        f"rest = Request.of(orjson.dumps({rest}), asked_of=self.asked_of)\n"
        "        return Request(params, rest.request_hash)"
    )


ASKING = (
    Mutant(
        name="hash-without-model",
        what="The question is the prompt with the document in it.",
        file="core/requests.py",
        old=HASHED,
        new=hash_without("model"),
        caught_by=(f"{HASH}[model]",),
    ),
    Mutant(
        name="hash-without-output-schema",
        what="How the answer is written down does not change the question.",
        file="core/requests.py",
        old=HASHED,
        new=hash_without("output_config"),
        caught_by=(f"{HASH}[output_config]",),
    ),
    Mutant(
        name="emulator-taken-for-claude",
        what="The same request has the same answer, wherever it is sent.",
        file="engine.py",
        old="builder = replace(question.builder, asked_of=self.api.answerer)",
        new="builder = question.builder",
        caught_by=("tests/client/test_client_answerer.py::test_rows_answered_offline_are_asked_again_of_claude",),
    ),
    Mutant(
        name="shared-question-asked-twice",
        what="A row looks at its own history.",
        file="core/verdicts.py",
        old="everyone = asked_by_anyone or history",
        new="everyone = history",
        caught_by=(
            f"{PAID_ONCE}::test_f108_another_partition_waits_for_a_question_on_its_way",
            f"{PAID_ONCE}::test_f108_another_partition_takes_over_an_answer_that_only_the_ledger_knows",
        ),
    ),
    Mutant(
        name="own-failure-hides-the-others",
        what="A row that has a history of its own needs nobody else's.",
        file="core/verdicts.py",
        old="    if flying := [record for record in everyone if record.state in OPEN]:\n",
        new="    if not history and (flying := [record for record in everyone if record.state in OPEN]):\n",
        caught_by=(f"{SHARED}[F108-own-expired-in-flight]",),  # what would be sent all the same, the claim refuses
    ),
    Mutant(
        name="invalid-counted-by-row",
        what="Every row has its two attempts.",
        file="core/verdicts.py",
        old="n_paid = sum(record.verdict in PAID_TO_REPEAT for record in told)",
        new="n_paid = sum(record.verdict in PAID_TO_REPEAT for record in history)",
        caught_by=(f"{SHARED}[F115-invalid-twice-in-all]",),
    ),
    Mutant(
        name="in-flight-asked-again",
        what="Only what is unconfirmed has to be waited for.",
        file="core/verdicts.py",
        old="import OPEN, RowRecord",
        new="import UNCONFIRMED as OPEN, RowRecord",
        caught_by=(f"{DECIDE}[F28-in-flight-accepted]", f"{DECIDE}[F28-in-flight-ended]"),
    ),
    Mutant(
        name="held-rows-asked-again",
        what="A chunk that waits for a person is not on its way.",
        file="core/ledger.py",
        old="OPEN = UNCONFIRMED | TRAVELLING | {State.HELD}",
        new="OPEN = UNCONFIRMED | TRAVELLING",
        caught_by=(f"{SEVERAL_RUNS}::test_hold_leaves_a_lost_chunk_to_a_person",),
    ),
    Mutant(
        name="invalid-for-good",
        what="The ledger knows that an answer did not fit; it need not be looked at again.",
        file="core/pipeline.py",
        old="self.collection.history(self.name, hashes)",
        new="self.ledger.history(self.name, hashes)",
        caught_by=(
            f"{MODELS}::test_answers_that_landed_under_another_model_come_back_with_their_own",
            f"{MODELS}::test_answers_in_the_table_as_invalid_are_looked_at_again",
        ),
    ),
    Mutant(
        name="unread-answer-asked-again",
        what="An answer that cannot be had just now is as good as none.",
        file="core/collection.py",
        old="self.misfits[chunk_id] = UNJUDGED",
        new="self.misfits[chunk_id] = Verdict.INVALID",
        caught_by=(f"{MODELS}::test_an_answer_that_cannot_be_looked_at_just_now_is_not_paid_for_again",),
    ),
    Mutant(
        name="lost-answer-asked-again",
        what="An answer that nobody has any more did not fit, as the ledger says.",
        file="core/collection.py",
        old="self.misfits[chunk.chunk_id] = FORGOTTEN",
        new="self.misfits[chunk.chunk_id] = Verdict.INVALID",
        caught_by=(f"{MODELS}::test_f66_an_answer_that_nobody_can_look_at_any_more_is_not_paid_for_again",),
    ),
    Mutant(
        name="home-by-any-hand",
        what="A batch that came home during this run is in the table as this run would have it.",
        file="core/pipeline.py",
        old="decision.chunk_id in self.collection.landed and",
        new="decision.chunk_id in self.home and",
        caught_by=(f"{MODELS}::test_f97_answers_that_another_model_landed_before_a_crash_are_put_right",),
    ),
    Mutant(
        name="expired-is-final",
        what="A batch that had its 24 hours had its chance.",
        file="core/verdicts.py",
        old="FREE_TO_REPEAT = frozenset({Verdict.EXPIRED, ",
        new="FREE_TO_REPEAT = frozenset({",
        caught_by=(f"{DECIDE}[expired]",),
    ),
    Mutant(
        name="invalid-asked-for-ever",
        what="An answer that does not fit may fit the next time.",
        file="core/verdicts.py",
        old="n_paid >= MAX_PAID_ATTEMPTS or ",
        new="",
        caught_by=(f"{DECIDE}[F115-invalid]", f"{DECIDE}[F115-mixed]"),
    ),
    Mutant(
        name="own-answer-to-another-question",
        what="A row that has an answer in the batch gets its own answer back.",
        file="core/collection.py",
        old="own.get((row, asked)) or by_hash.get(asked)",
        new="next((one for (mine, _), one in own.items() if mine == row), None) or by_hash.get(asked)",
        caught_by=(f"{PAID_ONCE}::test_a_row_takes_over_the_answer_to_what_it_asks_now",),
    ),
)
