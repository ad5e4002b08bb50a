"""What an asset's page says of the question it asks, and what becomes of answers when that question is edited."""

import pytest

from tests.live.world import WorldOf

pytestmark = pytest.mark.dagster

FRESH: tuple[str, list[str]] = ("FRESH", [])


def test_the_page_says_what_is_asked_and_where_the_answers_go(world: WorldOf) -> None:
    """The prompt, the labels, the columns of the table, its name, the kinds, the owner and the checks."""
    described = world("described")

    page = described.dev.page(described.answers)

    assert "You classify documents." in page["description"]
    assert "<document>\n{text}\n</document>" in page["description"]
    assert (sorted(page["kinds"]), page["owners"]) == (["claude", "duckdb"], [{"team": "archive"}])
    assert page["metadata"]["dagster/table_name"]["text"] == "described.answers"
    columns = {column["name"]: column for column in page["metadata"]["dagster/column_schema"]["schema"]["columns"]}
    assert "- war: army navy war battle" in columns["label"]["description"]
    assert {"status", "partition_key", "batch_id"} < columns.keys()
    assert all(column["type"] and column["description"] for name, column in columns.items() if name != "id")
    assert [check["name"] for check in page["assetChecksOrError"]["checks"]] == [
        "complete",
        "error_rate",
        "expiry_rate",
        "invalid_rate",
        "label_drift",
        "paid_once",
        "retention",
    ]


@pytest.mark.soak
def test_an_edited_prompt_makes_old_answers_out_of_date(world: WorldOf) -> None:
    """After a reload the answers are out of date since the code changed; asked anew, a year is up to date again."""
    revised = world("revised")
    dev, years = revised.dev, ("1800", "1801")
    revised.write(*years)
    assert dev.run(revised.answers, *years) == "SUCCESS"
    assert dev.stale(revised.answers, *years) == [FRESH, FRESH]

    (revised.home / "revised_prompt.txt").write_text("You sort documents.")
    dev.reload()

    changed = ("STALE", ["has a new code version"])
    assert dev.stale(revised.answers, *years) == [changed, changed]
    assert dev.run(revised.answers, "1800") == "SUCCESS"
    assert dev.stale(revised.answers, *years) == [FRESH, changed]
    assert (revised.n_sent, revised.paid_twice) == (6, [])
