"""Real runs, really killed: what the server billed is the judge."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from tests.acceptance.studio import REPOSITORY, environment
from tests.canary import KEY, marked

N_DOCUMENTS = 60


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
def test_killed_runs_pay_once_and_lose_nothing(seed: int, tmp_path: Path) -> None:
    """Runs are killed at any moment, four times; the fifth finishes, and every document was billed once."""
    chance = random.Random(seed)  # noqa: S311  (when to kill is no secret)
    documents = tmp_path / "documents.jsonl"
    lines = [
        {"id": f"d{n}", "text": marked(f"the navy, paper {n}"), "published_on": "1800-01-02"}
        for n in range(N_DOCUMENTS)
    ]
    documents.write_text("".join(json.dumps(line) + "\n" for line in lines))
    emulator = Emulator(clock=SystemClock(), batch_seconds=1.5)
    with serving(emulator) as url:
        env = environment(
            tmp_path / "home",
            ANTHROPIC_BASE_URL=url,
            ANTHROPIC_API_KEY=KEY,
            EXAMPLE_DOCUMENTS=str(documents),
            EXAMPLE_POLL_SECONDS="0.1",
            EXAMPLE_QUIET_PERIOD_SECONDS="1",
            EXAMPLE_MAX_REQUESTS_PER_BATCH="20",
        )
        command = [sys.executable, "-m", "example_project.run"]
        for _ in range(4):
            run = subprocess.Popen(command, env=env, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            time.sleep(chance.uniform(3.0, 16.0))
            run.send_signal(signal.SIGKILL)
            run.communicate()
        done = subprocess.run(command, env=env, cwd=REPOSITORY, check=False, capture_output=True, text=True)

    billed: Counter[str] = emulator.audit.billed()
    with duckdb.connect(str(tmp_path / "home" / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute("SELECT id, status FROM public.classified_documents").fetchall()

    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(rows) == sorted((f"d{n}", "succeeded") for n in range(N_DOCUMENTS))
    assert (len(billed), set(billed.values())) == (N_DOCUMENTS, {1}), f"seed {seed}"
