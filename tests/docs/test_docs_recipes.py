"""Every recipe runs, against the emulator, over tables such as it talks of."""

import csv
import re
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from claude_batch_dagster.testing import EmulatedClaude
from tests.docs.test_docs import REPOSITORY, code_of

pytestmark = [
    pytest.mark.verify,
    pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"),
]

TABLES = {
    "scanned_pages": "SELECT i AS id, 'Invoice A-' || i || ' of 2026-10-0' || i || ', total 19.90 EUR' AS text",
    "posts": "SELECT i AS id, 'post ' || i AS body",
    "reviews": "SELECT i AS id, 'delivery was late, staff was kind ' || i AS text",
    "letters": "SELECT i AS id, 'Sehr geehrte Damen und Herren ' || i AS text",
    "signed_contracts": "SELECT i AS id, encode('%PDF-1.7 ' || i) AS pdf",
    "companies": "SELECT i AS id, 'Company ' || i AS name, 'Town ' || i AS town",
    "tickets": "SELECT i AS id, 'invoice and payment ' || i AS body",
    "labelled_tickets": "SELECT i AS id, 'billing' AS label",
}
PAGE = REPOSITORY / "docs" / "recipes.md"


@pytest.fixture(scope="module")
def recipes() -> dict[str, Any]:
    """Return what the page declares."""
    namespace: dict[str, Any] = {"__name__": "__recipes__"}
    exec(compile(code_of(PAGE), str(PAGE), "exec"), namespace)
    return namespace


RECIPES = {
    "invoices": ["supplier", "number", "issued_on", "currency", "total", "lines"],
    "moderated_posts": ["harassment", "spam", "self_harm", "severity", "reason"],
    "review_topics": ["topics"],
    "translated_letters": ["language", "english"],
    "contracts": ["parties", "ends_on"],
    "enriched_companies": ["website", "employees", "source"],
    "labeled_tickets": ["label"],
    "doubted_tickets": ["label", "confidence", "runner_up", "runner_up_confidence"],
    "punctual_tickets": ["label"],
}


def answered(database: str, table: str) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    with duckdb.connect(database) as connection:
        relation = connection.sql(f"FROM public.{table} ORDER BY id")
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def queries() -> list[str]:
    """Return the SQL of the page."""
    return re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Make a database with all the tables."""
    path = str(tmp_path / "warehouse.duckdb")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE SCHEMA public")
        for name, rows in TABLES.items():
            connection.execute(f"CREATE TABLE public.{name} AS {rows} FROM range(1, 4) AS r(i)")
    return path


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_answers_rows(recipes: dict[str, Any], name: str, database: str, claude: EmulatedClaude) -> None:
    """Its asset materializes, each row has its answer in the columns that the page shows, and is paid for once."""
    resources = {"claude_batch": claude.resource(database)}

    for _ in range(2):
        assert dg.materialize([recipes[name]], resources=resources).success

    rows = answered(database, name)
    assert [row["status"] for row in rows] == ["succeeded"] * 3
    assert set(RECIPES[name]) <= rows[0].keys()
    assert claude.n_billed == 3
    assert claude.billed_twice == 0


def test_the_judge_sees_what_the_first_has_said(recipes: dict[str, Any], database: str, claude: EmulatedClaude) -> None:
    """Two assets in one run: the second asks about the answers of the first."""
    claude.answers("Do you agree?", agrees=False, better_label="bug")
    resources = {"claude_batch": claude.resource(database)}

    assert dg.materialize([recipes["labeled_tickets"], recipes["judged_tickets"]], resources=resources).success

    assert [row["better_label"] for row in answered(database, "judged_tickets")] == ["bug"] * 3
    assert sum("filed it under: billing" in message for message in claude.messages) == 3


def test_a_cheap_model_hands_over_and_the_table_is_measured(
    recipes: dict[str, Any], database: str, claude: EmulatedClaude
) -> None:
    """Of three rows all go up, for by fewer nothing can be chosen; and all three are known to be right."""
    resources = {"claude_batch": claude.resource(database)}

    dg.materialize([recipes["measured_tickets"]], resources=resources)
    result = dg.materialize([recipes["measured_tickets"]], resources=resources)

    assert {row["decided_by"] for row in answered(database, "measured_tickets")} == {"claude-opus-5-5"}
    assert claude.n_billed == 6
    [accuracy] = [one for one in result.get_asset_check_evaluations() if one.check_name == "accuracy"]
    assert accuracy.passed
    assert accuracy.metadata["claude_batch/gold_rows"].value == 3


def test_every_recipe_of_the_page_is_tried(recipes: dict[str, Any]) -> None:
    """None is left out here."""
    declared = {name for name, value in recipes.items() if isinstance(value, dg.AssetsDefinition)}

    assert declared == {*RECIPES, "judged_tickets", "doubted_tickets_review", "measured_tickets"}


def test_the_query_over_many_labels_counts_them(recipes: dict[str, Any], database: str, claude: EmulatedClaude) -> None:
    """The SQL of the page, over what its asset has made."""
    claude.answers("delivery", topics=["delivery", "staff"])
    dg.materialize([recipes["review_topics"]], resources={"claude_batch": claude.resource(database)})
    (query, *_) = queries()

    with duckdb.connect(database) as connection:
        assert sorted(connection.sql(query).fetchall()) == [("delivery", 3), ("staff", 3)]


def test_the_query_over_labels_says_how_right_the_table_is(
    recipes: dict[str, Any], database: str, claude: EmulatedClaude, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SQL of the page, over the file of its queue, in which a person has filled in two of three rows."""
    monkeypatch.chdir(tmp_path)
    sure = {"label": "billing", "runner_up": None, "runner_up_confidence": 0}
    claude.answers("payment", confidence=0.95, **sure)
    claude.answers("payment 2", confidence=0.5, **sure)
    assets = [recipes["doubted_tickets"], recipes["doubted_tickets_review"]]
    dg.materialize(assets, resources={"claude_batch": claude.resource(database)})
    path = tmp_path / "review_queue" / "doubted_tickets_review.csv"
    labels = {"1": "billing", "2": "bug"}
    with path.open(encoding="utf-8", newline="") as file:
        head, *lines = [*csv.reader(file)]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [head, *([key, body, labels.get(key, ""), weight] for key, body, _, weight in lines)]
        )
    (_, query, _) = queries()

    with duckdb.connect(database, read_only=True) as connection:
        assert connection.sql(query).fetchall() == [(0.5, 1.0, 2)]


def test_the_query_over_months_adds_up_what_was_paid(
    recipes: dict[str, Any], database: str, claude: EmulatedClaude
) -> None:
    """The SQL of the page, where the address of an emulator stands in the place of the API's."""
    dg.materialize([recipes["review_topics"]], resources={"claude_batch": claude.resource(database)})
    (*_, query) = queries()

    with duckdb.connect(database, read_only=True) as connection:
        assert connection.sql(query).fetchall() == []
        (month, table, n, paid, live, wasted, unpriced), *others = connection.sql(
            query.replace("'https://api.anthropic.com %'", "'%'")
        ).fetchall()
    assert (month.day, table, n, wasted, unpriced, others) == (1, "public.review_topics", 3, 0, 0, [])
    assert 0 < paid < live
