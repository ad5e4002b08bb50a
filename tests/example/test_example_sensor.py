import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from example_project import sensors
from example_project.sensors import (
    changed_documents,
    collect,
    current_year_every_morning,
    neighbors,
    new_documents,
)

OLD = {"text": "Old.", "published_on": "1862-12-01"}


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[list[Any], str | None]:
    """Evaluate the sensor once; return what it asks for and the next cursor."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    answer = changed_documents(context)
    if not isinstance(answer, dg.SensorResult):
        return [], cursor
    return list(answer.run_requests or []), answer.cursor


def ranges(requests: list[Any]) -> list[list[str]]:
    """Return first and last year of each request."""
    return [sorted(request.tags.values()) for request in requests]


def test_new_years_are_asked_for_in_stretches(home: Path, lines: Any, instance: dg.DagsterInstance) -> None:
    """Neighboring years share a run, and the second look finds nothing new."""
    lines(
        {"id": "a", **OLD},
        {"id": "b", **OLD, "published_on": "1863-01-01"},
        {"id": "c", **OLD, "published_on": "1900-01-01"},
    )

    requests, cursor = tick(instance)

    assert ranges(requests) == [["1862", "1863"], ["1900", "1900"]]
    assert tick(instance, cursor) == ([], cursor)


def test_f105_only_what_changed_is_asked_for(home: Path, lines: Any, instance: dg.DagsterInstance) -> None:
    """A changed text, a year that is gone and a change back are each a run of their own."""
    kept, changed = {"id": "a", **OLD}, {"id": "b", **OLD, "published_on": "1900-01-01"}
    lines(kept, changed)
    first, cursor = tick(instance)
    lines(kept, changed | {"text": "New."})
    second, cursor = tick(instance, cursor)
    lines(kept)
    third, cursor = tick(instance, cursor)
    lines(kept, changed)
    fourth, cursor = tick(instance, cursor)

    assert [ranges(requests) for requests in (second, third, fourth)] == [[["1900", "1900"]]] * 3
    keys = [request.run_key for requests in (first, second, third, fourth) for request in requests]
    assert len(set(keys)) == len(keys) == 5


def test_f106_a_tick_asks_for_a_part_and_the_next_for_the_rest(
    home: Path, lines: Any, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is new, a tick stays small, and nothing is forgotten."""
    monkeypatch.setattr(sensors, "MOST_YEARS_PER_TICK", 2)
    lines(*({"id": year, "text": "New.", "published_on": f"{year}-01-01"} for year in ("1801", "1802", "1803")))

    first, cursor = tick(instance)
    second, cursor = tick(instance, cursor)

    assert ranges(first) + ranges(second) == [["1801", "1802"], ["1803", "1803"]]
    assert sorted(json.loads(str(cursor))["years"]) == ["1801", "1802", "1803"]


def test_neighbors() -> None:
    """Years without a gap belong together."""
    assert neighbors([]) == []
    assert neighbors(["1790", "1791", "1793"]) == [["1790", "1791"], ["1793"]]


def test_nothing_starts_by_itself() -> None:
    """Each run may cost money, so sensors and schedule wait for someone to switch them on."""
    for sensor in (changed_documents, new_documents, collect):
        assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert current_year_every_morning.default_status == dg.DefaultScheduleStatus.STOPPED


def test_f104_a_cursor_that_is_lost_launches_nothing_twice(
    home: Path, lines: Any, instance: dg.DagsterInstance
) -> None:
    """Reset or never saved, it asks for the same runs under the same keys, and Dagster runs a key once."""
    lines({"id": "a", **OLD}, {"id": "b", **OLD, "published_on": "1900-01-01"})
    first, _ = tick(instance)

    again, _ = tick(instance)

    assert [request.run_key for request in again] == [request.run_key for request in first]
    assert ranges(again) == [["1862", "1862"], ["1900", "1900"]]
