"""What `claude-batch reconcile` finds out about batches whose acceptance is not known."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import anthropic
import pytest

from claude_batch_dagster.cli.sentences import found
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger
from tests.cli.conftest import FOUR, KEY, DyingApi, Program
from tests.core.clocks import CrashError
from tests.core.live_apis import Dying

NO_KEY = {"ANTHROPIC_API_KEY": None}
GOOD = dict.fromkeys(FOUR, "succeeded")


def test_f33_a_lost_batch_is_found_and_adopted(program: Program) -> None:
    """While it runs it cannot be told from others; once it has ended it is proved ours, and nothing is sent again."""
    chunk = program.lost_run()

    early = program("reconcile", code=3)
    program.world.clock.sleep(60)
    found = program("reconcile")
    again = program("reconcile", environment=NO_KEY)

    assert (
        f"Chunk {chunk.chunk_id} (4 requests of main.answers) is unconfirmed: a batch in the API's list may be" in early
    )
    [batch] = program.world.emulator.audit.accepted()
    assert found == (
        f"Chunk {chunk.chunk_id} (4 requests of main.answers) is batch {batch.id}. "
        "Its answers land with the next materialization.\n"
    )
    assert again == "Nothing is unconfirmed.\n"
    assert program.world.states() == [State.ADOPTED]
    program.world.run()
    assert (program.world.statuses(), program.world.n_billed, program.world.n_posts) == (GOOD, [1] * 4, 1)


def test_f32_a_batch_that_never_left_whole_is_free_at_once(program: Program, client: anthropic.Anthropic) -> None:
    """No waiting: the API cannot have accepted a body without its end."""
    program.world.documents(FOUR)
    with pytest.raises(CrashError):
        program.world.run(api=DyingApi(client))

    told = program("reconcile")

    assert "was not sent: never left whole" in told
    assert program.world.states() == [State.REFUSED]
    assert program("reconcile") == "Nothing is unconfirmed.\n"


def test_what_was_asked_live_is_taken_from_its_journal(program: Program) -> None:
    """No list of the API has it; elsewhere it is held, and said how to go on."""
    world = program.world
    world.documents(FOUR)
    dying = Dying(world.api, at=3, before=False)
    with pytest.raises(CrashError):
        world.run(api=dying, small_batches="live", max_live_requests=1)
    [journal] = world.state.spool.glob("*.journal")
    hidden = journal.rename(journal.with_suffix(".elsewhere"))

    held = program("reconcile")
    hidden.rename(journal)
    found = program("reconcile")

    assert "is held: asked live, and raw results are kept in " in held
    assert "Materialize there, and what was answered lands." in held
    assert "was asked live. Its answers land with the next materialization." in found
    world.run()
    assert world.statuses() == GOOD


def test_where_nothing_is_to_be_done_no_lock_is_made(program: Program, tmp_path: Path) -> None:
    """Beside a ledger that is named by its URL locks lie only once something is sent, or settled."""
    (tmp_path / "other").mkdir()
    SqlLedger(url := f"sqlite:///{tmp_path / 'other' / 'ledger.sqlite'}").dispose()
    before = sorted((tmp_path / "other").iterdir())

    assert program("--ledger-url", url, "reconcile") == "Nothing is unconfirmed.\n"
    assert sorted((tmp_path / "other").iterdir()) == before


def test_it_waits_until_a_lost_batch_is_adopted(program: Program) -> None:
    """With --wait it looks again and again, and tells each thing once."""
    program.lost_run()

    early, found = program("reconcile", "--wait").splitlines()

    assert "is unconfirmed: a batch in the API's list may be this one" in early
    assert f"is batch {program.chunk.batch_id}. Its answers land with the next materialization." in found
    assert program("reconcile", "--wait") == "Nothing is unconfirmed.\n"


@pytest.mark.verify
def test_it_holds_what_stays_unseen_and_sets_nothing_free(program: Program) -> None:
    """After the whole quiet period a person decides; the command says how, and says it again the second time."""
    chunk = program.lost_run("drop_before_accept")
    began = program.world.clock.now()

    told = program("reconcile", "--wait")

    assert (program.world.clock.now() - began).total_seconds() >= 900
    assert "not in the API's list so far, in 2 looks; it is looked for until 18:52 UTC at least" in told
    last = told.splitlines()[-1]
    assert "is held: not listed for the whole quiet period" in last
    assert f"claude-batch resolve {chunk.chunk_id} --sent BATCH_ID, or --not-sent" in last
    assert program("reconcile", "--wait").splitlines() == [last]
    assert (program.world.states(), program.world.n_posts) == ([State.HELD], 1)


def test_the_quiet_period_is_that_of_the_resource(program: Program) -> None:
    """A shorter or longer one can be given; five complete listings there must be all the same."""
    program.lost_run("drop_before_accept")
    began = program.world.clock.now()

    program("reconcile", "--wait", "--quiet-period-seconds", "30")

    assert 30 <= (program.world.clock.now() - began).total_seconds() < 300
    assert (program.chunk.state, program.chunk.n_silent_listings >= 5) == (State.HELD, True)


@pytest.mark.verify
def test_a_batch_that_turns_up_after_it_was_let_go_is_adopted(program: Program) -> None:
    """It was paid for twice, and that is said."""
    program.world.documents(FOUR)
    program.world.emulator.faults.add("list_lag", seconds=3_600)
    program.world.emulator.faults.add("drop_after_accept", endpoint="create", times=1)
    program.world.run()
    assert program.world.states() == [State.UNSEEN, State.APPLIED]
    unseen = program("reconcile")
    program.world.clock.sleep(3_600)

    found = program("reconcile")

    assert "was set free on 2026-11-20 and has not turned up" in unseen
    assert "Rows that were sent again meanwhile are paid for twice." in found
    assert program.world.states() == [State.ADOPTED, State.APPLIED]
    assert program("reconcile") == "Nothing is unconfirmed.\n"


def test_f56_f112_what_was_sent_elsewhere_is_left_to_those_who_can_see_it(program: Program, base_url: str) -> None:
    """Silence of another workspace proves nothing; the command says where to look."""
    chunk = program.lost_run("drop_before_accept")

    for _ in range(6):
        told = program("--workspace-id", "wrkspc_2", "reconcile", "--wait", "--quiet-period-seconds", "0", code=3)
        assert f"it was sent elsewhere, so look there: claude-batch --base-url {base_url}" in told
    assert program.chunk == chunk


def test_f55_an_api_in_trouble_is_waited_for_or_reported(program: Program, emulator: Emulator) -> None:
    """With --wait it tries again; without, the trouble is told in one sentence. Neither counts as silence."""
    program.lost_run("drop_before_accept")
    emulator.faults.add("500", endpoint="list", times=2)

    once = program("reconcile", code=1)
    patient = program("reconcile", "--wait", "--quiet-period-seconds", "0")

    assert once.startswith("Error: HTTP 500")
    assert patient.startswith("Trying again: HTTP 500")
    assert program.chunk.state is State.HELD


@pytest.mark.parametrize("wait", [[], ["--wait"]])
def test_f54_a_key_that_is_not_accepted_ends_the_waiting(program: Program, emulator: Emulator, wait: list[str]) -> None:
    """Trying again would not mend it; the chunk stays as it is."""
    program.lost_run()
    emulator.faults.add("401")

    for _ in range(2):
        told = program("reconcile", *wait, code=1)

        assert told.startswith("Error: HTTP 401")
        assert len(told.splitlines()) == 1
    assert program.chunk.state is State.AMBIGUOUS


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("key", "told"),
    [
        (None, "ANTHROPIC_API_KEY is not set"),
        ("", "ANTHROPIC_API_KEY is not set"),
        (f"{KEY}\n", "ANTHROPIC_API_KEY holds white space"),
        (f"{KEY}é", "ANTHROPIC_API_KEY holds white space or characters that no key has"),
    ],
)
def test_f120_a_key_that_cannot_work_is_refused_unseen(program: Program, key: str | None, told: str) -> None:
    """It is named by its variable, and never shown."""
    program.lost_run()

    assert told in program("reconcile", code=1, environment={"ANTHROPIC_API_KEY": key})


def test_a_table_is_chosen_by_name(program: Program) -> None:
    """A name that the ledger does not know is a slip, and the names that it knows are told."""
    program.lost_run()

    assert "the ledger knows no table 'main.answer'. It knows: main.answers" in program(
        "reconcile", "--pipeline", "main.answer", code=1
    )
    assert "is unconfirmed" in program("reconcile", "--pipeline", "main.answers", code=3)


def test_f123_a_list_that_proves_nothing_is_told_with_its_reason(program: Program) -> None:
    """What the look has noted is what the sentence says, once something new is noted."""
    before = replace(program.lost_run("drop_before_accept"), quiet_since=None)
    after = replace(before, note="the list of batches came from a cache on the way, 60 s old, and proves nothing")

    told = found(before, after, here=True, quiet_period=timedelta(minutes=15))

    assert told.endswith(
        "is unconfirmed: the list of batches came from a cache on the way, 60 s old, and proves nothing."
    )
