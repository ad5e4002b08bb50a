"""
Run the whole example: `python -m example_project.run`.

Writes every document, has all of them classified in one run, draws what came out, and says what it cost.
What is already classified is not sent again, so running it twice costs nothing.
"""

import sys
from collections.abc import Mapping
from typing import Any

import dagster as dg
from rich.console import Console

from claude_batch_dagster import ClaudeBatchError
from claude_batch_dagster.status import LedgerStatus
from example_project.assets import RANGE_END, RANGE_START, years
from example_project.corpus import DocumentsFileError, read_documents
from example_project.definitions import build_definitions
from example_project.instance import prepare_dagster_home
from example_project.offline import EmulatorError
from example_project.progress import TABLE, shown, watch
from example_project.settings import Settings, SettingsError, read_settings
from example_project.summary import accuracy_in_words, read_verdicts, render
from example_project.warehouse import duckdb_resource

# What shells report for a program that ended by Ctrl-C.
_INTERRUPTED = 130
# The run log is in the UI; here it would bury the progress.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class AssetFailedError(RuntimeError):
    """An asset could not be materialized; the message says why."""


def main() -> int:
    """Run everything; return the exit code."""
    try:
        run(read_settings(), Console())
    except (SettingsError, DocumentsFileError, EmulatorError, AssetFailedError, ClaudeBatchError) as error:
        _complain(str(error))
        return 1
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        _complain("Interrupted. What was sent is remembered: run it again and it goes on from there.")
        return _INTERRUPTED
    return 0


def _complain(text: str) -> None:
    Console(stderr=True).print(text, style="bold red", highlight=False, markup=False, soft_wrap=True)


def run(settings: Settings, console: Console) -> None:
    """Materialize all assets and print what came out, or raise an error that says what to do."""
    n_documents = sum(1 for _ in read_documents(settings.documents))
    job = build_definitions(settings).resolve_implicit_global_asset_job_def()
    all_years = {RANGE_START: years.get_first_partition_key(), RANGE_END: years.get_last_partition_key()}
    dagster_home = str(prepare_dagster_home(settings.dagster_home))
    status = LedgerStatus(state_directory=str(settings.home))
    with dg.DagsterInstance.from_config(dagster_home) as instance:
        console.print(f"Writing {n_documents:,} documents ...")
        materialize(job, instance, "documents", all_years)
        with shown(console, "Classifying", watch(status), n_documents):
            classified = materialize(job, instance, "classified_documents", all_years)
        console.print("Drawing the themes ...")
        materialize(job, instance, "themes_by_decade", {})
    bills = [status.spending(TABLE, run_id=classified.run_id), status.spending(TABLE)]
    n_sent = status.requests(TABLE, run_id=classified.run_id).sent
    how_right = accuracy_in_words(classified.get_asset_check_evaluations())
    verdicts = read_verdicts(duckdb_resource(settings))
    render(console, settings, verdicts, how_right=how_right, n_sent=n_sent, bills=bills)


def materialize(
    job: dg.JobDefinition, instance: dg.DagsterInstance, asset: str, tags: Mapping[str, Any]
) -> dg.ExecuteInProcessResult:
    """Materialize one asset in this process and return the result, or raise AssetFailedError."""
    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(asset)],
        tags=tags,
        run_config=_QUIET,
        raise_on_error=False,
    )
    if not result.success:
        reasons = [_reason(event) for event in result.all_node_events if event.is_step_failure]
        raise AssetFailedError(f"{asset}: {' '.join(reasons) or 'the run failed; make ui shows its log.'}")
    return result


def _reason(event: dg.DagsterEvent) -> str:
    """Find what the asset itself said, below what Dagster wrapped around it; pass an interruption on."""
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error and error.cause:
        error = error.cause
    if error and error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
        raise KeyboardInterrupt
    return error.message.strip() if error else "no reason was given."


if __name__ == "__main__":
    sys.exit(main())
