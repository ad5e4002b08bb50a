"""The pages become a site, with an index for programs that read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_docs import REPOSITORY

pytestmark = pytest.mark.verify


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; warnings are errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_in_the_navigation(site: Path) -> None:
    """And in the index for programs, with its first words, and as text."""
    pages = {page.relative_to(REPOSITORY / "docs").as_posix() for page in (REPOSITORY / "docs").rglob("*.md")}
    index = (site / "llms.txt").read_text()

    assert {name for name in pages if not (site / name).with_suffix(".html").is_file()} == set()
    assert set(re.findall(r"^- \[.+?\]\((.+?)\): .+$", index, flags=re.MULTILINE)) == pages
    whole = (site / "llms-full.txt").read_text()
    assert (site / "tutorial.md").read_text() in whole
    assert ":::" not in whole
    for told in (
        "claude_batch_dagster.Ask(",
        "claude_batch_dagster.checks.ErrorRate(",
        "A row that was asked is asked again",
    ):
        assert told in whole


def test_the_reference_is_made_of_the_docstrings(site: Path) -> None:
    """Public names are there with what they take."""
    page = (site / "api.html").read_text()

    for told in (
        "build_batch_asset",
        "ErrorRate",
        "LedgerStatus",
        "EmulatedClaude",
        "HeldChunksError",
        "partition_expr",
    ):
        assert told in page


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """The site works without a network, and tells nobody who reads it."""
    page = (site / "index.html").read_text()

    assert re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://[^\"]+", page) == []
    assert list(site.rglob("search_index.json"))
