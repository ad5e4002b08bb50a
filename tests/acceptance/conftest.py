"""A real browser, and documents to put in."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.acceptance.visitor import CHROMIUM, IMAGES, Visitor
from tests.canary import marked


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM ON THIS MACHINE: the pages of the Dagster UI were not looked at; install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-sync",
            ],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def visitor(browser: Browser, tmp_path: Path) -> Iterator[Visitor]:
    """
    Return a visitor whose pictures are kept with the test.

    `UPDATE_SCREENSHOTS=1` writes those that the docs have to docs/images.
    """
    page = browser.new_page()
    visitor = Visitor(page, tmp_path, in_docs=IMAGES if os.environ.get("UPDATE_SCREENSHOTS") else tmp_path)
    page.on("console", lambda message: visitor.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: visitor.errors.append(str(error)))
    yield visitor
    page.close()


@pytest.fixture
def write_documents(tmp_path: Path) -> Callable[[Mapping[str, int]], Path]:
    """Write a corpus with so many documents in each year; return the file."""

    def write(sizes: Mapping[str, int]) -> Path:
        topics = ("tariff and trade of the merchants", "the army and the navy at war", "the treasury and the debt")
        lines = [
            {
                "id": f"{year}-{n:03d}",
                "text": marked(f"{topics[n % 3]}, number {n} of {year}"),
                "published_on": f"{year}-05-01",
            }
            for year, size in sizes.items()
            for n in range(size)
        ]
        path = tmp_path / "documents.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write
