"""Batches live by the emulator's clock."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from claude_batch_dagster.emulator import Emulator, ManualClock, SystemClock
from claude_batch_dagster.emulator.settings import Limits

Ask = Callable[..., Any]
Handle = Callable[..., Any]

PATH = "/v1/messages/batches"


def submit(handle: Handle, ask: Ask, n: int) -> str:
    """Submit a batch of `n` requests; return its id."""
    rows = [ask(f"row-{number}") for number in range(n)]
    return str(handle("POST", PATH, {"requests": rows}).json()["id"])


def kinds(handle: Handle, batch_id: str) -> Counter[str]:
    """Count the results of a batch by type."""
    body = handle("GET", f"{PATH}/{batch_id}/results").read()
    return Counter(orjson.loads(line)["result"]["type"] for line in body.splitlines())


def test_clocks_go_forward_only() -> None:
    """A manual clock stands still, a system clock follows the machine; neither goes back."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(days=1, hours=1, minutes=1, seconds=1)
    ahead = SystemClock()
    ahead.advance(hours=1)

    assert clock.now() == datetime(2026, 1, 2, 1, 1, 1, tzinfo=UTC)
    assert 3590 < (ahead.now() - datetime.now(UTC)).total_seconds() < 3610
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(seconds=-1)


def test_keys_come_in_the_order_of_the_api(handle: Handle, ask: Ask) -> None:
    """A batch object lists its fields as the API does."""
    batch = handle("POST", PATH, {"requests": [ask()]}).json()

    assert " ".join(batch) == (
        "id type processing_status request_counts ended_at created_at expires_at archived_at "
        "cancel_initiated_at results_url"
    )
    assert " ".join(batch["request_counts"]) == "processing succeeded errored canceled expired"
    assert batch["created_at"] == "2026-11-20T18:37:24.100435Z"


def test_counts_stand_still_until_the_end(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """All requests are in processing until all are done."""
    batch_id = submit(handle, ask, 10)
    emulator.clock.advance(seconds=59)
    before = handle("GET", f"{PATH}/{batch_id}").json()
    emulator.clock.advance(seconds=1)
    after = handle("GET", f"{PATH}/{batch_id}").json()

    assert (before["processing_status"], before["request_counts"]["processing"]) == ("in_progress", 10)
    assert (after["processing_status"], after["request_counts"]["succeeded"]) == ("ended", 10)
    assert after["ended_at"] == "2026-11-20T18:38:24.100435Z"


def test_counts_can_be_made_to_move(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """With progressive counts a poll shows how far the batch is."""
    emulator.pace.progressive_counts = True
    batch_id = submit(handle, ask, 10)
    succeeded = []
    for _ in range(4):
        succeeded.append(handle("GET", f"{PATH}/{batch_id}").json()["request_counts"]["succeeded"])
        emulator.clock.advance(seconds=20)

    assert succeeded == [0, 3, 6, 10]


def test_large_batches_take_longer(handle: Handle, emulator: Emulator, ask: Ask) -> None:
    """Seconds for each request come on top of those for the batch."""
    emulator.pace.request_seconds = 10
    batch_id = submit(handle, ask, 6)
    emulator.clock.advance(seconds=119)
    assert handle("GET", f"{PATH}/{batch_id}").json()["processing_status"] == "in_progress"
    emulator.clock.advance(seconds=1)
    assert handle("GET", f"{PATH}/{batch_id}").json()["processing_status"] == "ended"


def test_what_is_not_done_in_a_day_expires(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """After 24 hours the batch ends, and requests that did not get their turn are expired and not billed."""
    emulator.pace.batch_seconds = 48 * 3600
    batch_id = submit(handle, ask, 10)
    emulator.clock.advance(hours=24)
    batch = handle("GET", f"{PATH}/{batch_id}").json()

    assert batch["processing_status"] == "ended"
    assert batch["ended_at"] == batch["expires_at"]
    assert batch["request_counts"] == {"processing": 0, "succeeded": 5, "errored": 0, "canceled": 0, "expired": 5}
    assert kinds(handle, batch_id) == {"succeeded": 5, "expired": 5}
    assert emulator.audit.billed().total() == 5


def test_a_canceled_batch_ends_with_a_mix(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """What was done stays done, what was in flight finishes, the rest is canceled."""
    batch_id = submit(handle, ask, 20)
    emulator.clock.advance(seconds=30)
    canceling = handle("POST", f"{PATH}/{batch_id}/cancel").json()
    again = handle("POST", f"{PATH}/{batch_id}/cancel")
    emulator.clock.advance(seconds=15)
    ended = handle("GET", f"{PATH}/{batch_id}").json()

    assert (canceling["processing_status"], canceling["request_counts"]["processing"]) == ("canceling", 20)
    assert (again.status, again.json()) == (200, canceling)
    assert ended["processing_status"] == "ended"
    assert kinds(handle, batch_id) == {"succeeded": 11, "canceled": 9}
    assert ended["cancel_initiated_at"] == canceling["cancel_initiated_at"]
    assert emulator.audit.billed().total() == 11
    late = handle("POST", f"{PATH}/{batch_id}/cancel")
    assert (late.status, late.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_single_request_can_be_canceled(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """A batch of one, canceled at once, has one canceled request."""
    batch_id = submit(handle, ask, 1)
    handle("POST", f"{PATH}/{batch_id}/cancel")
    emulator.clock.advance(minutes=1)

    assert kinds(handle, batch_id) == {"canceled": 1}


def test_a_batch_can_be_made_to_hang(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """`never_ends` outlives even the 24 hours; canceling still ends it."""
    emulator.faults.add("never_ends", times=1)
    hanging, other = submit(handle, ask, 2), submit(handle, ask, 2)
    emulator.clock.advance(hours=23)
    poll = handle("GET", f"{PATH}/{hanging}")

    assert (poll.json()["processing_status"], poll.headers["retry-after"]) == ("in_progress", "10")
    assert handle("GET", f"{PATH}/{other}").json()["processing_status"] == "ended"
    handle("POST", f"{PATH}/{hanging}/cancel")
    emulator.clock.advance(seconds=25)
    assert handle("GET", f"{PATH}/{hanging}").json()["processing_status"] == "ended"


def test_results_are_kept_29_days(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """Afterwards the batch is still listed, archived and without results."""
    batch_id = submit(handle, ask, 1)
    emulator.clock.advance(days=29)
    batch = handle("GET", f"{PATH}/{batch_id}").json()

    assert batch["archived_at"] == "2026-12-19T18:37:24.100435Z"
    assert batch["results_url"] is None
    assert handle("GET", f"{PATH}/{batch_id}/results").status == 404
    assert [listed["id"] for listed in handle("GET", PATH).json()["data"]] == [batch_id]


def test_results_have_a_relative_address_if_the_host_is_unknown(emulator: Emulator, ask: Ask) -> None:
    """Without a host header the URL is a path."""
    headers = {"x-api-key": "key", "anthropic-version": "2026-10-21"}
    body = orjson.dumps({"requests": [ask()]})
    batch_id = emulator.handle("POST", PATH, headers, body).json()["id"]
    emulator.clock.advance(hours=1)
    batch = emulator.handle("GET", f"{PATH}/{batch_id}", headers).json()

    assert batch["results_url"] == f"{PATH}/{batch_id}/results"


def test_the_queue_has_a_limit(ask: Ask) -> None:
    """Requests that wait for their outcome count; ended ones do not."""
    small = Emulator(limits=Limits(queued_requests=3))
    headers = {"x-api-key": "key", "anthropic-version": "2026-10-21"}
    body = orjson.dumps({"requests": [ask("a"), ask("b")]})
    first, second = (small.handle("POST", PATH, headers, body) for _ in range(2))
    small.clock.advance(hours=1)
    third = small.handle("POST", PATH, headers, body)

    assert [reply.status for reply in (first, second, third)] == [200, 429, 200]
    assert second.headers["retry-after"] == "60"


def test_calls_per_minute_have_a_limit() -> None:
    """The calls of a minute are counted down in the headers, and refused at the end."""
    small = Emulator(limits=Limits(requests_per_minute=2))
    headers = {"x-api-key": "key", "anthropic-version": "2026-10-21"}
    replies = [small.handle("GET", PATH, headers) for _ in range(3)]
    small.clock.advance(minutes=1)
    replies.append(small.handle("GET", PATH, headers))
    for _ in range(70):
        small.clock.advance(minutes=1)
        small.handle("GET", PATH, headers)

    assert [reply.status for reply in replies] == [200, 200, 429, 200]
    assert [reply.headers["anthropic-ratelimit-requests-remaining"] for reply in replies] == ["1", "0", "0", "1"]
    assert replies[2].headers["retry-after"] == "36"
