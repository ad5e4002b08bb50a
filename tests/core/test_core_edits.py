"""Documents are edited while answers are on their way: only what answers today's question gets into the table."""

from datetime import timedelta

import pytest

from claude_batch_dagster.core.ledger import State
from tests.core.clocks import CrashError, Shifted, Waking
from tests.core.world import PIPELINE, World

WAR, PEACE = {1: "a text of war"}, {1: "a text of peace"}
HOUR = 3_600


def send_and_die(world: World, *parts: str) -> None:
    """Send what there is to send, and die before the batch has ended."""
    with pytest.raises(CrashError):
        world.run(*parts, clock=Waking.never(world.clock))


@pytest.mark.verify
def test_an_edit_that_is_taken_back_while_its_batch_is_on_its_way_leaves_the_answer_that_stands(world: World) -> None:
    """The run that finds everything answered is the last word, whoever lands the batch of the edit later."""
    world.documents(WAR)
    world.run()
    world.documents(PEACE)
    send_and_die(world)
    world.documents(WAR)

    world.run()
    assert world.states() == [State.APPLIED, State.ACCEPTED]
    world.clock.sleep(HOUR)
    world.documents({7: "another war"}, part="q")
    world.run("q")

    assert world.states() == [State.APPLIED] * 3
    assert world.rows() == [(1, "war", "succeeded")]
    assert world.run().n_sent == 0


def test_an_answer_to_an_earlier_question_lands_nowhere_and_is_kept(world: World) -> None:
    """A clock that went back makes the older question look like the newer; and it may be asked again, at no cost."""
    world.documents(WAR)
    send_and_die(world)
    world.documents(PEACE)
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(Shifted(world.clock, timedelta(hours=-20))))
    world.clock.sleep(HOUR)

    world.run()
    assert world.rows() == [(1, "peace", "succeeded")]
    world.documents(WAR)
    again = world.run()

    assert (again.n_sent, world.rows()) == (0, [(1, "war", "succeeded")])
    assert world.n_billed == [1, 1]


def test_a_question_that_is_asked_again_while_its_answer_is_on_its_way_gets_it(world: World) -> None:
    """Edited, materialized, edited back, materialized: the first batch is what is waited for after all."""
    world.documents(WAR)
    send_and_die(world)
    world.documents(PEACE)
    send_and_die(world)
    world.documents(WAR)

    report = world.run()

    assert (report.n_sent, report.failure) == (0, None)
    assert world.rows() == [(1, "war", "succeeded")]
    assert world.n_accepted == 2


@pytest.mark.verify
def test_a_run_waits_for_what_its_rows_ask_by_now_and_keeps_what_they_asked_before(world: World) -> None:
    """As while a new prompt is deployed: whoever asks the old question again has its answer, at no cost."""
    world.documents(WAR)

    def edit() -> None:
        world.documents(PEACE)
        send_and_die(world)

    report = world.run(clock=Waking(world.clock, edit))

    assert (report.n_sent, report.failure, world.rows()) == (1, None, [(1, "peace", "succeeded")])
    world.documents(WAR)
    assert (world.run().n_sent, world.rows(), world.n_billed) == (0, [(1, "war", "succeeded")], [1, 1])


@pytest.mark.verify
def test_a_row_says_of_the_answer_that_it_keeps_that_it_is_of_an_earlier_question(world: World) -> None:
    """As long as there is none to the newer one; and no longer when the earlier question is asked again."""
    world.documents(WAR)
    world.run()
    world.documents(PEACE)
    send_and_die(world)
    kept = "this answer is kept from an earlier request; the newer one is not answered yet"
    assert world.rows("label, status, error") == [("war", "succeeded", kept)]

    world.documents(WAR)
    world.run()

    assert world.rows("label, status, error") == [("war", "succeeded", None)]


@pytest.mark.verify
def test_answers_about_documents_that_are_gone_do_not_come_back(world: World) -> None:
    """Whoever lands them: a run of that partition, or of another."""
    world.documents({1: "a text of war", 2: "a text of peace"})
    send_and_die(world)
    world.documents({2: "a text of peace"})
    send_and_die(world)
    world.clock.sleep(HOUR)
    world.documents({7: "another war"}, part="q")

    world.run("q")

    assert world.rows() == [(2, "peace", "succeeded")]


@pytest.mark.verify
def test_a_batch_that_was_let_go_and_turns_up_after_an_edit_does_not_undo_it(world: World) -> None:
    """It is found, paid for and told; its answer is to a question of yesterday."""
    world.documents(WAR)
    world.emulator.faults.add("drop_after_accept", times=1)
    world.emulator.faults.add("list_lag", seconds=2 * HOUR)
    world.run()
    assert world.states() == [State.UNSEEN, State.APPLIED]
    world.documents(PEACE)
    world.run()

    world.clock.sleep(3 * HOUR)
    world.run()

    assert world.states() == [State.APPLIED] * 3
    assert world.rows() == [(1, "peace", "succeeded")]


@pytest.mark.verify
@pytest.mark.parametrize("text", ["peace", "war"])
def test_a_row_that_shares_a_question_gets_its_verdict_though_the_other_keeps_an_older_answer(
    world: World, text: str
) -> None:
    """The failed one stays out of the table where a good answer stands; the row that has none shows the failure."""
    world.documents({1: "a text of war"})
    world.run()
    world.documents({1: f"a text of {text}, bad", 2: f"a text of {text}, bad"})
    world.emulator.faults.add("not_json")

    reports = [world.run(), world.run()]

    assert [report.n_sent for report in reports] == [2, 0]
    assert world.rows() == [(1, "war", "succeeded"), (2, None, "invalid")]
    assert all(report.partitions[0].balanced for report in reports)


@pytest.mark.verify
def test_a_row_that_shares_a_question_waits_where_its_verdict_cannot_be_had(world: World) -> None:
    """The spool was deleted and the API is down: the run fails and says so; the next one has it."""
    world.documents(WAR)
    world.run()
    world.emulator.faults.add("not_json")
    world.documents({1: "bad"})
    world.run()
    world.emulator.faults.clear()
    for file in world.state.spool.iterdir():
        file.unlink()
    world.sql("DELETE FROM claude_batch.answers")
    world.documents({1: "bad", 2: "bad"})
    world.emulator.faults.add("500", endpoint="results")

    failed = world.run()
    world.emulator.faults.clear()
    report = world.run()

    assert failed.failure is not None
    assert failed.unfinished == {"p"}
    assert (report.failure, report.n_sent) == (None, 0)
    assert world.rows() == [(1, "war", "succeeded"), (2, None, "invalid")]


# --- two runs --------------------------------------------------------------------------------------


def test_a_later_run_that_lands_both_batches_has_the_last_word(world: World) -> None:
    """The earlier run finds its batch landed by the other, and does not put its answer over the newer one."""
    world.documents(WAR)

    def edit() -> None:
        world.documents(PEACE)
        world.run()

    report = world.run(clock=Waking(world.clock, edit))

    assert report.failure is None
    assert world.rows() == [(1, "peace", "succeeded")]


def test_f95_a_document_that_was_deleted_while_a_run_waits_does_not_come_back(world: World) -> None:
    """Another run has landed its answer and removed its row: the run that waited brings neither back."""
    world.documents({1: "a text of war", 2: "a text of peace"})

    def delete() -> None:
        world.documents({2: "a text of peace"})
        world.run()

    world.run(clock=Waking(world.clock, delete))

    assert world.rows() == [(2, "peace", "succeeded")]


@pytest.mark.verify
def test_a_question_that_a_later_run_has_replaced_is_not_asked_again(world: World) -> None:
    """It expired, which costs nothing; asking once more would, for an answer that nobody wants."""
    world.documents(WAR)
    world.emulator.faults.add("expired", times=1)

    def edit() -> None:
        world.documents(PEACE)
        send_and_die(world)

    world.run(clock=Waking(world.clock, edit))
    world.clock.sleep(HOUR)
    world.run()

    assert world.rows() == [(1, "peace", "succeeded")]
    assert world.n_billed == [1]


# --- failures that come late, or are shared --------------------------------------------------------


def late_failure(world: World, *afterwards: str) -> None:
    """Ask a question whose first batch is let go, turns up hours later, and has expired; others fail as said."""
    world.documents(WAR)
    world.emulator.faults.add("drop_after_accept", times=1)
    world.emulator.faults.add("list_lag", seconds=2 * HOUR)
    for fault, times in (("expired", 1), *((fault, None) for fault in afterwards)):
        world.emulator.faults.add(fault, times=times)
    world.run()
    world.clock.sleep(3 * HOUR)
    world.run()
    assert world.states() == [State.APPLIED] * 2


@pytest.mark.verify
def test_f34_a_failure_that_turns_up_late_says_nothing_against_the_answer_that_stands(world: World) -> None:
    """It is of an earlier attempt at the very same question."""
    late_failure(world)

    assert world.rows("id, label, status, error") == [(1, "war", "succeeded", None)]


def test_f34_a_failure_that_turns_up_late_does_not_hide_the_final_one(world: World) -> None:
    """Who reads `expired` materializes again, in vain: the question was refused since."""
    late_failure(world, "refusal")

    assert world.rows() == [(1, None, "refused")]


@pytest.mark.verify
def test_of_several_failures_of_a_question_the_one_that_counts_is_shared(world: World) -> None:
    """A row of another partition may show an older one."""
    world.documents(WAR)
    world.run()
    world.documents({9: "bad"}, part="z")
    world.emulator.faults.add("expired")
    world.run("z", max_attempts=1)
    world.emulator.faults.clear()
    world.emulator.faults.add("refusal")
    world.documents({1: "bad", 2: "bad"})

    sent = [world.run().n_sent for _ in range(2)]

    assert sent == [1, 0]
    assert world.rows() == [(1, "war", "succeeded"), (2, None, "refused")]
    assert world.run("z").n_sent == 0


@pytest.mark.verify
def test_a_failure_that_cannot_be_had_holds_back_no_other(world: World) -> None:
    """Two failures, each shared, in two batches; the results of one are gone from the disk while the API is down."""
    for part in ("p", "q"):
        world.documents({1: f"a text of war, {part}"}, part=part)
        world.run(part)
    world.emulator.faults.add("not_json")
    failed = set[str]()
    for part in ("p", "q"):
        world.documents({1: f"bad {part}"}, part=part)
        world.run(part)
        failed.add(f"run-{world.n_runs}")
        world.documents({1: f"bad {part}", 2: f"bad {part}"}, part=part)
    world.emulator.faults.clear()
    for chunk in world.ledger.chunks(PIPELINE, State):
        if world.ledger.requests(chunk.chunk_id).partition_keys == ("p",) and chunk.run_id in failed:
            (world.state.spool / f"{chunk.batch_id}.jsonl").unlink()
    world.sql("DELETE FROM claude_batch.answers")
    world.emulator.faults.add("500", endpoint="results")

    report = world.run("p", "q")

    assert report.failure is not None
    assert report.unfinished == {"p"}
    assert world.statuses("q") == {1: "succeeded", 2: "invalid"}
    world.emulator.faults.clear()
    assert world.run("p").failure is None
    assert world.statuses("p") == {1: "succeeded", 2: "invalid"}
