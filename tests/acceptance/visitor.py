"""The example in a real `dagster dev`, and a real Chromium, for tests that see what a person sees."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page

from tests.dagster_dev import REPOSITORY, DagsterDev, serving_module

IMAGES = REPOSITORY / "docs" / "images"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def environment(home: Path, **extra: str) -> dict[str, str]:
    """Return this process's environment with an example of its own, and no way to the real API."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "EXAMPLE_"))}
    return {**kept, "EXAMPLE_HOME": str(home), **extra}


@contextmanager
def dagster_dev(home: Path, **extra: str) -> Iterator[DagsterDev]:
    """Run `dagster dev` on the example in `home` until the block ends."""
    env = environment(home, **extra)
    prepared = subprocess.run(
        [sys.executable, "-m", "example_project.instance"],
        env=env,
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    )
    env["DAGSTER_HOME"] = prepared.stdout.strip()
    with serving_module("example_project", home / "dagster-dev.log", env) as dev:
        yield dev


@dataclass
class Visitor:
    """A person at the browser: goes to a page, reads it, takes a picture, notes what the console says."""

    page: Page
    pictures: Path
    in_docs: Path
    """Where pictures go that are there already."""
    errors: list[str] = field(default_factory=list)

    def visit(self, url: str, *, expect: str, picture: str, width: int = 1400, height: int = 1000) -> str:
        """Open a page, wait for a text on it, keep a picture; return the page's text."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.goto(url)
        self.page.get_by_text(expect).first.wait_for(timeout=120_000)
        skip = self.page.get_by_text("Skip", exact=True)
        if skip.count():
            skip.first.click()
        self._keep(picture)
        return str(
            self.page.evaluate("document.documentElement.innerText ?? document.documentElement.textContent")
        ).replace("\xa0", " ")

    def open(self, link: str, *, picture: str) -> None:
        """Click on the first link with a text, and keep a picture of the dialog that opens."""
        self.page.get_by_text(link).first.click()
        self.page.get_by_role("dialog").locator("img").wait_for(timeout=30_000)
        self._keep(picture)

    def _keep(self, picture: str) -> None:
        self.page.wait_for_timeout(1500)  # charts fade in
        kept = self.in_docs / f"{picture}.png"
        self.page.screenshot(path=kept if kept.exists() else self.pictures / kept.name)
