"""The audit tells what was accepted and billed, whatever the client was told."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from json import dumps
from typing import Any

import orjson
import pytest

from claude_batch_dagster.emulator import Emulator

Ask = Callable[..., Any]
Handle = Callable[..., Any]

PATH = "/v1/messages/batches"
HEADERS = {"x-api-key": "key", "anthropic-version": "2026-10-21"}


def digest(params: dict[str, Any]) -> str:
    """Return the digest as anybody can compute it."""
    canonical = dumps(params, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(canonical.encode()).hexdigest()


def test_every_acceptance_is_written_down(emulator: Emulator, ask: Ask) -> None:
    """Id, time, workspace, digest of the body, size and retry count of each batch."""
    body = orjson.dumps({"requests": [ask("a"), ask("b")]})
    headers = {**HEADERS, "x-stainless-retry-count": "1"}
    batch_id = emulator.handle("POST", PATH, headers, iter([body[:10], body[10:]])).json()["id"]
    (accepted,) = emulator.audit.accepted()

    assert (accepted.id, accepted.created_at) == (batch_id, "2026-11-20T18:37:24.100435Z")
    assert accepted.workspace.startswith("wrkspc_01")
    assert (accepted.sha256, accepted.n_requests, accepted.n_retries) == (sha256(body).hexdigest(), 2, 1)


def test_when_batches_have_ended_is_known(emulator: Emulator, ask: Ask) -> None:
    """Of each that has, by now."""
    started = emulator.clock.now()
    early = emulator.handle("POST", PATH, HEADERS, orjson.dumps({"requests": [ask("a")]})).json()["id"]
    emulator.clock.advance(minutes=10)
    emulator.handle("POST", PATH, HEADERS, orjson.dumps({"requests": [ask("b")]}))

    [(batch_id, ended_at)] = emulator.audit.ended_at().items()

    assert batch_id == early
    assert started < ended_at < emulator.clock.now()


def test_what_is_billed_twice_is_counted_twice(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """Params are known by their content, whatever order their keys have."""
    first, second = ask("a", "Grüße"), ask("b", "Grüße")
    second["params"] = dict(reversed(second["params"].items()))
    handle("POST", PATH, {"requests": [first]})
    handle("POST", PATH, {"requests": [second, ask("c", "other")]})
    before = emulator.audit.billed()
    emulator.clock.advance(hours=1)

    assert before == {}
    assert emulator.audit.billed() == {digest(first["params"]): 2, digest(ask(text="other")["params"]): 1}


def test_requests_are_found_by_custom_id(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """Every batch that carried a custom_id is listed, with what became of it."""
    emulator.faults.add("expired", times=1)
    handle("POST", PATH, {"requests": [ask("a")]})
    handle("POST", PATH, {"requests": [ask("a")]})
    emulator.clock.advance(hours=1)
    found = emulator.audit.by_custom_id()

    assert found.keys() == {"a"}
    assert [request.billed for request in found["a"]] == [False, True]


def test_refused_attempts_are_counted(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """Attempts that came to nothing are posts too; those that never arrived are not."""
    handle("POST", PATH, {})
    emulator.faults.add("500", times=1)
    handle("POST", PATH, {"requests": [ask()]})
    emulator.faults.add("connect_error", times=1)
    handle("POST", PATH, {"requests": [ask()]})
    handle("POST", PATH, {"requests": [ask()]})

    assert (emulator.audit.n_posts(), emulator.audit.n_refused()) == (3, 2)


def test_deleting_does_not_take_back(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """A deleted batch was billed all the same."""
    batch_id = handle("POST", PATH, {"requests": [ask()]}).json()["id"]
    emulator.clock.advance(hours=1)
    handle("DELETE", f"{PATH}/{batch_id}")

    assert emulator.audit.billed().total() == 1


def test_many_threads_submit_at_once(emulator: Emulator, ask: Ask) -> None:
    """Every batch has its own id, and none is lost."""
    body = orjson.dumps({"requests": [ask(f"row-{n}") for n in range(20)]})

    def submit(_: int) -> str:
        return str(emulator.handle("POST", PATH, HEADERS, body).json()["id"])

    with ThreadPoolExecutor(8) as threads:
        ids = set(threads.map(submit, range(40)))

    assert len(ids) == len(emulator.audit.accepted()) == 40
    assert {batch.id for batch in emulator.audit.accepted()} == ids
    assert len(list(emulator.audit.requests())) == 800


@pytest.mark.verify
def test_thirty_thousand_requests_are_audited(emulator: Emulator, ask: Ask) -> None:
    """Large batches are accepted, retrieved and audited like small ones."""
    body = orjson.dumps({"requests": [ask(f"row-{n}", "word " * 100) for n in range(10_000)]})
    ids = [emulator.handle("POST", PATH, HEADERS, body).json()["id"] for _ in range(3)]
    emulator.clock.advance(hours=1)
    statuses = [emulator.handle("GET", f"{PATH}/{batch_id}", HEADERS).json() for batch_id in ids]
    billed = emulator.audit.billed()

    assert [status["request_counts"]["succeeded"] for status in statuses] == [10_000] * 3
    assert billed.total() == 30_000
