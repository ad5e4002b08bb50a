"""Backfills of partitions that are no years, worked off by a real daemon; the emulator's audit says what was paid."""

from datetime import date, timedelta

import pytest

from tests.live.documents import PER_PART, write_parts
from tests.live.world import LiveWorld, WorldOf

pytestmark = pytest.mark.dagster


def backfill(world: LiveWorld, keys: list[str]) -> str:
    """Launch a backfill of all assets of a family; `keys` are partitions of the documents."""
    return world.dev.backfill(*(f"{world.family}/{name}" for name in ("documents", "answers", "report")), keys=keys)


def prove_all_is_there(world: LiveWorld, backfill_id: str, documents: list[str], keys: list[str]) -> None:
    """See that the backfill ends well, with a materialization for each partition, and each document paid for once."""
    dev, n, n_documents = world.dev, len(keys), PER_PART * len(documents)
    assert dev.wait_for_backfill(backfill_id) == "COMPLETED_SUCCESS"
    wanted = {"documents": (len(documents), 0), "answers": (n, 0), "report": (n, 0)}
    counts = dev.backfill_counts(backfill_id)
    assert counts == {asset: wanted[asset] for asset in counts}
    events = [event for event in dev.materializations(world.answers) if event["partition"] in keys]
    assert sorted(event["partition"] for event in events) == sorted(keys)
    assert {"claude_batch/batch_ids" in {entry["label"] for entry in one["metadataEntries"]} for one in events} == {
        True
    }
    judged = [one["partition"] for one in dev.checks(world.answers, "complete") if one["partition"] in keys]
    assert sorted(judged) == sorted(keys)
    assert (world.n_sent, world.n_paid, world.paid_twice) == (n_documents, n_documents, [])
    assert world.answered(*keys) == n_documents


def test_static_partitions(world: WorldOf) -> None:
    """Two of three static partitions that do not touch: the backfill makes those, and the third stays as it was."""
    static, keys = world("static"), ["federalist", "whig"]
    with static.database() as connection:
        write_parts(connection, "static", ["federalist", "republican", "whig"])

    prove_all_is_there(static, static.dev.backfill(static.answers, keys=keys), keys, keys)

    assert static.dev.materialized(static.answers) == set(keys)


@pytest.mark.soak
def test_dynamic_partitions_that_are_added_meanwhile(world: WorldOf) -> None:
    """A key added while a backfill waits is not made by it; a backfill of its own sends that key's documents alone."""
    dynamic, keys = world("dynamic"), ["bob", "alice"]
    dev = dynamic.dev
    for key in keys:
        dev.add_partition("readers", key)
    dynamic.hold()
    first = backfill(dynamic, keys)
    dev.until(lambda: dynamic.n_sent == 2 * PER_PART, "both are sent")

    dev.add_partition("readers", "aaron")
    dynamic.release()

    prove_all_is_there(dynamic, first, keys, keys)
    later = world("dynamic")
    prove_all_is_there(later, backfill(later, ["aaron"]), ["aaron"], ["aaron"])
    assert dev.materialized(dynamic.answers) == {"bob", "alice", "aaron"}


@pytest.mark.soak
def test_two_dimensions(world: WorldOf) -> None:
    """Days by party: the rectangle that was asked for is made, a materialization for each of its cells."""
    grid = world("grid")
    keys = [f"2024-01-0{day}|{party}" for day in (2, 3, 4) for party in ("federalist", "republican")]

    prove_all_is_there(grid, backfill(grid, keys), keys, keys)

    assert grid.dev.materialized(grid.answers) == set(keys)


@pytest.mark.soak
def test_months_of_documents_by_day(world: WorldOf) -> None:
    """Answers by month wait for all days of their month, and one backfill of 60 days makes both months."""
    monthly, days = world("monthly"), [f"{date(2024, 1, 1) + timedelta(days=n)}" for n in range(60)]

    prove_all_is_there(monthly, backfill(monthly, days), days, ["2024-01-01", "2024-02-01"])


@pytest.mark.soak
def test_partitions_mapped_many_to_one(world: WorldOf) -> None:
    """With a mapping of the user's own, towns of documents become countries of answers in one backfill."""
    mapped, towns = world("mapped"), ["berlin", "munich", "paris"]

    prove_all_is_there(mapped, backfill(mapped, towns), towns, ["france", "germany"])
