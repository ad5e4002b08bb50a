"""The main job as a newcomer runs it: every paragraph classified, and seen in Dagster."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from tests.acceptance.visitor import Visitor, dagster_dev, environment
from tests.canary import in_file, may_hold_documents
from tests.dagster_dev import REPOSITORY, DagsterDev


@dataclass(frozen=True)
class Job:
    """A finished main job."""

    home: Path
    output: str
    exit_code: int


def run_main_job(home: Path) -> Job:
    """Run what `make run` runs."""
    done = subprocess.run(
        [sys.executable, "-m", "example_project.run"],
        env=environment(home),
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
    )
    return Job(home, done.stdout + done.stderr, done.returncode)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """Run the main job, once for all tests of this file; stop the emulator it left waiting."""
    home = tmp_path_factory.mktemp("home")
    yield run_main_job(home)
    ready = home / "emulator.json"
    if ready.exists():
        os.kill(json.loads(ready.read_text())["pid"], signal.SIGTERM)


@pytest.fixture(scope="module")
def dev(job: Job) -> Iterator[DagsterDev]:
    """`make ui` on the finished main job."""
    with dagster_dev(job.home) as running:
        yield running


def query(job: Job, sql: str) -> list[tuple[object, ...]]:
    """Ask the warehouse."""
    with duckdb.connect(str(job.home / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_main_job_succeeds(job: Job) -> None:
    """The whole example runs without a key and without a network."""
    assert job.exit_code == 0, job.output


def test_every_paragraph_has_exactly_one_row(job: Job) -> None:
    """More than 20,000 paragraphs go in; each comes out once, more than 90 % with a theme."""
    [(n_documents,)] = query(job, "SELECT count(*) FROM public.documents")
    [(n_matched, n_rows)] = query(
        job,
        "SELECT count(DISTINCT d.id), (SELECT count(*) FROM public.classified_documents) "
        "FROM public.documents AS d JOIN public.classified_documents AS c ON d.id = c.id "
        "AND c.partition_key = strftime(d.published_on, '%Y')",
    )
    verdicts: Counter[object] = Counter()
    for status, n in query(job, "SELECT status, count(*) FROM public.classified_documents GROUP BY ALL"):
        verdicts[status] = int(str(n))

    assert isinstance(n_documents, int)
    assert n_documents > 20_000
    assert n_matched == n_rows == n_documents
    assert verdicts["succeeded"] > 0.9 * n_documents


def test_f120_no_paragraph_is_kept_where_none_belongs(job: Job) -> None:
    """Neither Dagster's files, nor the ledger, nor the raw results hold the words of a document."""
    [(text,)] = query(job, "SELECT min_by(text, id) FROM public.documents")
    words = str(text)[:80]

    kept = [path for path in job.home.rglob("*") if path.is_file() and path.stat().st_size]
    searched = [path for path in kept if not may_hold_documents(path.relative_to(job.home))]
    found = [leak for path in searched for leak in in_file(path, str(path.relative_to(job.home)), [words])]

    assert {"ledger.sqlite", "runs.db"} <= {path.name for path in searched}
    assert found == []


def test_every_year_is_a_materialized_partition(job: Job) -> None:
    """More than 225 years are materialized, the year without a message among them, with no rows."""
    with dg.DagsterInstance.from_config(str(job.home / "dagster_home")) as instance:
        done = instance.get_materialized_partitions(dg.AssetKey("classified_documents"))

    [(n_rows,)] = query(job, "SELECT count(*) FROM public.classified_documents WHERE partition_key = '1933'")
    assert len(done) > 225
    assert "1933" in done
    assert n_rows == 0


def test_the_summary_says_what_was_done_and_what_to_do_next(job: Job) -> None:
    """The output ends with verdicts, tokens, dollars, dollars saved, the database, and the next command."""
    words = ["succeeded", "Accuracy", "tokens in", "paid", "saved", str(job.home / "warehouse.duckdb"), "make ui"]

    assert [word for word in words if word not in job.output] == []


def test_nothing_is_paid_for_twice(job: Job) -> None:
    """A second main job sends nothing and says so."""
    before = query(job, "SELECT id, batch_id, custom_id FROM public.classified_documents ORDER BY id")

    again = run_main_job(job.home)

    assert again.exit_code == 0, again.output
    assert "0 requests sent" in again.output
    assert query(job, "SELECT id, batch_id, custom_id FROM public.classified_documents ORDER BY id") == before


@pytest.mark.dagster
@pytest.mark.browser
def test_asset_page_shows_the_table_and_its_checks(dev: DagsterDev, visitor: Visitor) -> None:
    """The asset's page shows prompt, columns, kinds, and three passing checks."""
    text = visitor.visit(
        f"{dev.url}/assets/classified_documents", expect="Latest check results", picture="asset", height=1150
    )

    for word in ("Claude", "DuckDB", "public.classified_documents", "claude-haiku-5-5", "request_hash", "<document>"):
        assert word in text
    assert visitor.errors == []


@pytest.mark.dagster
@pytest.mark.browser
def test_partition_page_shows_figures_and_a_chart(dev: DagsterDev, visitor: Visitor) -> None:
    """A partition's page shows its labels as a chart, dollars against the live price, and sample rows."""
    text = visitor.visit(
        f"{dev.url}/assets/classified_documents?view=partitions&partition=1862",
        expect="claude_batch/label_chart",
        picture="partition",
        height=1500,
    )

    for word in ("237 Partitions Selected", "claude_batch/saved_usd", "claude_batch/samples", "█"):
        assert word in text
    assert visitor.errors == []


@pytest.mark.dagster
@pytest.mark.browser
def test_page_of_accuracy_says_what_it_cannot_tell(dev: DagsterDev, visitor: Visitor) -> None:
    """The accuracy with its interval, and between what 300 gold rows cannot tell it apart."""
    text = visitor.visit(
        f"{dev.url}/assets/classified_documents?view=checks&checkDetail=accuracy",
        expect="Latest execution",
        picture="check_accuracy",
        height=830,
    )

    assert "with 300 gold rows this cannot tell" in text
    assert visitor.errors == []


@pytest.mark.dagster
@pytest.mark.browser
def test_page_of_label_recall_has_each_label_and_what_it_was_taken_for(dev: DagsterDev, visitor: Visitor) -> None:
    """A table of labels with precision and recall, and behind a click which was taken for which."""
    text = visitor.visit(
        f"{dev.url}/assets/classified_documents?view=checks&checkDetail=label_recall",
        expect="Latest execution",
        picture="check_label_recall",
        width=1600,  # each label on a line
        height=1100,
    )
    visitor.open("[Show Markdown]", picture="check_confusion")

    for word in ("claude_batch/worst_label", "precision", "recall", "F1", "slavery and civil rights"):
        assert word in text
    assert visitor.errors == []


@pytest.mark.dagster
@pytest.mark.browser
def test_downstream_chart_is_drawn(dev: DagsterDev, visitor: Visitor) -> None:
    """The page of themes_by_decade shows what two centuries talked about."""
    text = visitor.visit(f"{dev.url}/assets/themes_by_decade", expect="heat_map", picture="themes", height=1900)

    assert "war and defense" in text
    assert visitor.errors == []


@pytest.mark.browser
def test_heat_map_file_opens_in_a_browser(job: Job, visitor: Visitor) -> None:
    """The drawing beside the database shows every theme and 24 decades."""
    text = visitor.visit(
        (job.home / "themes_by_decade.svg").as_uri(),
        expect="What the presidents talked about",
        picture="heat_map",
        width=975,
        height=430,
    )

    assert "war and defense" in text
    assert "2020" in text


@pytest.mark.browser
def test_corrected_shares_open_in_a_browser(job: Job, visitor: Visitor) -> None:
    """The other drawing shows every theme with its band."""
    text = visitor.visit(
        (job.home / "themes_corrected.svg").as_uri(),
        expect="Share of each theme, as answered and corrected",
        picture="corrected_shares",
        width=744,
        height=456,
    )

    assert "slavery and civil rights" in text
    assert "corrected by 300 gold rows" in text
