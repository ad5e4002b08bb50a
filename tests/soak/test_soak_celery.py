"""A step on a Celery worker: nobody hands it the signal of a click on Terminate."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import sleep

import duckdb
import pytest

from tests.canary import KEY
from tests.soak.installed import install

PROJECT = """
import os
import dagster as dg
from dagster_celery import celery_executor
from dagster_duckdb import DuckDBResource
from claude_batch_dagster import ClaudeBatchResource, build_classification_asset

asset = build_classification_asset(
    name="answers", upstream="tickets", labels={"billing": "payment, refund", "other": "the rest"}
)
defs = dg.Definitions(
    assets=[asset],
    jobs=[dg.define_asset_job("answer", selection=[asset], executor_def=celery_executor)],
    resources={
        "claude_batch": ClaudeBatchResource(
            api_key=dg.EnvVar("ANTHROPIC_API_KEY"),
            base_url=os.environ["ANTHROPIC_BASE_URL"],
            database=DuckDBResource(database=os.environ["DATABASE"]),
        )
    },
)
"""

TERMINATE = """
import dagster as dg
with dg.DagsterInstance.get() as instance:
    instance.report_run_canceling(instance.get_runs(limit=1)[0])
"""

TELL = """
import dagster as dg
with dg.DagsterInstance.get() as instance:
    run = instance.get_runs(limit=1)[0]
    print(run.status.value, *[entry.message for entry in instance.all_logs(run.run_id)], sep="\\n")
"""


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Deployment:
    """Redis, a Celery worker, the emulator, and a run, each a process of its own."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder, self.python, self.bin = folder, python, Path(python).parent
        (folder / "home").mkdir()
        (folder / "home" / "dagster.yaml").touch()
        (folder / "project.py").write_text(PROJECT)
        redis, api = free_port(), free_port()
        broker = f"redis://127.0.0.1:{redis}/0"
        config = {"execution": {"config": {"broker": broker, "backend": broker}}}
        (folder / "celery.yaml").write_text(str(config))  # which is YAML, too
        self.environment = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(folder),
            "PYTHONPATH": str(folder),
            "DAGSTER_HOME": str(folder / "home"),
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{api}",
            "DATABASE": str(folder / "warehouse.duckdb"),
        }
        self.redis = ["redis-server", "--port", str(redis), "--save", ""]
        self.emulator = [python, "-m", "claude_batch_dagster.emulator", "--port", str(api), "--batch-seconds", "3600"]
        self.worker = ["dagster-celery", "worker", "start", "-A", "dagster_celery.app", "-y", "celery.yaml"]
        self.run = ["dagster", "job", "execute", "-f", "project.py", "-j", "answer", "-c", "celery.yaml"]

    @contextmanager
    def process(self, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        """Have a process, whose output goes to a file."""
        with (self.folder / f"{Path(command[0]).name}-{command[-1].rpartition('/')[2]}.log").open("wb") as log:
            program = shutil.which(command[0], path=self.environment["PATH"]) or command[0]
            with subprocess.Popen(
                [program, *command[1:]],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as running:
                try:
                    yield running
                finally:
                    running.terminate()

    def told(self, script: str = TELL) -> list[str]:
        """Run a script there and return the lines that it tells."""
        done = subprocess.run(
            [self.python, "-W", "ignore", "-c", script],
            cwd=self.folder,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
        )
        return done.stdout.splitlines()

    def wait_until_told(self, what: str) -> list[str]:
        """Wait until the run's status or log says something; fail after five minutes."""
        told: list[str] = []
        for _ in range(150):
            told = self.told()
            if any(what in line for line in told):
                return told
            sleep(2)
        raise AssertionError(told)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs a Redis server (redis-server on the PATH)")
def test_a_click_on_terminate_reaches_a_step_on_a_celery_worker(tmp_path: Path) -> None:
    """The step sees within a quarter of a minute that its run is terminated, and cancels its batch."""
    python = install(tmp_path)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "dagster-celery", "redis"], check=True)
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("CREATE SCHEMA public")
        connection.execute("CREATE TABLE public.tickets AS SELECT 't1' AS id, 'refund the payment' AS text")
    there = Deployment(tmp_path, python)
    with ExitStack() as running:
        for command in (there.redis, there.emulator, there.worker):
            running.enter_context(there.process(command))
        run = running.enter_context(there.process(there.run))
        there.wait_until_told("1 batch open")

        there.told(TERMINATE)
        run.send_signal(signal.SIGINT)  # as the launcher does; the step is not a child of it
        told = there.wait_until_told("CANCELED")

    assert any("Terminated: 1 batch canceled (msgbatch_" in line for line in told)
