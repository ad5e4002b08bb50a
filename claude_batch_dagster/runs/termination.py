"""What becomes of batches when the run that sent them is stopped."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import dagster as dg

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.core.ports import Clock
from claude_batch_dagster.engine import Engine

INTERRUPTIONS = (dg.DagsterExecutionInterruptedError, KeyboardInterrupt)
"""What a signal raises: Dagster's, and in the midst of a DuckDB statement Python's, since DuckDB loses the first."""

ENDED_BY_A_PERSON = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)
"""A forced termination marks the run as canceled as soon as the signal is sent."""

LOOK_SECONDS = 15.0
"""How often a run that waits asks whether it is still wanted."""


@dataclass
class AttentiveClock:
    """
    A clock that ends a wait when the run is over, or a person has terminated it.

    An executor that runs steps on other machines, as Celery does, hands no signal on to them.
    """

    clock: Clock
    is_over: Callable[[], bool]
    monotonic: Callable[[], float] = time.monotonic
    _looked_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._looked_at = self.monotonic()

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return self.clock.now()

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass; raise `DagsterExecutionInterruptedError` when nobody wants the run any more."""
        while seconds > 0:
            self._look()
            self.clock.sleep(min(seconds, LOOK_SECONDS))
            seconds -= LOOK_SECONDS

    def _look(self) -> None:
        if self.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = self.monotonic()
        if self.is_over():
            raise dg.DagsterExecutionInterruptedError


def is_over(context: dg.AssetExecutionContext) -> bool:
    """Whether a person has terminated the run, or it has ended without this step."""
    try:
        run = context.instance.get_run_by_id(context.run.run_id)
    except Exception as error:  # noqa: BLE001  (Dagster's storage restarts, perhaps: no reason to stop)
        context.log.debug("Whether the run is still wanted cannot be asked just now: %s", type(error).__name__)
        return False
    return run is not None and (run.is_finished or run.status in ENDED_BY_A_PERSON)


def stop(context: dg.AssetExecutionContext, engine: Engine, *, on_terminate: Literal["cancel", "leave"]) -> None:
    """Cancel the batches if a person stopped the run; leave them if the machine did. Say which."""
    if on_terminate == "leave" or not terminated_by_person(context):
        context.log.warning("Stopped while waiting. The batches go on; the next run lands their answers.")
        return
    done = engine.cancel(is_over=lambda run_id: _is_over(context.instance, run_id))
    for error in done.failures:
        context.log.warning(f"A batch could not be canceled: {error}. It goes on, and the next run lands it")
    context.log.warning(
        f"Terminated: {_told(done.canceled, 'canceled')}. What was answered by now lands with the next run."
    )
    if done.left:
        context.log.warning(f"Not canceled: {_told(done.left, 'that other runs or partitions need')}.")


def _told(batch_ids: Sequence[str], what: str) -> str:
    """Count batches, say what of them, and name them."""
    names = f" ({', '.join(batch_ids)})" if batch_ids else ""
    return f"{counted(len(batch_ids), 'batch', 'batches')} {what}{names}"


def _is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run has ended, or is not known any more."""
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def terminated_by_person(context: dg.AssetExecutionContext) -> bool:
    """Tell a click on Terminate from `max_runtime`, SIGTERM and Ctrl-C."""
    run = context.instance.get_run_by_id(context.run.run_id)
    if run is None or run.status not in ENDED_BY_A_PERSON:
        return False
    events = context.instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.PIPELINE_CANCELING).records
    messages = [record.event_log_entry.get_dagster_event().message or "" for record in events]
    return not any(message.startswith("Canceling due to exceeding maximum runtime") for message in messages)
