"""`claude-batch reconcile`: what the start of a run does with unconfirmed batches, without a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import click

from claude_batch_dagster.cli.accept_ledger import accept
from claude_batch_dagster.cli.connection import connected, is_here
from claude_batch_dagster.cli.exits import NOT_KNOWN_YET
from claude_batch_dagster.cli.locking import locked
from claude_batch_dagster.cli.options import Options
from claude_batch_dagster.cli.sentences import found
from claude_batch_dagster.core.ledger import UNCONFIRMED, ChunkRecord, Ledger, State
from claude_batch_dagster.core.ports import RETENTION, BatchApi, Clock, Locks
from claude_batch_dagster.core.sending.live import LiveLane
from claude_batch_dagster.core.sending.recovery import Recovery
from claude_batch_dagster.core.waiting import Pace
from claude_batch_dagster.errors import ApiError, ConfigurationError, CredentialError
from claude_batch_dagster.pairings import pairings

UNSURE = frozenset({*UNCONFIRMED, State.HELD, State.UNSEEN})
"""States of chunks whose batch may yet be found at the API."""


@click.command("reconcile")
@click.option("--pipeline", metavar="TABLE", help="Only the batches of this table, such as public.labels.")
@click.option("--wait", is_flag=True, help="Go on until nothing is unconfirmed.")
@click.option(
    "--quiet-period-seconds",
    type=click.FloatRange(min=0),
    default=900.0,
    show_default=True,
    help="How long a batch must be absent from the API's list before it is held: what the resource has.",
)
@click.option(
    "--accept-new-ledger",
    is_flag=True,
    help="Take this ledger for the right one of the tables in --database, in place of one that is lost.",
)
@click.option("--yes", is_flag=True, help="Do not ask before another ledger is accepted.")
@click.pass_context
def command(  # noqa: PLR0913 - one argument for each option
    ctx: click.Context,
    *,
    pipeline: str | None,
    wait: bool,
    quiet_period_seconds: float,
    accept_new_ledger: bool,
    yes: bool,
) -> None:
    """
    Find out what became of batches whose acceptance is not known.

    Does what the start of a run does: looks for each of them in the API's list, proves by the custom_ids in its
    results that it is ours, and adopts it; and looks once more for those that were let go. Sends nothing and sets
    no row free: a batch that stays unseen for the whole quiet period is held, for the next run's on_unconfirmed or
    for `claude-batch resolve`. Safe to do twice. Exit code 3: something is still unconfirmed.

    With --accept-new-ledger it does one thing only: where a run refuses to send because the ledger is not the one
    that a table was filled by, and that one is gone, this ledger takes its place.
    """
    options: Options = ctx.obj
    with options.stores.working() as (ledger, locks):
        if accept_new_ledger:
            accept(pairings(options.stores, ledger), pipeline, ask=not yes)
            return
        pipelines = _chosen(ledger.pipelines(), pipeline)
        if not any(_unsure(ledger, name, options.clock) for name in pipelines):
            click.echo("Nothing is unconfirmed.")
            return
        with connected(options) as api:
            quiet_period = timedelta(seconds=quiet_period_seconds)
            rounds = Rounds(
                ledger=ledger,
                locks=locks,
                api=api,
                clock=options.clock,
                quiet_period=quiet_period,
                live=options.stores.live_lane(api, ledger, options.clock),
            )
            rounds.go(pipelines, wait=wait)
        if any(ledger.chunks(name, UNCONFIRMED) for name in pipelines):
            ctx.exit(NOT_KNOWN_YET)


def _chosen(known: Sequence[str], pipeline: str | None) -> Sequence[str]:
    if pipeline is None:
        return known
    if pipeline not in known:
        raise ConfigurationError(f"the ledger knows no table {pipeline!r}. It knows: {', '.join(known) or 'none'}")
    return [pipeline]


def _unsure(ledger: Ledger, pipeline: str, clock: Clock) -> list[ChunkRecord]:
    """Return the chunks to look for; those let go, for as long as the API keeps results."""
    chunks = ledger.chunks(pipeline, UNSURE)
    recent = clock.now() - RETENTION
    return [chunk for chunk in chunks if chunk.state is not State.UNSEEN or chunk.intended_at > recent]


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """Looks at the API again and again, and tells what is found."""

    ledger: Ledger
    locks: Locks
    api: BatchApi
    clock: Clock
    quiet_period: timedelta
    live: LiveLane
    told: dict[str, str] = field(default_factory=dict)
    """The last sentence about each chunk: it is told again when it has changed."""

    def go(self, pipelines: Iterable[str], *, wait: bool) -> None:
        """Look once, or until nothing that was sent here is unconfirmed."""
        pace = Pace()
        while not self._look(pipelines, patient=wait) and wait:
            pace.pause(self.clock)

    def _look(self, pipelines: Iterable[str], *, patient: bool) -> bool:
        try:
            return all([self._step(name) for name in pipelines])  # noqa: C419  (each is looked at)
        except CredentialError:
            raise
        except ApiError as error:
            if not patient:
                raise
            click.echo(f"Trying again: {error}", err=True)
            return False

    def _step(self, pipeline: str) -> bool:
        """Take each chunk one step further; return whether none that was sent here is unconfirmed."""
        recovery = Recovery(
            api=self.api,
            ledger=self.ledger,
            clock=self.clock,
            pipeline=pipeline,
            quiet_period=self.quiet_period,
            on_unconfirmed="hold",
            live=self.live,
        )
        with locked(self.locks, pipeline):
            before = _unsure(self.ledger, pipeline, self.clock)
            try:
                left = recovery.settle()
                recovery.watch()
            except ApiError:
                self._tell(before, silent=UNSURE)  # of these nothing was learned
                raise
            self._tell(before)
        return not left

    def _tell(self, chunks: Iterable[ChunkRecord], *, silent: Iterable[State] = ()) -> None:
        for before in chunks:
            chunk = self.ledger.chunk(before.chunk_id)
            if chunk.state in silent:
                continue
            sentence = found(before, chunk, here=is_here(chunk, self.api), quiet_period=self.quiet_period)
            if self.told.get(chunk.chunk_id) != sentence:
                click.echo(sentence)
            self.told[chunk.chunk_id] = sentence
