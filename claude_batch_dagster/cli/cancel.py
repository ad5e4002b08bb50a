"""`claude-batch cancel`: stop what is on its way; what was answered by then is kept."""

from collections.abc import Iterable, Sequence

import click

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.cli.connection import connected, is_here
from claude_batch_dagster.cli.options import Options
from claude_batch_dagster.cli.sentences import elsewhere
from claude_batch_dagster.core.ledger import TRAVELLING, UNCONFIRMED, ChunkRecord, State
from claude_batch_dagster.core.ports import Batch, BatchApi
from claude_batch_dagster.errors import ApiError, ConfigurationError, CredentialError

IN_PROGRESS = "in_progress"


@click.command("cancel")
@click.option("--pipeline", metavar="TABLE", help="Only the batches of this table, such as public.labels.")
@click.option("--batch", "batch_id", metavar="BATCH_ID", help="Only this batch.")
@click.option("--yes", is_flag=True, help="Do not ask before all batches of all tables are canceled.")
@click.pass_context
def command(ctx: click.Context, *, pipeline: str | None, batch_id: str | None, yes: bool) -> None:
    """
    Ask the API to stop batches that are on their way.

    Without --pipeline or --batch: all that the ledger knows, after asking. What was answered by then is paid for
    and kept: it lands with the next materialization, which asks the canceled rows again. A run that waits for the
    batch does so at once, so terminate it first. Safe to do twice: a batch that has ended, or is being canceled
    already, is left as it is.
    """
    options: Options = ctx.obj
    with options.stores.looking() as ledger:
        chunks = _chosen([one.chunk for one in ledger.sightings(())], pipeline, batch_id)
    _tell_of_others(chunks)
    sent = [chunk for chunk in chunks if chunk.state in {State.ACCEPTED, State.ADOPTED}]
    if not sent:
        click.echo("Nothing to cancel.")
        return
    with connected(options) as api:
        all_well = _cancel(api, sent, ask=not (yes or pipeline or batch_id))
    ctx.exit(0 if all_well else 1)


def _chosen(chunks: Sequence[ChunkRecord], pipeline: str | None, batch_id: str | None) -> list[ChunkRecord]:
    """Return the chunks meant; a name that the ledger does not know is a slip, not a reason to do nothing."""
    names = sorted({chunk.pipeline for chunk in chunks})
    if pipeline and pipeline not in names:
        raise ConfigurationError(f"the ledger knows no table {pipeline!r}. It knows: {', '.join(names) or 'none'}")
    if batch_id and batch_id not in {chunk.batch_id for chunk in chunks}:
        raise ConfigurationError(f"the ledger knows no batch {batch_id!r}, so it is not ours to cancel")
    return [chunk for chunk in chunks if pipeline in {None, chunk.pipeline} and batch_id in {None, chunk.batch_id}]


def _tell_of_others(chunks: Iterable[ChunkRecord]) -> None:
    """Say why chunks that are open are not canceled."""
    for chunk in chunks:
        if chunk.state in {*UNCONFIRMED, State.HELD}:
            click.echo(
                f"Chunk {chunk.chunk_id} is {chunk.state}: no batch is known as its own. Try `claude-batch reconcile`."
            )
        elif chunk.state in TRAVELLING - {State.ACCEPTED, State.ADOPTED}:
            click.echo(f"Batch {chunk.batch_id} has ended. It lands with the next materialization.")


def _cancel(api: BatchApi, chunks: Sequence[ChunkRecord], *, ask: bool) -> bool:
    """Cancel those that are in progress; return whether nothing went wrong."""
    seen = [(chunk, _seen(api, chunk)) for chunk in chunks]
    for _, batch in seen:
        if batch and batch.processing_status != IN_PROGRESS:
            click.echo(_standing(batch))
    running = [chunk for chunk, batch in seen if batch and batch.processing_status == IN_PROGRESS]
    if running and ask:
        n_requests = sum(chunk.n_requests for chunk in running)
        what = f"{counted(len(running), 'batch', 'batches')} with {counted(n_requests, 'request')}"
        click.confirm(f"Cancel {what}?", abort=True)
    stopped = [_stop(api, chunk) for chunk in running]
    return all(batch for _, batch in seen) and all(stopped)


def _seen(api: BatchApi, chunk: ChunkRecord) -> Batch | None:
    """Return what the API says of a batch; None, and the reason told, if it says nothing."""
    if not is_here(chunk, api):
        click.echo(f"Batch {chunk.batch_id} was not canceled: {elsewhere(chunk)}", err=True)
        return None
    try:
        return api.retrieve(str(chunk.batch_id))
    except CredentialError:
        raise
    except ApiError as error:
        click.echo(f"Batch {chunk.batch_id} was not canceled: {error}", err=True)
        return None


def _stop(api: BatchApi, chunk: ChunkRecord) -> bool:
    """Cancel one batch; return whether it has stopped, or is about to."""
    try:
        batch = api.cancel(str(chunk.batch_id))
    except CredentialError:
        raise
    except ApiError as error:
        # The answer was lost, or the batch ended meanwhile: what it says of itself counts.
        after = _seen(api, chunk)
        if after and after.processing_status == IN_PROGRESS:
            click.echo(f"Batch {after.id} was not canceled: {error}", err=True)
        if after is None or after.processing_status == IN_PROGRESS:
            return False
        batch = after
    click.echo(_standing(batch))
    return True


def _standing(batch: Batch) -> str:
    """Say where a batch stands that is not in progress."""
    if batch.ended:
        return f"Batch {batch.id} has ended. Its results land with the next materialization."
    return f"Batch {batch.id} is being canceled. What is answered by then lands with the next materialization."
