"""The server: a process that can be started, steered, killed and started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import orjson
import pytest
from click.testing import CliRunner

from claude_batch_dagster.emulator import Emulator, Fault, SystemClock, serving
from claude_batch_dagster.emulator.__main__ import main, parse_fault

Ask = Callable[..., Any]

PATH = "/v1/messages/batches"


@contextmanager
def process(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the emulator as a process; give it and its URL."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "claude_batch_dagster.emulator", "--port", "0", "--ready-file", str(ready)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as running:
        try:
            while not ready.exists():
                assert running.poll() is None
                time.sleep(0.02)
            told = orjson.loads(ready.read_bytes())
            assert told["pid"] == running.pid
            yield running, told["url"]
        finally:
            running.kill()


def test_nothing_is_lost_when_the_server_is_killed(tmp_path: Path, ask: Ask) -> None:
    """After SIGKILL and a restart each accepted batch is there, with cancel, clock and audit, and each live bill."""
    options = ("--state", str(tmp_path / "state"), "--batch-seconds", "3600")
    with process(tmp_path, *options) as (running, url), anthropic.Anthropic(api_key="k", base_url=url) as client:
        kept = client.messages.batches.create(requests=[ask(f"row-{n}") for n in range(100)])
        httpx2.post(f"{url}/_emulator/clock", json={"advance_seconds": 3600})
        canceled = client.messages.batches.create(requests=[ask()])
        client.messages.batches.cancel(canceled.id)
        client.messages.create(**ask(text="live")["params"])
        os.kill(running.pid, signal.SIGKILL)
    with process(tmp_path, *options) as (_, url), anthropic.Anthropic(api_key="k", base_url=url) as client:
        ids = [batch.id for batch in client.messages.batches.list()]
        results = list(client.messages.batches.results(kept.id))
        status = client.messages.batches.retrieve(canceled.id).processing_status
        audit = httpx2.get(f"{url}/_emulator/audit").json()

    assert ids == [canceled.id, kept.id]
    assert len(results) == 100
    assert status == "canceling"
    assert (audit["posts"], audit["refused"], len(audit["requests"])) == (2, 0, 101)
    assert sum(audit["billed"].values()) == 100 + 1
    assert [call["model"] for call in audit["live"]] == ["claude-haiku-5-5"]


def test_an_idle_server_leaves_by_itself(tmp_path: Path) -> None:
    """Nobody called for a while, unfinished batches or not: it exits with 0, having said where it was."""
    with process(tmp_path, "--idle-exit-seconds", "2") as (running, url):
        assert httpx2.get(f"{url}/_emulator/health").json()["status"] == "ok"
        assert running.wait(timeout=60) == 0
        assert running.stdout is not None
        assert running.stdout.read() == f"claude emulator listens on {url}\n"


def test_the_command_takes_all_its_options(tmp_path: Path) -> None:
    """Every option is understood, and the ready file is whole."""
    result = CliRunner().invoke(
        main,
        [
            *("--port", "0", "--state", str(tmp_path / "state"), "--batch-seconds", "1,0.5", "--seed", "7"),
            *("--fault", "errored=0.1", "--fault", "500:2@retrieve", "--key", "a=wrkspc_a", "--key", "b"),
            *("--idle-exit-seconds", "0.1", "--ready-file", str(tmp_path / "x" / "ready.json"), "--progressive-counts"),
            *("--cache-reads", "0.5", "--unlike-models"),
        ],
    )

    assert result.exit_code == 0, result.output
    assert orjson.loads((tmp_path / "x" / "ready.json").read_bytes())["pid"] == os.getpid()
    assert (tmp_path / "state" / "state.sqlite").exists()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("500", Fault(name="500")),
        ("errored=0.25", Fault(name="errored", rate=0.25)),
        ("529_after_accept:3", Fault(name="529_after_accept", times=3)),
        ("500=0.5:2@retrieve", Fault(name="500", rate=0.5, times=2, endpoint="retrieve")),
        ("429@GET", Fault(name="429", method="GET")),
        ("429@GET/v1/*", Fault(name="429", method="GET", path="/v1/*")),
        ("429@/v1/*", Fault(name="429", path="/v1/*")),
        ("list_lag=30", Fault(name="list_lag", seconds=30)),
        ("list_lag", Fault(name="list_lag")),
        ("redirect_307=http://other:8000/x", Fault(name="redirect_307", url="http://other:8000/x")),
        ("foreign_results_url=https://other", Fault(name="foreign_results_url", url="https://other")),
    ],
)
def test_faults_are_written_in_one_word(text: str, fault: Fault) -> None:
    """Name, rate, times and aim fit on the command line."""
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fault", "nonsense"], "there is no fault named 'nonsense'"),
        (["--fault", "500=high"], "is not of the form"),
        (["--batch-seconds", "soon"], "is neither S nor S,PER_REQUEST"),
    ],
)
def test_mistakes_on_the_command_line_are_explained(options: list[str], message: str) -> None:
    """A wrong option stops the command before it listens."""
    result = CliRunner().invoke(main, options)

    assert result.exit_code == 2
    assert message in result.output


def test_a_running_server_is_steered(ask: Ask) -> None:
    """Faults, clock and pace change over HTTP, without a key."""
    emulator = Emulator(clock=SystemClock())
    with serving(emulator) as url, httpx2.Client(base_url=f"{url}/_emulator") as control:
        added = control.post("/faults", json={"name": "500", "times": 1}).json()
        both = control.post("/faults", json=[{"name": "errored", "rate": 0.5}]).json()
        left = control.delete("/faults", params={"name": "errored"}).json()
        listed = control.get("/faults").json()
        none = control.delete("/faults").json()
        pace = control.post("/batch_seconds", json={"batch_seconds": 9}).json()
        before = control.get("/health").json()["now"]
        after = control.post("/clock", json={"advance_seconds": 3600}).json()["now"]

    assert [fault["name"] for fault in added] == ["500"]
    assert [fault["name"] for fault in both] == ["500", "errored"]
    assert left == listed == added
    assert none == []
    assert pace == {"batch_seconds": 9, "request_seconds": 0, "progressive_counts": False}
    assert before < after


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "/_emulator/faults", {"name": "x"}, "ValueError: there is no fault named 'x'"),
        ("POST", "/_emulator/faults", {"rate": 1}, "TypeError"),
        ("POST", "/_emulator/clock", {}, "KeyError: 'advance_seconds'"),
        ("POST", "/_emulator/clock", {"advance_seconds": -1}, "ValueError: a clock cannot go back"),
        ("GET", "/_emulator/nothing", None, "LookupError: there is no GET /_emulator/nothing"),
    ],
)
def test_mistakes_in_steering_are_explained(handle: Any, method: str, path: str, body: Any, message: str) -> None:
    """A wrong request to a control endpoint is a 400 that says why."""
    reply = handle(method, path, body)

    assert reply.status == 400
    assert reply.json()["error"].startswith(message)


def test_state_can_be_opened_again_in_the_same_process(tmp_path: Path, ask: Ask) -> None:
    """Batches, deletions and the advanced clock are found again in the folder."""
    headers = {"x-api-key": "key", "anthropic-version": "2026-10-21"}
    body = orjson.dumps({"requests": [ask()]})
    first = Emulator(state=tmp_path, batch_seconds=10)
    kept, deleted = (first.handle("POST", PATH, headers, body).json()["id"] for _ in range(2))
    first.advance(seconds=10)
    first.handle("DELETE", f"{PATH}/{deleted}", headers)
    first.close()
    second = Emulator(state=str(tmp_path), batch_seconds=10)
    listed = second.handle("GET", PATH, headers).json()["data"]
    third = second.handle("POST", PATH, headers, body).json()["id"]
    results = second.handle("GET", f"{PATH}/{kept}/results", headers).read()
    second.close()

    assert [batch["id"] for batch in listed] == [kept]
    assert third not in {kept, deleted}
    assert results.count(b"\n") == 1
    assert not (tmp_path / "requests" / f"{deleted}.jsonl").exists()


def test_a_place_that_is_taken_is_an_error(tmp_path: Path) -> None:
    """Two emulators share neither a port nor a state, and the second is told so."""
    first = Emulator(state=tmp_path)
    with serving(first) as url:
        port = url.rpartition(":")[2]
        taken_port = CliRunner().invoke(main, ["--port", port])
        taken_state = CliRunner().invoke(main, ["--port", "0", "--state", str(tmp_path)])
    first.close()

    assert (taken_port.exit_code, taken_state.exit_code) == (1, 1)
    assert "Address already in use" in taken_port.output
    assert f"{tmp_path} is in use by another emulator" in taken_state.output


def test_a_server_that_cannot_start_is_an_error(server: tuple[Emulator, str]) -> None:
    """`serving` on a port that is taken fails at once."""
    port = int(server[1].rpartition(":")[2])
    with pytest.raises(OSError, match="Address already in use"), serving(Emulator(), port=port):
        pass


def test_a_terminated_server_stops_soon(tmp_path: Path) -> None:
    """SIGTERM ends it, and its state can be opened again at once."""
    with process(tmp_path, "--state", str(tmp_path / "state")) as (running, _):
        running.terminate()
        assert running.wait(timeout=60) is not None
    Emulator(state=tmp_path / "state").close()
