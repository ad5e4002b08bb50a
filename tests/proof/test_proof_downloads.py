"""Downloads that go wrong, or only look as if they could not be had: over a real socket."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from claude_batch_dagster.core.ledger import State
from proof.answers.server import Script, ScriptedServer, http, scripted
from proof.cuts.framings import download
from proof.cuts.world import CHUNK, ENDED, WHOLE, CutWorld, served_cut_world
from proof.scratch import scratch

pytestmark = pytest.mark.verify

Say = Callable[[bytes], None]


@pytest.fixture
def world_and_server() -> Iterator[tuple[CutWorld, ScriptedServer]]:
    """Return a chunk of 200 rows to bring home, and the server that has its results."""
    with scratch() as folder, served_cut_world(folder) as both:
        yield both


@pytest.fixture
def world(world_and_server: tuple[CutWorld, ScriptedServer]) -> CutWorld:
    """Return a chunk of 200 rows to bring home by the real client."""
    return world_and_server[0]


@pytest.fixture
def server(world_and_server: tuple[CutWorld, ScriptedServer]) -> ScriptedServer:
    """Return the server that it comes from."""
    return world_and_server[1]


@pytest.fixture
def say(server: ScriptedServer) -> Say:
    """Return a function that makes the server hand out these results."""

    def say(content: bytes) -> None:
        server.script = download(content, "length", n_missing=0)

    return say


# --- what is gone, and what only looks like it ------------------------------------------------------


@pytest.fixture
def old(world: CutWorld) -> CutWorld:
    """Return a chunk that was accepted in 1970: so says a clock of ours that is wrong, or one that is right."""
    with world.database:
        world.database.execute("UPDATE chunks SET batch_created_at = '1970-01-01 00:00:00'")
    return world


def test_f66_f49_results_that_can_be_had_are_not_written_off_by_the_calendar(old: CutWorld, say: Say) -> None:
    """The API still has them, so they land."""
    say(WHOLE)

    assert old.collect()
    assert old.faults_at_home() == []


def test_f49_a_batch_that_runs_is_not_written_off_by_the_calendar(old: CutWorld, server: ScriptedServer) -> None:
    """It is waited for, whatever the clocks say."""
    running = replace(ENDED, processing_status="in_progress", ended_at=None)

    assert not old.collection.collect(CHUNK.nonce, running)
    assert (old.ledger.chunk(CHUNK.nonce).state, server.n_connections) == (State.ACCEPTED, 0)


TROUBLE = [
    pytest.param(Script(http("404", [], b"")), id="F66-404-once"),
    pytest.param(Script(http("500", [], b"")), id="F55-500"),
    pytest.param(Script(http("302", [], b"")), id="F67-302"),
    pytest.param(Script(ending="reset"), id="F70-reset"),
    pytest.param(Script(http("200", [], WHOLE[:-500], n_missing=500)), id="F70-cut"),
]


@pytest.mark.parametrize("script", TROUBLE)
def test_trouble_with_old_results_is_waited_out(
    old: CutWorld, server: ScriptedServer, say: Say, script: Script
) -> None:
    """It neither writes them off nor ends the run, and the next download brings them home."""
    server.script = script
    assert (old.collect(), old.faults_in_vain()) == (False, [])
    say(WHOLE)

    assert old.collect()
    assert old.faults_at_home() == []


# --- where results come from -----------------------------------------------------------------------


def test_f70_a_download_that_stalls_is_given_up_and_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Half of it came, then nothing, with the connection open."""
    with served_cut_world(tmp_path) as (world, server):
        half = download(WHOLE, "length", n_missing=len(WHOLE) // 2)
        server.script = replace(half, ending="hang")
        with monkeypatch.context() as impatient:
            impatient.setattr("claude_batch_dagster.client.READ_TIMEOUT_SECONDS", 0.3)
            assert (world.collect(), world.faults_in_vain(), world.rows()) == (False, [], [])
        server.let_go.set()
        server.script = download(WHOLE, "length", n_missing=0)
        assert (world.collect(), world.faults_at_home()) == (True, [])


@pytest.mark.parametrize("status", ["301", "302", "307", "308"])
def test_f67_results_are_fetched_from_nowhere_else(world: CutWorld, server: ScriptedServer, status: str) -> None:
    """A redirect to another host is no answer: that host sees no connection."""
    with scripted() as other:
        other.script = download(WHOLE, "length", n_missing=0)
        server.script = Script(http(status, [("location", f"{other.url}/results")], b""))
        assert (world.collect(), world.faults_in_vain()) == (False, [])
        assert other.n_connections == 0

    server.script = download(WHOLE, "length", n_missing=0)
    assert (world.collect(), world.faults_at_home()) == (True, [])
    assert {request.target for request in server.requests} == {"/v1/messages/batches/msgbatch_1/results"}


def test_canceling_is_no_end(world: CutWorld, server: ScriptedServer) -> None:
    """A batch that is being canceled has no results yet: none is asked for."""
    canceling = replace(ENDED, processing_status="canceling", ended_at=None)

    assert not world.collection.collect(CHUNK.nonce, canceling)
    assert (world.ledger.chunk(CHUNK.nonce).state, server.n_connections) == (State.ACCEPTED, 0)
