"""What README and docs say is true: their code runs, their tables are complete, their pictures are there."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

import claude_batch_dagster
from claude_batch_dagster.assets.factories import BatchOptions
from claude_batch_dagster.checks.usual import USUAL
from claude_batch_dagster.core.collecting.output_schema import BOOKKEEPING
from claude_batch_dagster.core.ledger import NEXT, State
from claude_batch_dagster.core.sending.evidence import Evidence
from claude_batch_dagster.core.sending.listing import list_since
from claude_batch_dagster.core.sending.recovery import Recovery
from claude_batch_dagster.core.verdicts import Verdict
from claude_batch_dagster.runs.run_config import RunConfig
from tests.canary import KEY, marked

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")), REPOSITORY / "proof" / "README.md"]
PROJECT_SETTINGS = """
[project]
name = "my_project"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "my_project"
"""
"""As create-dagster writes them."""

REFERENCE = (REPOSITORY / "docs" / "reference.md").read_text()


def code_of(page: Path) -> str:
    """Return the page's Python blocks, one after the other, each on the lines it has on the page."""
    lines: list[str] = []
    inside = False
    for line in page.read_text().splitlines():
        fence = line.strip().startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line.strip() == "```python" if fence else inside
    return "\n".join(lines)


@pytest.mark.verify
def test_the_tests_of_the_page_on_testing_pass(tmp_path: Path) -> None:
    """Its code is a test module of a project of somebody's own, and pytest finds the fixture by itself."""
    page = REPOSITORY / "docs" / "testing.md"
    (tmp_path / "test_tickets.py").write_text(code_of(page))
    title, yaml = re.findall(r'^```yaml title="(.*?)"\n(.*?)^```$', page.read_text(), re.DOTALL | re.MULTILINE)[0]
    component = tmp_path / title
    component.parent.mkdir(parents=True)
    component.write_text(yaml)
    (tmp_path / "pyproject.toml").write_text(PROJECT_SETTINGS.replace("my_project", "support"))
    for package in (component.parents[1], component.parents[2]):
        (package / "__init__.py").touch()

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_tickets.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src"), "PYTHONWARNINGS": ""},
        check=False,
        capture_output=True,
        text=True,
    )

    assert "3 passed" in ran.stdout, ran.stdout


@pytest.fixture
def tickets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with the warehouse that the README talks of, and a copy of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with duckdb.connect("warehouse.duckdb") as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")
        connection.execute(
            "CREATE TABLE public.tickets AS SELECT * FROM (VALUES "
            "('t1', 'Invoice', ?, TIMESTAMP '2026-11-02 09:00'), "
            "('t2', 'Down', ?, TIMESTAMP '2026-11-02 10:00')) "
            "AS t(id, subject, body, created_at)",
            [
                marked("I was billed twice, please refund the payment"),
                marked("Your service is down and returns errors"),
            ],
        )
    (tmp_path / "trial").mkdir()
    shutil.copy("warehouse.duckdb", "trial")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks_run(page: Path, tickets: Path) -> None:
    """Every Python block of a page runs as it stands, in order."""
    namespace: dict[str, Any] = {"__name__": "__page__"}

    exec(compile(code_of(page), str(page), "exec"), namespace)

    assert namespace.get("result") is None or namespace["result"].success
    if "definitions" in namespace:
        dg.Definitions.validate_loadable(namespace["definitions"])


def test_a_project_of_several_modules_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the docs show of a project made by create-dagster, with a module more, loads as Dagster loads such a one."""
    defs = tmp_path / "src" / "my_project" / "defs"
    defs.mkdir(parents=True)
    for package in (defs, defs.parent):
        (package / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(PROJECT_SETTINGS)
    for block in re.findall(r"```python\n# defs/(.*?)```", (REPOSITORY / "docs" / "dagster.md").read_text(), re.DOTALL):
        name, _, code = block.partition("\n")
        (defs / name).write_text(code)
        if "tickets" in name:
            (defs / "letters.py").write_text(code.replace("tickets", "letters"))
    monkeypatch.syspath_prepend(tmp_path / "src")

    repository = dg.load_from_defs_folder(path_within_project=defs).get_repository_def()

    assert {key.path[-1] for key in repository.assets_defs_by_key} == {"classified_tickets", "classified_letters"}
    assert len(repository.sensor_defs) == 2
    assert "claude_batch" in repository.get_top_level_resources()


def test_readme_classifies_tickets(tickets: Path) -> None:
    """After the README's code the tickets are classified, offline."""
    exec(compile(code_of(PAGES[0]), "README.md", "exec"), {"__name__": "__page__"})

    with duckdb.connect("trial/warehouse.duckdb") as connection:
        rows = connection.execute("SELECT id, label, status FROM public.classified_tickets ORDER BY id").fetchall()

    assert rows == [("t1", "billing", "succeeded"), ("t2", "outage", "succeeded")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link and picture of a page exists."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())

    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def headings_of(page: Path) -> set[str]:
    """Return the names by which GitHub links to the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_headings_lead_to_headings(page: Path) -> None:
    """Every link into a page, the same or another, names a heading there."""
    links = re.findall(r"\]\(((?!https?:)[^)#]*)#([^)]*)\)", page.read_text())

    assert [link for link in links if link[1] not in headings_of(page.parent / link[0] if link[0] else page)] == []


def test_reference_names_every_option() -> None:
    """The reference has a line for every option of the resource and every parameter of the factories."""
    options = [*claude_batch_dagster.ClaudeBatchResource.model_fields]
    factories = [
        getattr(claude_batch_dagster, name) for name in claude_batch_dagster.__all__ if name.startswith("build_")
    ]
    parameters = [name for factory in factories for name in inspect.signature(factory).parameters if name != "options"]

    settings = [*(setting.name for setting in fields(claude_batch_dagster.Ask)), *BatchOptions.__annotations__]
    settings += [*RunConfig.model_fields, *(setting.name for setting in fields(claude_batch_dagster.Budget))]
    thresholds = [*(kind.__name__ for kind in USUAL), *(kind.name for kind in USUAL)]
    parameters += [*settings, *thresholds]

    assert [name for name in (*options, *parameters) if f"`{name}`" not in REFERENCE] == []
    assert [factory.__name__ for factory in factories if factory.__name__ not in REFERENCE] == []


def test_every_claim_about_dagster_is_a_test() -> None:
    """Each paragraph and table of the page names, in its source, tests that there are."""
    page = re.sub(r"```.*?```", "", (REPOSITORY / "docs" / "dagster.md").read_text(), flags=re.DOTALL)
    blocks = [block for block in page.split("\n\n") if block.strip() and not re.match(r"#|!\[", block.strip())]
    there = {
        name
        for file in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), flags=re.MULTILINE)
    }

    opening, *claims = blocks
    assert "is tested" in opening
    assert [claim for claim in claims if "<!-- test_" not in claim] == []
    assert [name for claim in claims for name in re.findall(r"\btest_\w+", claim) if name not in there] == []


def test_readme_names_every_column_and_docs_every_verdict() -> None:
    """The README lists the columns of the output table, the docs every status a row can have."""
    readme, story = PAGES[0].read_text(), (REPOSITORY / "docs" / "how-it-works.md").read_text()

    assert [name for name in BOOKKEEPING if f"`{name}`" not in readme] == []
    assert [verdict for verdict in Verdict if f"| `{verdict}` |" not in story] == []


def test_docs_draw_the_moves_that_the_code_allows() -> None:
    """The table of states in the docs is the table of moves in the code."""
    story = (REPOSITORY / "docs" / "how-it-works.md").read_text()
    drawn = {}
    for line in story.split("## States of a batch")[1].split("## Verdicts")[0].splitlines():
        if line.startswith("| `"):
            state, _, following = (cell.strip() for cell in line.strip("|").split("|"))
            drawn[state.strip("`")] = frozenset(re.findall(r"`(\w+)`", following))

    assert drawn == {str(state): frozenset(map(str, following)) for state, following in NEXT.items()}


def test_the_drawing_of_the_states_shows_every_move_and_no_other() -> None:
    """What is drawn is what `NEXT` allows, from where an intent is written to where nothing follows."""
    drawing = (REPOSITORY / "docs" / "how-it-works.md").read_text().split("stateDiagram-v2")[1].split("```")[0]
    arrows = set(re.findall(r"^ *(\S+) --> (\w+|\[\*\])", drawing, flags=re.MULTILINE))

    moves = {(str(state), str(following)) for state, all_following in NEXT.items() for following in all_following}
    ends = {(str(state), "[*]") for state, following in NEXT.items() if not following}
    assert arrows == {("[*]", str(State.SENDING))} | moves | ends


def test_every_step_of_the_recovery_is_a_function_of_that_name() -> None:
    """Who knows the steps of the story finds each in the code: list, prove, adopt, listen, watch."""
    steps = {"settle", "reconcile", "candidates", "prove", "adopt", "listen", "let_go", "watch"}

    there = {name for one in (Recovery, Evidence) for name, _ in inspect.getmembers(one, inspect.isfunction)}
    assert steps <= there
    assert callable(list_since)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_code_that_a_page_names_are_there(page: Path) -> None:
    """And those of a room that it points into: what has moved is found where it is now."""
    named = set(re.findall(r"`(claude_batch_dagster/[\w/.]+)`", page.read_text()))

    assert [path for path in sorted(named) if not (REPOSITORY / path).exists()] == []
    assert len(named) > 15 or page.name != "how-it-works.md"


def test_arrows_between_rooms_point_one_way() -> None:
    """Front door, client and storage, core, errors: nothing imports against the order."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout
