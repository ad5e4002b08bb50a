"""What a look at the API has brought to light, in a sentence for each chunk."""

from datetime import timedelta

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.cli.console import clock_time, day, requests
from claude_batch_dagster.core.ledger import ChunkRecord, Lane, State
from claude_batch_dagster.core.ports import place_of


def found(before: ChunkRecord, chunk: ChunkRecord, *, here: bool, quiet_period: timedelta) -> str:
    """Say where a chunk stands, and what the look has changed."""
    name = f"Chunk {chunk.chunk_id} ({requests(chunk)} of {chunk.pipeline})"
    match chunk.state:
        case State.REFUSED:
            return f"{name} was not sent: {chunk.note}. Its rows are free."
        case State.UNSEEN:
            return f"{name} was set free on {day(chunk.set_free_at)} and has not turned up."
        case State.HELD:
            return f"{name} is held: {chunk.note}. {decide(chunk)}"
        case State.AMBIGUOUS | State.RELEASED | State.SENDING:
            return f"{name} is unconfirmed: {_why(before, chunk, quiet_period) if here else elsewhere(chunk)}."
        case _:
            again = " Rows that were sent again meanwhile are paid for twice." if before.state is State.UNSEEN else ""
            what = "was asked live" if chunk.lane is Lane.LIVE else f"is batch {chunk.batch_id}"
            return f"{name} {what}. Its answers land with the next materialization.{again}"


def _why(before: ChunkRecord, chunk: ChunkRecord, quiet_period: timedelta) -> str:
    if chunk.quiet_since:
        until = clock_time(chunk.quiet_since + quiet_period)
        looks = counted(chunk.n_silent_listings, "look")
        return f"not in the API's list so far, in {looks}; it is looked for until {until} at least"
    if chunk.note and chunk.note != before.note and before.state is State.AMBIGUOUS:
        return chunk.note
    return "a batch in the API's list may be this one and cannot be read until it has ended"


def decide(chunk: ChunkRecord) -> str:
    """Say how a person decides about a chunk that is held."""
    if chunk.lane is Lane.LIVE:
        return (
            "Materialize there, and what was answered lands. If that place is lost, set its rows free to be asked "
            f"again: claude-batch resolve {chunk.chunk_id} --not-sent"
        )
    return (
        "Look for it in the Claude Console, then say what you found: "
        f"claude-batch resolve {chunk.chunk_id} --sent BATCH_ID, or --not-sent"
    )


def elsewhere(chunk: ChunkRecord) -> str:
    """Say how to look where the chunk was sent to."""
    base_url, workspace_id = place_of(chunk.account).rsplit(" ", 1)
    workspace = "" if workspace_id == "default" else f" --workspace-id {workspace_id}"
    return f"it was sent elsewhere, so look there: claude-batch --base-url {base_url}{workspace}"
