"""What a run says while it works: lines in the run log, observations of the asset, tags of the run."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from claude_batch_dagster.amounts import A_CENT, counted, dollars
from claude_batch_dagster.core.asking.asked import Asked
from claude_batch_dagster.core.ledger import ChunkRecord
from claude_batch_dagster.core.reporting.progress import Progress, Tempo
from claude_batch_dagster.errors import ApiError

QUIET_SECONDS = 180.0
"""How long the run log may stay silent while a batch is waited for."""

BUSY_SECONDS = 5.0
"""How much time lies between two lines at least, while there is more to come: a run may send batch after batch."""

OBSERVE_SECONDS = 60.0
"""How often an observation is recorded at most: each is a row in Dagster's event log."""


SHOWN_BATCHES = 10
"""Batch ids in the run's tag."""


@dataclass
class RunLog:
    """Tells Dagster of one run: often enough to see it live, seldom enough to read."""

    context: dg.AssetExecutionContext
    tempo: Callable[[], Tempo | None] = lambda: None
    """How long batches of this table usually take."""
    answerer: Callable[[], str] = str
    """Who answers, if it is not Claude."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    _last: Progress | None = field(default=None, init=False)
    _last_at: float = field(default=0.0, init=False)
    _observed: Progress | None = field(default=None, init=False)
    _observed_at: float = field(default=-OBSERVE_SECONDS, init=False)
    _tagged: tuple[str, ...] = field(default=(), init=False)
    _last_trouble: str = field(default="", init=False)
    _last_trouble_at: float = field(default=0.0, init=False)

    def tell_asked(self, asked: Asked) -> None:
        """Say what was found upstream."""
        self.context.log.info(
            f"{counted(asked.n_rows.total(), 'upstream row')}: {asked.n_answered.total():,} answered already, "
            f"{asked.n_to_ask.total():,} without a usable answer, "
            f"{counted(asked.n_shared.total(), 'shares', 'share')} another row's answer, "
            f"{asked.n_rejected.total():,} can never be asked"
        )
        self._tell_again(asked)
        if answerer := self.answerer():
            self.context.log.warning(
                f"The {answerer} answers, not Claude. Rows that Claude has answered get made-up answers here; a run "
                "against Claude puts Claude's back, at no cost"
            )
        if asked.n_gone.total():
            self.context.log.warning(
                f"{counted(asked.n_gone.total(), 'row')} of {counted(len(asked.n_gone), 'partition')} that the "
                "definition no longer has left the table; their answers are kept, and come back at no cost where a "
                "partition asks for them"
            )
        if asked.n_homeless:
            self.context.log.warning(
                f"{counted(asked.n_homeless, 'upstream row belongs', 'upstream rows belong')} to no partition, since "
                "partition_expr is NULL there; such rows are never asked"
            )

    def _tell_again(self, asked: Asked) -> None:
        """Say how much is to be paid for that was paid for once, and why, before it is: loudly, if it is everything."""
        n_again, n_had = asked.n_again.total(), asked.n_had
        if not n_again:
            return
        usd = dollars(asked.again_usd) if asked.again_usd >= A_CENT else "less than a cent"
        cost = f"what they have answered so far cost {usd}"
        if asked.changed is None:
            reason = "nobody has written down what they were asked before, so why is not known"
        elif asked.changed:
            reason = f"these parts of the definition have changed: {', '.join(sorted(asked.changed))}"
        else:
            reason = "their documents, or what a prompt function makes of them, have changed"
        if n_again == n_had:
            self.context.log.warning(f"ALL {counted(n_again, 'row')} with an answer are asked again ({cost}): {reason}")
        else:
            self.context.log.info(
                f"{n_again:,} of {counted(n_had, 'row')} with an answer are asked again ({cost}): {reason}"
            )

    def tell_progress(self, progress: Progress) -> None:
        """Say where the run stands: in the log on change and every few minutes, as an observation once a minute."""
        if not progress.n_sent:
            return
        now = self.monotonic()
        pause = 0.0 if self._last is None or not progress.n_open_batches else BUSY_SECONDS
        since = now - self._last_at
        if (progress != self._last and since >= pause) or since >= QUIET_SECONDS:
            self._last, self._last_at = progress, now
            self.context.log.info(_sentence(progress, self.tempo(), self.now()))
        if progress != self._observed and now - self._observed_at >= OBSERVE_SECONDS:
            self._observed, self._observed_at = progress, now
            self._observe(progress)
        self._tag(progress.batch_ids)

    def tell_trouble(self, error: ApiError) -> None:
        """Say what is waited out, once for each kind and every few minutes."""
        # Not by its text, in which the request id is another one each time.
        now, kind = self.monotonic(), f"{type(error).__name__} {getattr(error, 'status', '')}"
        if kind != self._last_trouble or now - self._last_trouble_at > QUIET_SECONDS:
            self._last_trouble, self._last_trouble_at = kind, now
            self.context.log.warning(f"{error}. Nothing is lost; trying again")

    def tell_given_up(self, chunk: ChunkRecord) -> None:
        """Say that a batch is not waited for any longer."""
        self.context.log.warning(
            f"Batch {chunk.batch_id} ({counted(chunk.n_requests, 'request')}) has not ended in time for the deadline. "
            "It is canceled; what it has answered counts, and the rest is asked through the Messages API"
        )

    def tell_waiting(self, told: str) -> None:
        """Say for whom the database is waited."""
        self.context.log.info(told)

    @property
    def _partition(self) -> str | None:
        """The one partition that the run is for: of this asset, not of a neighbor in the same run."""
        if self.context.assets_def.partitions_def is None or not self.context.has_partition_key:
            return None
        return str(self.context.partition_key)

    def _observe(self, progress: Progress) -> None:
        self.context.log_event(
            dg.AssetObservation(
                self.context.asset_key,
                partition=self._partition,
                description="Waiting for Claude" if progress.n_open_batches else "Answers have landed",
                metadata={
                    "claude_batch/requests_sent": progress.n_sent,
                    "claude_batch/requests_ended": progress.n_ended,
                    "claude_batch/requests_landed": progress.n_landed,
                    "claude_batch/open_batches": progress.n_open_batches,
                    "claude_batch/progress": progress.n_ended / progress.n_sent,
                },
            )
        )

    def _tag(self, batch_ids: tuple[str, ...]) -> None:
        """Show the batches on the run's page, where they can be copied and searched for."""
        if batch_ids == self._tagged:
            return
        self._tagged = batch_ids
        more = f" and {len(batch_ids) - SHOWN_BATCHES} more" if len(batch_ids) > SHOWN_BATCHES else ""
        self.context.instance.add_run_tags(
            self.context.run.run_id, {"claude_batch/batches": ", ".join(batch_ids[:SHOWN_BATCHES]) + more}
        )


def _sentence(progress: Progress, tempo: Tempo | None, now: datetime) -> str:
    before = f" ({progress.n_before:,} of them by earlier runs)" if progress.n_before else ""
    text = (
        f"{counted(progress.n_sent, 'request')} sent{before}, {progress.n_ended:,} ended, "
        f"{progress.n_landed:,} landed; {counted(progress.n_open_batches, 'batch', 'batches')} open"
    )
    end = tempo.expected_end(progress) if tempo else None
    if tempo is None or end is None:
        return text
    if tempo.is_slow(progress, now):
        return f"{text}. Slower than usual: 95 % of this table's batches took no more than {_minutes(tempo.slow)}"
    return f"{text}. Expected to end about {end:%H:%M} UTC; batches of this table usually take {_minutes(tempo.usual)}"


def _minutes(duration: timedelta) -> str:
    minutes = duration.total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"  # noqa: PLR2004  (two hours)
