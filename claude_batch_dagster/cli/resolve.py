"""`claude-batch resolve`: a person says what became of one batch, and what can be proved is proved."""

from collections.abc import Iterator
from dataclasses import dataclass

import click

from claude_batch_dagster.cli.connection import connected, is_here
from claude_batch_dagster.cli.console import dollars, requests
from claude_batch_dagster.cli.exits import NOT_KNOWN_YET
from claude_batch_dagster.cli.locking import locked
from claude_batch_dagster.cli.options import Options
from claude_batch_dagster.cli.sentences import elsewhere
from claude_batch_dagster.core.ledger import ChunkRecord, Ledger, State
from claude_batch_dagster.core.ports import Batch, BatchApi, Locks
from claude_batch_dagster.core.sending.recovery import OTHER_KEY, Recovery
from claude_batch_dagster.errors import ApiError, ClaudeBatchError, ConfigurationError

IN_DOUBT = frozenset({State.AMBIGUOUS, State.HELD})


@click.command("resolve")
@click.argument("chunk_id")
@click.option("--not-sent", is_flag=True, help="It was never accepted: set its rows free to be sent again.")
@click.option("--sent", "batch_id", metavar="BATCH_ID", help="It is this batch: prove it and adopt it.")
@click.option("--yes", is_flag=True, help="Do not ask before rows are set free.")
@click.pass_context
def command(ctx: click.Context, chunk_id: str, *, not_sent: bool, batch_id: str | None, yes: bool) -> None:
    """
    Say of one batch, as a person, whether it was sent.

    CHUNK_ID is what `claude-batch status` shows. --sent is not believed but proved: the results of the batch must
    carry the custom_ids of this chunk. --not-sent is believed, after a last look at the API's list: if the batch was
    accepted all the same, its rows are paid for twice. Safe to do twice. Exit code 3: the batch has not ended, so
    nothing can be proved yet.
    """
    if not_sent == bool(batch_id):
        raise click.UsageError("say either --not-sent or --sent BATCH_ID")
    options: Options = ctx.obj
    with options.stores.working() as (ledger, locks):
        case = Case(options=options, ledger=ledger, locks=locks, chunk=ledger.chunk(chunk_id))
        if batch_id is None:
            case.set_free(ask=not yes)
        elif not case.adopt(batch_id):
            ctx.exit(NOT_KNOWN_YET)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One chunk that a person decides about."""

    options: Options
    ledger: Ledger
    locks: Locks
    chunk: ChunkRecord

    # --- it is that batch --------------------------------------------------------------------------

    def adopt(self, batch_id: str) -> bool:
        """Adopt a batch that proves to be this chunk; `False` while that cannot be told."""
        chunk = self.chunk
        if chunk.batch_id == batch_id and chunk.state not in {State.HELD, State.UNSEEN}:
            click.echo(f"Chunk {chunk.chunk_id} is batch {batch_id} already. Nothing to do.")
            return True
        self._insist_on({*IN_DOUBT, State.UNSEEN})
        if batch_id != chunk.batch_id and batch_id in self.ledger.batch_ids():
            raise ClaudeBatchError(f"batch {batch_id} is another chunk of this ledger. Nothing was changed")
        with connected(self.options) as api:
            if not is_here(chunk, api):
                raise ConfigurationError(f"chunk {chunk.chunk_id} cannot be proved: {elsewhere(chunk)}")
            batch, recovery = api.retrieve(batch_id), self._recovery(api)
            proof = recovery.evidence.prove(batch, chunk.chunk_id)
            if proof is None:
                return self._cannot_tell(batch)
            if not proof:
                raise ClaudeBatchError(
                    f"batch {batch_id} is not chunk {chunk.chunk_id}: its results carry other custom_ids. "
                    "Nothing was changed"
                )
            with locked(self.locks, chunk.pipeline):
                recovery.adopt(chunk, batch)
        click.echo(f"Chunk {chunk.chunk_id} is batch {batch_id}. Its answers land with the next materialization.")
        if chunk.state is State.UNSEEN:
            click.echo("Its rows had been set free: those that were sent again meanwhile are paid for twice.")
        return True

    def _cannot_tell(self, batch: Batch) -> bool:
        if batch.archived_at:
            raise ClaudeBatchError(
                f"the results of batch {batch.id} are gone, so nobody can prove whose it is. Nothing was changed"
            )
        why = "its results cannot be read just now" if batch.ended else "it has not ended"
        click.echo(f"Batch {batch.id} cannot be told from others yet: {why}. Nothing was changed; try again later.")
        return False

    # --- it was never accepted ---------------------------------------------------------------------

    def set_free(self, *, ask: bool) -> None:
        """Let the rows be sent again, unless a batch at the API proves to be them."""
        chunk = self.chunk
        if chunk.state in {State.UNSEEN, State.REFUSED}:
            click.echo(f"The rows of chunk {chunk.chunk_id} are free already. Nothing to do.")
            return
        self._insist_on(IN_DOUBT)
        for doubt in self._doubts():
            click.echo(doubt)
        most = "an amount that is not known" if chunk.max_cost_usd is None else f"at most {dollars(chunk.max_cost_usd)}"
        click.echo(
            f"Chunk {chunk.chunk_id} ({requests(chunk)} of {chunk.pipeline}) is {chunk.state}: {chunk.note}. "
            f"If the API did accept it, sending its rows again pays {most} twice."
        )
        if ask:
            click.confirm("Set its rows free to be sent again?", abort=True)
        with locked(self.locks, chunk.pipeline):
            note = "a person said that it was never accepted"
            self.ledger.move(chunk.chunk_id, to=State.UNSEEN, note=note, set_free_at=self.options.clock.now())
        click.echo("Its rows are free: the next materialization sends them again.")

    def _doubts(self) -> list[str]:
        """Look at the API once more; say what speaks against setting the rows free, raise if a proof does."""
        try:
            with connected(self.options) as api:
                if not is_here(self.chunk, api):
                    return [f"It was not looked for once more: {elsewhere(self.chunk)}."]
                return list(self._lookalikes(api))
        except (ApiError, ConfigurationError) as error:
            return [f"It was not looked for once more: {error}."]

    def _lookalikes(self, api: BatchApi) -> Iterator[str]:
        chunk, evidence = self.chunk, self._recovery(api).evidence
        if chunk.batch_id:
            batches = iter([api.retrieve(chunk.batch_id)])
        else:
            batches = evidence.candidates(chunk, evidence.list_for([chunk]))
        if not evidence.can_see(chunk):
            yield f"It was {OTHER_KEY}."
        for batch in batches:
            proof = evidence.prove(batch, chunk.chunk_id)
            if proof:
                raise ClaudeBatchError(
                    f"chunk {chunk.chunk_id} was sent: batch {batch.id} carries its custom_ids. Nothing was set free. "
                    f"Adopt it: claude-batch resolve {chunk.chunk_id} --sent {batch.id}"
                )
            if proof is None:
                why = "its results are gone" if batch.archived_at else "its results cannot be read yet"
                yield f"Batch {batch.id} may be this chunk; nobody can tell, since {why}."

    # --- both --------------------------------------------------------------------------------------

    def _insist_on(self, states: "frozenset[State] | set[State]") -> None:
        """Raise unless the chunk is one that a person can decide about in this way."""
        chunk = self.chunk
        if chunk.state in states:
            return
        if chunk.state in {State.SENDING, State.RELEASED}:
            raise ClaudeBatchError(f"chunk {chunk.chunk_id} is {chunk.state}. First try: claude-batch reconcile")
        known = f"it is batch {chunk.batch_id}" if chunk.batch_id else "it was never accepted"
        raise ClaudeBatchError(f"chunk {chunk.chunk_id} is {chunk.state}: {known}, so there is nothing to decide")

    def _recovery(self, api: BatchApi) -> Recovery:
        return Recovery(api=api, ledger=self.ledger, clock=self.options.clock, pipeline=self.chunk.pipeline)
