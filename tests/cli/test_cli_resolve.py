"""What a person may say of a batch with `claude-batch resolve`, and what is believed without a proof."""

import anthropic
import pytest

from claude_batch_dagster.core.ledger import ChunkRecord, State
from claude_batch_dagster.emulator import Emulator
from tests.cli.conftest import FOUR, KEY, DyingApi, Program
from tests.core.clocks import CrashError
from tests.core.world import BASE

pytestmark = pytest.mark.verify
"""Of what is rare: on every push."""

GOOD = dict.fromkeys(FOUR, "succeeded")


def held(program: Program, fault: str = "drop_before_accept") -> ChunkRecord:
    """Lose a batch and look for it in vain until it is held."""
    program.lost_run(fault)
    program("reconcile", "--wait")
    assert program.chunk.state is State.HELD
    return program.chunk


def held_although_sent(program: Program, emulator: Emulator) -> tuple[ChunkRecord, str]:
    """Hold a batch that the API accepted and did not list in time; return it with its id."""
    emulator.faults.add("list_lag", seconds=7_200)
    chunk = held(program, "drop_after_accept")
    [batch] = emulator.audit.accepted()
    return chunk, batch.id


def foreign_batch(client: anthropic.Anthropic, n: int = 4) -> str:
    """Send a batch of somebody else's, of `n` requests; return its id."""
    requests = [
        {"custom_id": f"theirs-{key}", "params": {**BASE, "messages": [{"role": "user", "content": "x"}]}}
        for key in range(n)
    ]
    return client.messages.batches.create(requests=requests).id  # type: ignore[arg-type]  # plain dicts


# --- it was never accepted -------------------------------------------------------------------------


def test_a_held_batch_is_set_free_on_a_persons_word(program: Program) -> None:
    """After a question that says what it can cost; then its rows are sent again. The second time changes nothing."""
    chunk = held(program)

    told = program("resolve", chunk.chunk_id, "--not-sent", answer="y\n")
    again = program("resolve", chunk.chunk_id, "--not-sent")

    assert "(4 requests of main.answers) is held: not listed for the whole quiet period." in told
    assert f"sending its rows again pays at most ${chunk.max_cost_usd:.6f} twice" in told
    assert "the next materialization sends them again" in told
    assert again == f"The rows of chunk {chunk.chunk_id} are free already. Nothing to do.\n"
    assert program.chunk.state is State.UNSEEN
    assert program.json()["pipelines"][0]["n_possible_duplicates"] == 4
    program.world.run()
    assert (program.world.statuses(), program.world.n_accepted) == (GOOD, 1)


def test_whoever_says_no_to_the_question_changes_nothing(program: Program) -> None:
    """Exit code 1, and the batch is held as before."""
    chunk = held(program)

    for answer in ("n\n", ""):
        assert "Set its rows free to be sent again?" in program(
            "resolve", chunk.chunk_id, "--not-sent", answer=answer, code=1
        )

    assert program.chunk == chunk


def test_it_can_be_said_without_a_question_and_without_the_api(program: Program) -> None:
    """With --yes; that the API was not asked once more is told."""
    chunk = held(program)

    told = program("resolve", chunk.chunk_id, "--not-sent", "--yes", environment={"ANTHROPIC_API_KEY": None})

    assert told.startswith("It was not looked for once more: ANTHROPIC_API_KEY is not set")
    assert program.chunk.state is State.UNSEEN


def test_a_proof_outweighs_a_persons_word(program: Program, emulator: Emulator) -> None:
    """If the last look finds the batch, its rows are not set free, and the command to adopt it is told."""
    chunk, batch_id = held_although_sent(program, emulator)
    program.world.clock.sleep(7_200)

    for _ in range(2):
        told = program("resolve", chunk.chunk_id, "--not-sent", "--yes", code=1)

        assert f"was sent: batch {batch_id} carries its custom_ids. Nothing was set free." in told
        assert f"claude-batch resolve {chunk.chunk_id} --sent {batch_id}" in told
    assert program.chunk == chunk


def test_a_batch_that_cannot_be_told_apart_is_named_in_the_question(
    program: Program, client: anthropic.Anthropic
) -> None:
    """One of the same size that has not ended may be it: a person should know before deciding."""
    chunk = held(program)
    batch_id = foreign_batch(client)

    told = program("resolve", chunk.chunk_id, "--not-sent", answer="n\n", code=1)

    assert f"Batch {batch_id} may be this chunk; nobody can tell, since its results cannot be read yet." in told
    assert program.chunk == chunk


def test_f48_a_batch_that_the_api_named_itself_is_asked_first(program: Program, emulator: Emulator) -> None:
    """It accepted another number of requests, it said: while it runs it may be ours, and then it proves to be."""
    program.world.documents(FOUR)
    emulator.faults.add("wrong_count_200", times=1)
    chunk = program.dead_run(on_unconfirmed="hold")
    assert (chunk.state, bool(chunk.batch_id)) == (State.HELD, True)
    early = program("resolve", chunk.chunk_id, "--not-sent", answer="n\n", code=1)
    emulator.clock.advance(seconds=60)

    told = program("resolve", chunk.chunk_id, "--not-sent", "--yes", code=1)

    assert f"Batch {chunk.batch_id} may be this chunk; nobody can tell" in early
    assert f"was sent: batch {chunk.batch_id} carries its custom_ids" in told
    assert program.chunk == chunk
    assert "land with the next materialization" in program("resolve", chunk.chunk_id, "--sent", str(chunk.batch_id))
    program.world.run()
    assert (program.world.statuses(), program.world.n_billed) == (GOOD, [1] * 4)


def test_what_was_sent_elsewhere_can_be_given_up(program: Program, base_url: str) -> None:
    """A workspace that is gone for good must not keep rows for ever; that nobody looked there is told."""
    chunk = program.lost_run()

    told = program("--workspace-id", "wrkspc_2", "resolve", chunk.chunk_id, "--not-sent", "--yes")

    assert (
        f"It was not looked for once more: it was sent elsewhere, so look there: claude-batch --base-url {base_url}"
        in told
    )
    assert program.chunk.state is State.UNSEEN


def test_f112_a_look_with_another_key_is_told_to_prove_nothing(program: Program) -> None:
    """Its workspace may be another: whoever sets rows free should know that nobody has looked where they were sent."""
    chunk = held(program)

    told = program(
        "resolve", chunk.chunk_id, "--not-sent", "--yes", environment={"ANTHROPIC_API_KEY": f"{KEY}-of-others"}
    )

    assert told.startswith("It was sent with another key, and nothing shows that the present one sees the same")
    assert program.chunk.state is State.UNSEEN


# --- it is that batch ------------------------------------------------------------------------------


def test_f33_a_batch_that_a_person_found_is_proved_and_adopted(program: Program, emulator: Emulator) -> None:
    """Its rows are not sent again: its answers land, each paid for once."""
    chunk, batch_id = held_although_sent(program, emulator)

    told = program("resolve", chunk.chunk_id, "--sent", batch_id)
    again = program("resolve", chunk.chunk_id, "--sent", batch_id)

    assert told == f"Chunk {chunk.chunk_id} is batch {batch_id}. Its answers land with the next materialization.\n"
    assert again == f"Chunk {chunk.chunk_id} is batch {batch_id} already. Nothing to do.\n"
    program.world.run()
    assert (program.world.statuses(), program.world.n_billed, program.world.n_posts) == (GOOD, [1] * 4, 1)
    assert program("resolve", chunk.chunk_id, "--sent", batch_id) == again


def test_a_batch_found_after_its_rows_were_set_free_is_adopted_and_counted(
    program: Program, emulator: Emulator
) -> None:
    """What was sent again meanwhile is paid for twice, and that is said."""
    chunk, batch_id = held_although_sent(program, emulator)
    program("resolve", chunk.chunk_id, "--not-sent", "--yes")

    told = program("resolve", chunk.chunk_id, "--sent", batch_id)

    assert "those that were sent again meanwhile are paid for twice" in told
    assert program.chunk.state is State.ADOPTED


def test_a_batch_that_has_not_ended_proves_nothing_yet(program: Program, emulator: Emulator) -> None:
    """Exit code 3, nothing changed."""
    chunk = program.lost_run()
    [batch] = emulator.audit.accepted()

    for _ in range(2):
        told = program("resolve", chunk.chunk_id, "--sent", batch.id, code=3)

        assert f"Batch {batch.id} cannot be told from others yet: it has not ended. Nothing was changed" in told
    assert program.chunk == chunk


def test_results_that_cannot_be_read_just_now_prove_nothing_yet(program: Program, emulator: Emulator) -> None:
    """A 404 right after the end passes."""
    chunk = program.lost_run()
    [batch] = emulator.audit.accepted()
    program.world.clock.sleep(60)
    emulator.faults.add("404", endpoint="results", times=1)

    assert "its results cannot be read just now" in program("resolve", chunk.chunk_id, "--sent", batch.id, code=3)
    assert "land with the next materialization" in program("resolve", chunk.chunk_id, "--sent", batch.id)


def test_f73_a_batch_of_somebody_else_is_refused(program: Program, client: anthropic.Anthropic) -> None:
    """However sure a person is: its results carry other custom_ids."""
    chunk = held(program)
    batch_id = foreign_batch(client)
    program.world.clock.sleep(60)

    for _ in range(2):
        told = program("resolve", chunk.chunk_id, "--sent", batch_id, code=1)

        assert f"batch {batch_id} is not chunk {chunk.chunk_id}: its results carry other custom_ids" in told
    assert program.chunk == chunk


def test_f66_a_batch_whose_results_are_gone_is_refused(program: Program, emulator: Emulator) -> None:
    """After 29 days nobody can prove whose it is."""
    chunk, batch_id = held_although_sent(program, emulator)
    program.world.clock.sleep(30 * 86_400)

    assert "are gone, so nobody can prove whose it is" in program("resolve", chunk.chunk_id, "--sent", batch_id, code=1)
    assert program.chunk == chunk


def test_f52_a_batch_that_does_not_exist_or_is_another_chunks_is_refused(program: Program) -> None:
    """A slip of the hand changes nothing."""
    program.world.documents({99: "war of another day"})
    program.world.run()
    other = program.chunk
    chunk = program.lost_run()

    assert "HTTP 404" in program("resolve", chunk.chunk_id, "--sent", "msgbatch_none", code=1)
    assert "is another chunk of this ledger" in program(
        "resolve", chunk.chunk_id, "--sent", str(other.batch_id), code=1
    )
    assert program.chunk == chunk


def test_f56_a_batch_of_another_workspace_is_not_looked_for_here(program: Program, emulator: Emulator) -> None:
    """The command says where to look."""
    chunk, batch_id = held_although_sent(program, emulator)

    told = program("--workspace-id", "wrkspc_2", "resolve", chunk.chunk_id, "--sent", batch_id, code=1)

    assert "it was sent elsewhere, so look there" in told
    assert program.chunk == chunk


# --- nothing to decide -----------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("options", [[], ["--not-sent", "--sent", "msgbatch_1"], ["--sent", ""]])
def test_one_of_two_things_must_be_said(program: Program, options: list[str]) -> None:
    """Anything else is wrong usage: exit code 2."""
    chunk = held(program)

    assert "say either --not-sent or --sent BATCH_ID" in program("resolve", chunk.chunk_id, *options, code=2)
    assert program.chunk == chunk


@pytest.mark.parametrize("option", [["--not-sent", "--yes"], ["--sent", "msgbatch_other"]])
def test_what_is_known_is_not_for_a_person_to_decide(program: Program, option: list[str]) -> None:
    """A chunk that is on its way, or that nobody knows, is refused."""
    program.world.documents(FOUR)
    chunk = program.dead_run()

    assert f"is accepted: it is batch {chunk.batch_id}, so there is nothing to decide" in program(
        "resolve", chunk.chunk_id, *option, code=1
    )
    assert "the ledger knows no chunk nonsense" in program("resolve", "nonsense", *option, code=1)
    assert program.chunk == chunk


@pytest.mark.parametrize("option", [["--not-sent", "--yes"], ["--sent", "msgbatch_other"]])
def test_f32_what_needs_no_person_is_left_to_reconcile(
    program: Program, client: anthropic.Anthropic, option: list[str]
) -> None:
    """Its sender died in the upload, or is still sending: reconcile tells which."""
    program.world.documents(FOUR)
    with pytest.raises(CrashError):
        program.world.run(api=DyingApi(client))
    chunk = program.chunk

    assert "is sending. First try: claude-batch reconcile" in program("resolve", chunk.chunk_id, *option, code=1)
    assert program.chunk == chunk
    program("reconcile")
    assert "are free already. Nothing to do." in program("resolve", chunk.chunk_id, "--not-sent")
    assert "is refused: it was never accepted" in program("resolve", chunk.chunk_id, "--sent", "msgbatch_x", code=1)
