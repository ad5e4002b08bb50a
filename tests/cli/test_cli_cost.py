"""What `claude-batch cost` shows, after runs that really happened."""

import csv
import io
from datetime import timedelta
from pathlib import Path
from threading import Timer
from typing import Any

import duckdb
import orjson
import pytest

from claude_batch_dagster.cli import options
from claude_batch_dagster.cli.cost import CHOICES
from claude_batch_dagster.core.pricing import price_list
from claude_batch_dagster.costs import BY
from tests.cli.conftest import FOUR, Program
from tests.core.world import PIPELINE

NO_API = {"ANTHROPIC_API_KEY": None, "ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}
"""An environment in which nothing but the files can be reached."""


@pytest.fixture
def spent(program: Program) -> Program:
    """Return the program after runs on two days, of two partitions; one answer was of no use, four rows had theirs."""
    world = program.world
    world.emulator.faults.add("not_json", times=1)
    world.documents(FOUR)
    world.run()
    world.clock.sleep(timedelta(days=1).total_seconds())
    world.documents({9: "a war of its own", 10: FOUR[1]}, part="q")
    world.run("p", "q")
    world.let_go()
    return program


def told(program: Program, *arguments: str) -> dict[str, Any]:
    """Return what machines are told."""
    found: dict[str, Any] = orjson.loads(program("cost", "--format", "json", *arguments))
    return found


def paid(program: Program) -> float:
    """Return what the view says was paid."""
    with duckdb.connect(program.world.warehouse.database, read_only=True) as connection:
        [(dollars,)] = connection.execute("SELECT sum(paid_usd) FROM claude_batch.costs").fetchall()
    return float(dollars)


GROUPS = {
    "table": [(PIPELINE,)],
    "day": [("2026-11-20",), ("2026-11-21",)],
    "partition": [(PIPELINE, "p"), (PIPELINE, "q")],
    "run": [("run-1",), ("run-2",)],
}


def test_costs_are_added_up_by_what_is_asked_for(spent: Program) -> None:
    """Each line is named, lines add up to the total, and the total is what the view says."""
    for by, groups in GROUPS.items():
        found = told(spent, "--by", by)

        names = ("table", "partition") if by == "partition" else (by,)
        assert [tuple(line[name] for name in names) for line in found["costs"]] == groups
        [total] = found["total"]
        for figure in ("requests", "paid_usd", "live_usd", "wasted_usd", "answered_rows"):
            assert sum(line[figure] for line in found["costs"]) == pytest.approx(total[figure])
        counts = ("requests", "unusable_requests", "answered_rows", "shared_rows")
        assert [total[name] for name in counts] == [6, 1, 4, 1]
        assert total["paid_usd"] == pytest.approx(paid(spent))
        assert 0 < total["wasted_usd"] < total["paid_usd"]
        assert found["prices"] == [price_list()]


@pytest.mark.verify
def test_what_was_reused_belongs_to_no_model_and_days_can_be_left_out(spent: Program) -> None:
    """An answer is reused whatever model it came from."""
    lines = told(spent, "--by", "model")["costs"]

    assert [(line["model"] is None, line["requests"] > 0, line["answered_rows"]) for line in lines] == [
        (False, True, 0),
        (True, False, 4),
    ]
    assert [line["day"] for line in told(spent, "--by", "day", "--since", "2026-11-21")["costs"]] == ["2026-11-21"]
    assert "Nothing was paid" in spent("cost", "--since", "2027-01-01")


def test_people_see_a_total_and_the_date_of_the_prices_and_machines_a_csv(spent: Program) -> None:
    """Nothing else is needed than the file; it changes nothing, however often it is done."""
    before = Path(spent.world.warehouse.database).read_bytes()

    shown = spent("cost", "--by", "partition", environment=NO_API)

    lines = [line.split() for line in shown.splitlines() if line.strip()]
    assert [line[:3] for line in lines if line[0] in {PIPELINE, "total"}] == [
        [PIPELINE, "p", "5"],
        [PIPELINE, "q", "1"],
        ["total", "6", next(line[2] for line in lines if line[0] == "total")],
    ]
    assert shown.splitlines()[-1] == f"Prices: {price_list()}."
    assert spent("cost", "--by", "partition", environment=NO_API) == shown
    assert Path(spent.world.warehouse.database).read_bytes() == before

    rows = list(csv.DictReader(io.StringIO(spent("cost", "--by", "day", "--format", "csv"))))
    assert [row["day"] for row in rows] == ["2026-11-20", "2026-11-21"]  # no total: whoever adds up would have it twice
    assert sum(float(row["paid_usd"]) for row in rows) == pytest.approx(paid(spent))


@pytest.mark.verify
def test_the_dollars_of_two_places_are_not_added_up(spent: Program) -> None:
    """What an emulator answered was never paid."""
    with duckdb.connect(spent.world.warehouse.database) as connection:
        connection.execute(
            "INSERT INTO claude_batch.spending BY NAME "
            "SELECT * REPLACE ('https://api.anthropic.com default' AS sent_to) FROM claude_batch.spending"
        )

    shown = spent("cost")

    assert "Costs at https://api.anthropic.com " in shown
    assert shown.count("total") == 2
    assert [total["requests"] for total in told(spent)["total"]] == [6, 6]


@pytest.mark.verify
def test_a_price_that_is_not_known_makes_no_sum(spent: Program) -> None:
    """Rather no figure than a wrong one; it is said of how many requests."""
    with duckdb.connect(spent.world.warehouse.database) as connection:
        connection.execute(
            "UPDATE claude_batch.spending SET cost_usd = NULL, live_cost_usd = NULL, uncached_cost_usd = NULL, "
            "n_unpriced = 1 WHERE partition_key = 'q'"
        )

    lines = {line["partition"]: line for line in told(spent, "--by", "partition")["costs"]}
    assert (lines["q"]["paid_usd"], lines["q"]["unpriced_requests"], lines["p"]["paid_usd"] > 0) == (None, 1, True)
    shown = spent("cost")
    assert "unknown" in shown
    assert "1 of the requests" in shown


def test_where_there_is_nothing_it_says_so(program: Program, tmp_path: Path) -> None:
    """No file named, none there, and one of an earlier version."""
    world = program.world
    world.documents({1: "war"})
    world.let_go()
    nowhere = str(tmp_path / "nowhere.duckdb")

    assert "--database" in program("cost", environment={"CLAUDE_BATCH_DATABASE": None}, code=1)
    assert "there is no DuckDB file" in program("cost", "--database", nowhere, code=1)
    assert not Path(nowhere).exists()
    assert "says nothing of costs" in program("cost", code=1)


@pytest.mark.verify
def test_a_file_that_a_run_has_is_waited_for(spent: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a while; then it says who has it."""
    held = duckdb.connect(spent.world.warehouse.database)
    Timer(0.5, held.close).start()
    assert PIPELINE in spent("cost")

    monkeypatch.setattr(options, "LOCK_TIMEOUT_SECONDS", 0.1)
    with duckdb.connect(spent.world.warehouse.database):
        assert "held by" in spent("cost", code=1)


def test_the_choices_are_those_of_the_view() -> None:
    """The program names them without importing DuckDB."""
    assert CHOICES == BY
