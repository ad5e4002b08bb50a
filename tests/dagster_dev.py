"""A real `dagster dev`: webserver, daemon and code server, for tests that talk to it over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]

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

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dataclass
class DagsterDev:
    """A running `dagster dev` of one module."""

    url: str
    log: Path
    process: "subprocess.Popen[bytes]"
    location: str
    """Name of the code location: that of the module."""

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the webserver."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.loads(reply.read())
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def launch(self, *assets: str, tags: Mapping[str, str], config: Mapping[str, Any] | None = None) -> str:
        """Launch a run of assets (`prefix/name`), as the UI does; return its id."""
        selector = {
            "repositoryName": "__repository__",
            "repositoryLocationName": self.location,
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": asset.split("/")} for asset in assets],
        }
        metadata = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        params = {"selector": selector, "mode": "default", "executionMetadata": metadata}
        given = {**params, "runConfigData": config} if config else params
        launched = self.graphql(LAUNCH, params=given)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def materialize(self, asset: str, first: str, last: str) -> str:
        """Run a range of partitions of an asset; return how it ended."""
        return self.wait(self.launch(asset, tags=dict(zip(RANGE, (first, last), strict=True))))

    def status(self, run_id: str) -> str:
        """Return the status of a run."""
        return str(self.graphql(STATUS, id=run_id)["runOrError"]["status"])

    def wait(self, run_id: str, *, seconds: float = 300) -> str:
        """Wait for a run to finish; return its status."""
        deadline = time.monotonic() + seconds
        status = "?"
        while time.monotonic() < deadline:
            status = self.status(run_id)
            if status in FINISHED:
                return status
            time.sleep(0.3)
        pytest.fail(f"run {run_id} is {status} after {seconds} s:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """Press Ctrl-C and wait for the end; then end whatever it left behind."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self._wait_for_the_rest()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    def _wait_for_the_rest(self, *, seconds: float = 60) -> None:
        """Wait for runs that are stopping: they have a word to say in their logs."""
        deadline = time.monotonic() + seconds
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self.process.pid, 0)
                time.sleep(0.05)


def free_port() -> int:
    """Return a port nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving_module(module: str, log: Path, env: Mapping[str, str]) -> Iterator[DagsterDev]:
    """Run `dagster dev` on a module until the block ends; `env` names its `DAGSTER_HOME`."""
    port = free_port()
    program = str(Path(sys.executable).with_name("dagster"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            [program, "dev", "-m", module, "-h", "127.0.0.1", "-p", str(port)],
            env=dict(env),
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    dev = DagsterDev(f"http://127.0.0.1:{port}", log, process, module)
    try:
        _wait_until_up(dev)
        yield dev
    finally:
        dev.stop()


def _wait_until_up(dev: DagsterDev) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and dev.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{dev.url}/server_info", timeout=30):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"dagster dev did not come up:\n{dev.log.read_text()[-3000:]}")
