"""What `claude-batch cancel` stops, and what it leaves as it is."""

import io

import anthropic
import pytest

from claude_batch_dagster.core.ledger import ChunkRecord
from claude_batch_dagster.emulator import Emulator
from tests.cli.conftest import FOUR, Program

GOOD = dict.fromkeys(FOUR, "succeeded")


def on_its_way(program: Program) -> ChunkRecord:
    """Let a run send four documents and die while it waits."""
    program.world.documents(FOUR)
    return program.dead_run()


def status_of(client: anthropic.Anthropic, chunk: ChunkRecord) -> str:
    """Return what the API says of a batch."""
    return client.messages.batches.retrieve(str(chunk.batch_id)).processing_status


class LatePerson(io.BytesIO):
    """Somebody who thinks for an hour before saying yes."""

    def __init__(self, program: Program) -> None:
        super().__init__(b"y\n")
        self._program = program

    def read(self, size: int | None = -1) -> bytes:
        """Say yes, an hour later."""
        self._program.world.clock.sleep(3_600)
        return super().read(size)


def test_f64_all_batches_are_canceled_after_a_question(program: Program, client: anthropic.Anthropic) -> None:
    """The second time there is nothing to ask and nothing to do; then what was canceled is asked again, once."""
    chunk = on_its_way(program)
    assert "Cancel 1 batch with 4 requests?" in program("cancel", answer="n\n", code=1)
    assert status_of(client, chunk) == "in_progress"

    told = program("cancel", answer="y\n")
    again = program("cancel")

    sentence = (
        f"Batch {chunk.batch_id} is being canceled. What is answered by then lands with the next materialization.\n"
    )
    assert told.endswith(sentence)
    assert again == sentence
    assert status_of(client, chunk) == "canceling"
    program.world.run()
    assert (program.world.statuses(), program.world.n_billed) == (GOOD, [1] * 4)
    assert program("cancel", environment={"ANTHROPIC_API_KEY": None}) == "Nothing to cancel.\n"


def test_f57_what_was_canceled_or_ended_elsewhere_is_left_as_it_is(
    program: Program, client: anthropic.Anthropic
) -> None:
    """In the Console, say: no question, no error."""
    chunk = on_its_way(program)
    client.messages.batches.cancel(str(chunk.batch_id))

    canceling = program("cancel")
    program.world.clock.sleep(3_600)
    ended = program("cancel")

    assert "is being canceled" in canceling
    assert ended == f"Batch {chunk.batch_id} has ended. Its results land with the next materialization.\n"
    assert program.chunk == chunk


@pytest.mark.sampled
@pytest.mark.parametrize("chosen", ["pipeline", "batch", "yes"])
def test_whoever_says_which_is_not_asked(program: Program, client: anthropic.Anthropic, chosen: str) -> None:
    """By table, by batch, or with --yes."""
    chunk = on_its_way(program)
    options = {
        "pipeline": ["--pipeline", chunk.pipeline],
        "batch": ["--batch", str(chunk.batch_id)],
        "yes": ["--yes"],
    }

    for _ in range(2):
        assert "is being canceled" in program("cancel", *options[chosen])
    assert status_of(client, chunk) == "canceling"


def test_only_the_batch_that_was_named_is_canceled(program: Program, client: anthropic.Anthropic) -> None:
    """The others go on."""
    program.world.documents({n: f"war {n}" for n in range(8)})
    program.dead_run()
    first, second = program.world.ledger.chunks("main.answers", ["accepted"])  # type: ignore[list-item]  # by its value

    program("cancel", "--batch", str(second.batch_id))

    assert (status_of(client, first), status_of(client, second)) == ("in_progress", "canceling")


@pytest.mark.parametrize("fault", ["500_after_accept", "drop_after_accept"])
def test_f64_a_lost_answer_is_made_good_by_looking(program: Program, emulator: Emulator, fault: str) -> None:
    """The API did cancel; what the batch says of itself counts."""
    chunk = on_its_way(program)
    emulator.faults.add(fault, endpoint="cancel", times=1)

    assert program("cancel", "--yes").startswith(f"Batch {chunk.batch_id} is being canceled.")


def test_f64_a_batch_that_ends_while_a_person_thinks_is_no_error(program: Program) -> None:
    """The API refuses to cancel it; its results land."""
    chunk = on_its_way(program)

    result = program.result("cancel", answer=LatePerson(program))

    assert result.exit_code == 0
    assert result.output.endswith(
        f"Batch {chunk.batch_id} has ended. Its results land with the next materialization.\n"
    )


@pytest.mark.sampled
@pytest.mark.parametrize("endpoint", ["cancel", "retrieve"])
def test_an_api_in_trouble_is_told_and_is_no_success(
    program: Program, emulator: Emulator, client: anthropic.Anthropic, endpoint: str
) -> None:
    """Exit code 1, and the batch goes on; once the trouble has passed, the same command does it."""
    chunk = on_its_way(program)
    emulator.faults.add("500", endpoint=endpoint, times=1)

    told = program("cancel", "--yes", code=1)

    assert f"Batch {chunk.batch_id} was not canceled: HTTP 500" in told
    assert status_of(client, chunk) == "in_progress"
    program("cancel", "--yes")
    assert status_of(client, chunk) == "canceling"


def test_f54_a_key_that_is_not_accepted_is_told_in_a_sentence(program: Program, emulator: Emulator) -> None:
    """Exit code 1, no traceback."""
    on_its_way(program)
    emulator.faults.add("401")

    told = program("cancel", "--yes", code=1)

    assert told.startswith("Error: HTTP 401")
    assert len(told.splitlines()) == 1


def test_only_our_batches_are_canceled(program: Program) -> None:
    """A batch or a table that the ledger does not know is a slip."""
    on_its_way(program)

    assert "the ledger knows no batch 'msgbatch_x', so it is not ours" in program(
        "cancel", "--batch", "msgbatch_x", code=1
    )
    assert "the ledger knows no table 'main.other'" in program("cancel", "--pipeline", "main.other", code=1)


def test_what_has_no_batch_yet_is_pointed_out(program: Program, emulator: Emulator) -> None:
    """An unconfirmed send cannot be canceled before it is found."""
    chunk = program.lost_run()

    told = program("cancel", "--yes")

    assert told == (
        f"Chunk {chunk.chunk_id} is ambiguous: no batch is known as its own. Try `claude-batch reconcile`.\n"
        "Nothing to cancel.\n"
    )


def test_what_has_ended_is_pointed_out(program: Program, emulator: Emulator) -> None:
    """Its results are there and could not be downloaded yet: nothing is left to cancel."""
    emulator.pace.batch_seconds = 0
    emulator.faults.add("500", endpoint="results")
    chunk = on_its_way(program)
    assert chunk.state == "ended"

    assert program("cancel", "--yes") == (
        f"Batch {chunk.batch_id} has ended. It lands with the next materialization.\nNothing to cancel.\n"
    )


def test_f56_what_was_sent_elsewhere_is_not_canceled_here(program: Program, client: anthropic.Anthropic) -> None:
    """Exit code 1: it goes on, and the command says how to reach it."""
    chunk = on_its_way(program)

    told = program("--workspace-id", "wrkspc_2", "cancel", "--yes", code=1)

    assert f"Batch {chunk.batch_id} was not canceled: it was sent elsewhere" in told
    assert status_of(client, chunk) == "in_progress"
