"""What the tests of the collect sensor share: a tick, and the runs it meets."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster import build_collect_sensor, build_submission_asset
from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.runs.partitions import RANGE_END, RANGE_START

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

REAL_TIME = time.time
WAITS: tuple[list[dg.RunRequest], str] = ([], "The last collection failed or was canceled; it waits.")
NOTHING: tuple[list[dg.RunRequest], str] = ([], "Nothing is submitted that is not collected.")


@dataclass
class Kept:
    """What Dagster keeps from one tick to the next."""

    cursor: str | None = None


def tick(
    world: "DagsterWorld", asset: dg.AssetsDefinition, kept: Kept | None = None, **settings: Any
) -> tuple[list[dg.RunRequest], str | None]:
    """Let the sensor look once: return what it asks for, and why it asks for nothing."""
    sensor = build_collect_sensor(asset)
    resources = {"claude_batch": world.resource(**settings)}
    repository = dg.Definitions(assets=[asset], sensors=[sensor], resources=resources).get_repository_def()
    cursor = kept.cursor if kept else None
    with dg.build_sensor_context(
        instance=world.instance, resources=resources, repository_def=repository, cursor=cursor
    ) as context:
        told = sensor.evaluate_tick(context)
    if kept:
        kept.cursor = told.cursor
    return list(told.run_requests or []), told.skip_message


def keys(request: dg.RunRequest) -> tuple[str, str]:
    """Return the first and the last partition that is asked for."""
    return request.tags[RANGE_START], request.tags[RANGE_END]


def launch(world: "DagsterWorld", asset: dg.AssetsDefinition, request: dg.RunRequest, *, raises: bool = True) -> None:
    """Run what the sensor asked for."""
    dg.materialize(
        [asset],
        instance=world.instance,
        resources={"claude_batch": world.resource()},
        tags=dict(request.tags),
        raise_on_error=raises,
    )


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the clock so many seconds ahead of the real one."""
    monkeypatch.setattr(time, "time", lambda: REAL_TIME() + seconds)


def canceled(world: "DagsterWorld", asset: dg.AssetsDefinition, request: dg.RunRequest) -> dg.DagsterRun:
    """Let Dagster take up what the sensor asked for, and a person cancel it in the queue."""
    defs = dg.Definitions(assets=[asset], resources={"claude_batch": world.resource()})
    job = defs.resolve_implicit_global_asset_job_def()
    run = world.instance.create_run_for_job(job, tags=dict(request.tags))
    world.instance.report_run_canceled(run)
    return run


def died(world: "DagsterWorld", asset: dg.AssetsDefinition, tags: Mapping[str, str]) -> None:
    """Start a run whose process nobody hears of again."""
    defs = dg.Definitions(assets=[asset], resources={"claude_batch": world.resource()})
    job = defs.resolve_implicit_global_asset_job_def()
    run = world.instance.create_run_for_job(job, tags=dict(tags), asset_selection={asset.key})
    world.instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job.name), run.run_id)


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something once, at the end of a run: its work is done, its materializations are not told."""
    real = AnthropicBatches.close

    def close(api: AnthropicBatches) -> None:
        real(api)
        monkeypatch.setattr(AnthropicBatches, "close", real)
        act()

    monkeypatch.setattr(AnthropicBatches, "close", close)


def overtaken(world: "DagsterWorld", asset: dg.AssetsDefinition, monkeypatch: pytest.MonkeyPatch) -> dg.RunRequest:
    """Submit a new row of 1790 while a run collects that partition; return what that run was asked by."""
    submission = build_submission_asset(asset)
    world.run(submission, partition="1790")
    [first], _ = tick(world, asset)

    def submit() -> None:
        world.write("INSERT INTO public.documents VALUES ('new', 'the navy once more', '1790-03-03')")
        world.run(submission, partition="1790")

    meanwhile(monkeypatch, submit)
    launch(world, asset, first)
    assert world.statuses() == {"succeeded": 1}
    return first
