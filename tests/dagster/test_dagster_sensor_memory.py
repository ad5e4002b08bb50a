"""What the sensor of new documents remembers: when a change is due, and how the cursor keeps it."""

import json

import pytest

from claude_batch_dagster.sensors.changes import Memory

STILL = "No document has changed since the last look."


def test_a_table_that_is_being_loaded_is_left_in_peace() -> None:
    """A partition is started once it has kept still for a while, not at every write."""
    memory = Memory()

    assert memory.notice({"a": "1"}, now=0, settle_seconds=60, limit=9) == {}
    assert "1 partition has changed just now" in memory.reason
    assert memory.notice({"a": "2"}, now=59, settle_seconds=60, limit=9) == {}
    assert memory.notice({"a": "2"}, now=118, settle_seconds=60, limit=9) == {}
    assert memory.notice({"a": "2"}, now=119, settle_seconds=60, limit=9) == {"a": "2"}
    assert memory.notice({"a": "2"}, now=300, settle_seconds=60, limit=9) == {}
    assert memory.reason == STILL


@pytest.mark.parametrize(("every", "starts"), [(30, [600, 1230, 1860]), (60, [600, 1260, 1920])])
def test_a_table_that_never_rests_is_started_all_the_same(every: int, starts: list[int]) -> None:
    """Ten times as long after its first change at most, and so again and again, also across restarts of the daemon."""
    memory, started = Memory(), []
    for now in range(0, 2000, every):
        if memory.notice({"a": f"mark {now}"}, now=now, settle_seconds=60, limit=9):
            started.append(now)
        memory = Memory.of(memory.cursor)

    assert started == starts


def test_a_change_that_was_taken_back_does_not_count_as_unrest() -> None:
    """The ten times begin with a change that is still there: the next one has its time to settle."""
    memory = Memory(started={"a": "1"})
    marks = {0: "2", 300: "1", 650: "3", 700: "4", 760: "4"}

    due = {now: memory.notice({"a": mark}, now=now, settle_seconds=60, limit=9) for now, mark in marks.items()}

    assert [now for now, found in due.items() if found] == [760]


def test_a_clock_that_is_set_back_delays_nothing() -> None:
    """A change that was seen in what is now the future has its time to settle from now on, not from then."""
    memory = Memory()

    assert memory.notice({"a": "1"}, now=90_000, settle_seconds=60, limit=9) == {}
    assert memory.notice({"a": "1"}, now=10_000, settle_seconds=60, limit=9) == {}
    assert memory.notice({"a": "1"}, now=10_060, settle_seconds=60, limit=9) == {"a": "1"}


def test_a_flood_is_started_piece_by_piece() -> None:
    """No more partitions in a tick than allowed; the rest follow with the next."""
    memory = Memory()
    found: dict[str | None, str] = {str(n): "x" for n in range(5)}

    ticks = [set(memory.notice(found, now=0, settle_seconds=0, limit=2)) for _ in range(4)]

    assert ticks == [{"0", "1"}, {"2", "3"}, {"4"}, set()]


@pytest.mark.parametrize("cursor", [None, "", "nonsense", "[]", '{"years": {}}'])
def test_f104_a_cursor_that_was_lost_starts_afresh(cursor: str | None) -> None:
    """It costs runs that send nothing, since what is answered is answered."""
    assert Memory.of(cursor) == Memory()


def test_the_cursor_carries_the_memory() -> None:
    """Also what changes just now, so that a restarted daemon does not wait anew."""
    memory = Memory()
    memory.notice({"a": "1"}, now=7, settle_seconds=0, limit=1)
    memory.notice({"a": "1", "b": "2"}, now=8, settle_seconds=60, limit=1)

    again = Memory.of(memory.cursor)

    assert json.loads(memory.cursor)["started"] == {"a": "1"}
    assert again.notice({"a": "1", "b": "2"}, now=68, settle_seconds=60, limit=1) == {"b": "2"}


def test_what_is_gone_leaves_the_cursor() -> None:
    """Once its partition was started for that; so partitions that come and go do not fill it."""
    memory = Memory(started={"a": "1", "b": "1"})

    assert memory.notice({"b": "1"}, now=0, settle_seconds=0, limit=9) == {"a": ""}

    assert json.loads(memory.cursor)["started"] == {"b": "1"}
    assert Memory.of(memory.cursor).notice({"b": "1"}, now=9, settle_seconds=0, limit=9) == {}
