"""A real `dagster dev` and a real Chromium, for tests that see what a person sees."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

REPOSITORY = Path(__file__).parents[2]
IMAGES = REPOSITORY / "docs" / "images"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

LAUNCH = """
mutation($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""

STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"

FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}


def environment(home: Path, **extra: str) -> dict[str, str]:
    """Return this process's environment with an example of its own, and no way to the real API."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "EXAMPLE_"))}
    return {**kept, "EXAMPLE_HOME": str(home), **extra}


@dataclass
class DagsterDev:
    """A running `dagster dev` of the example: webserver, daemon and code server."""

    url: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the webserver."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.loads(reply.read())
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def materialize(self, asset: str, first: str, last: str) -> str:
        """Launch one run for a range of partitions, as the UI does; return how it ended."""
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": "example_project",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]}],
        }
        tags = [
            {"key": "dagster/asset_partition_range_start", "value": first},
            {"key": "dagster/asset_partition_range_end", "value": last},
        ]
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        launched = self.graphql(LAUNCH, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return self.wait(launched["run"]["runId"])

    def wait(self, run_id: str, *, seconds: float = 120) -> str:
        """Wait for a run to finish; return its status."""
        deadline = time.monotonic() + seconds
        status = "?"
        while time.monotonic() < deadline:
            status = self.graphql(STATUS, id=run_id)["runOrError"]["status"]
            if status in FINISHED:
                return str(status)
            time.sleep(0.5)
        pytest.fail(f"run {run_id} is {status} after {seconds} s:\n{self.log.read_text()[-3000:]}")


def free_port() -> int:
    """Return a port nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
    port, log = free_port(), home / "dagster-dev.log"
    command = [str(Path(sys.executable).with_name("dagster")), "dev", "-m", "example_project"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            env={**env, "DAGSTER_HOME": prepared.stdout.strip()},
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    dev = DagsterDev(f"http://127.0.0.1:{port}", log, process)
    try:
        _wait_until_up(dev)
        yield dev
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def _wait_until_up(dev: DagsterDev) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and dev.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{dev.url}/server_info", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"dagster dev did not come up:\n{dev.log.read_text()[-3000:]}")


@dataclass
class Visitor:
    """A person at the browser: goes to a page, reads it, takes a picture, notes what the console says."""

    page: Page
    pictures: Path
    errors: list[str] = field(default_factory=list)

    def visit(self, url: str, *, expect: str, picture: str, width: int = 1400, height: int = 1000) -> str:
        """Open a page, wait for a text on it, keep a picture; return the page's text."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.goto(url)
        self.page.get_by_text(expect).first.wait_for(timeout=45_000)
        skip = self.page.get_by_text("Skip", exact=True)
        if skip.count():
            skip.first.click()
        self.page.wait_for_timeout(1500)  # charts fade in
        self.page.screenshot(path=self.pictures / f"{picture}.png")
        return str(
            self.page.evaluate("document.documentElement.innerText ?? document.documentElement.textContent")
        ).replace("\xa0", " ")
