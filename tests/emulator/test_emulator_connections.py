"""What a client sees when the connection, not the API, goes wrong: without a socket and with one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from time import monotonic, sleep
from typing import Any

import anthropic
import httpx2
import pytest

from claude_batch_dagster.emulator import Emulator, EmulatorTransport, serving

Ask = Callable[..., Any]
Door = Callable[[Emulator], Any]

PATH = "/v1/messages/batches"


@contextmanager
def in_process(emulator: Emulator) -> Iterator[anthropic.Anthropic]:
    """Give a client without a socket."""
    http_client = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator))
    with anthropic.Anthropic(api_key="key", http_client=http_client, max_retries=0) as client:
        yield client


@contextmanager
def over_http(emulator: Emulator) -> Iterator[anthropic.Anthropic]:
    """Give a client with a socket."""
    with serving(emulator) as url, anthropic.Anthropic(api_key="key", base_url=url, max_retries=0) as client:
        yield client


doors = pytest.mark.parametrize("door", [in_process, over_http])


@doors
@pytest.mark.parametrize(
    ("fault", "n_accepted"),
    [("connect_error", 0), ("drop_mid_body", 0), ("drop_before_accept", 0), ("drop_after_accept", 1)],
)
def test_lost_connections_leave_the_truth_in_the_audit(door: Door, fault: str, n_accepted: int, ask: Ask) -> None:
    """The client learns nothing but that the connection is gone; only the audit knows what was accepted."""
    emulator = Emulator()
    emulator.faults.add(fault, times=1)
    with door(emulator) as client:
        with pytest.raises(anthropic.APIConnectionError):
            client.messages.batches.create(requests=[ask(text="x" * 100_000)])
        assert len(emulator.audit.accepted()) == n_accepted
        assert client.messages.batches.create(requests=[ask()]).id


@doors
def test_a_stall_after_accepting_is_a_timeout(door: Door, ask: Ask) -> None:
    """A reply that never comes is a timeout for the client and a batch for the audit."""
    emulator = Emulator()
    emulator.faults.add("timeout_after_accept")
    with door(emulator) as client:
        with pytest.raises(anthropic.APITimeoutError):
            client.with_options(timeout=1.5).messages.batches.create(requests=[ask()])
        limit = monotonic() + 60
        while not emulator.audit.accepted() and monotonic() < limit:
            sleep(0.01)

    assert len(emulator.audit.accepted()) == 1


def test_retries_of_the_sdk_are_seen(ask: Ask) -> None:
    """An SDK left to itself submits twice, and the audit shows the second time as a retry."""
    emulator = Emulator()
    emulator.faults.add("drop_after_accept", times=1)
    with in_process(emulator) as client:
        client.with_options(max_retries=1).messages.batches.create(requests=[ask()])

    assert [batch.n_retries for batch in emulator.audit.accepted()] == [0, 1]
    assert len({batch.sha256 for batch in emulator.audit.accepted()}) == 1


def test_connect_errors_come_before_the_first_byte() -> None:
    """A connection that was refused has taken nothing from the body; one lost half-way has not taken its end."""
    taken: list[int] = []

    def body() -> Iterator[bytes]:
        for number in range(10):
            taken.append(number)
            yield b"x" * 100

    def send(fault: str) -> tuple[type[BaseException], int]:
        emulator = Emulator()
        emulator.faults.add(fault)
        taken.clear()
        with httpx2.Client(transport=EmulatorTransport(emulator), base_url="http://emulator") as client:
            try:
                client.post(PATH, content=body(), headers={"content-length": "1000"})
            except httpx2.TransportError as error:
                return type(error), len(taken)
        raise AssertionError("the connection held")

    assert send("connect_error") == (httpx2.ConnectError, 0)
    assert send("drop_mid_body") == (httpx2.WriteError, 5)
    assert send("drop_before_accept") == (httpx2.RemoteProtocolError, 10)


@doors
@pytest.mark.parametrize("where", ["mid_line", "between_lines"])
@pytest.mark.parametrize("framing", ["", "_chunked"])
def test_a_cut_download_is_noticed(door: Door, where: str, framing: str, ask: Ask) -> None:
    """With a length or with chunks the client is told that the end is missing."""
    emulator = Emulator(batch_seconds=0)
    with door(emulator) as client:
        batch = client.messages.batches.create(requests=[ask(f"row-{n}") for n in range(4)])
        emulator.faults.add(f"results_cut_{where}{framing}", times=1)
        seen: list[str] = []
        with pytest.raises(httpx2.RemoteProtocolError):
            seen.extend(line.custom_id for line in client.messages.batches.results(batch.id))
        whole = [line.custom_id for line in client.messages.batches.results(batch.id)]

    assert len(whole) == 4


@doors
def test_a_cut_between_lines_without_framing_is_silent(door: Door, ask: Ask) -> None:
    """Where only closing tells the end, half of the lines look like all of them; half a line does not parse."""
    emulator = Emulator(batch_seconds=0)
    with door(emulator) as client:
        batch = client.messages.batches.create(requests=[ask(f"row-{n}") for n in range(4)])
        emulator.faults.add("results_cut_between_lines_no_length", times=1)
        between = list(client.messages.batches.results(batch.id))
        emulator.faults.add("results_cut_mid_line_no_length", times=1)
        with pytest.raises(JSONDecodeError):
            list(client.messages.batches.results(batch.id))

    assert len(between) == 2


def test_a_trickle_is_slow(ask: Ask) -> None:
    """Lines come one by one, each after a pause."""
    emulator = Emulator(batch_seconds=0)
    emulator.faults.add("slow_trickle", seconds=0.05)
    with over_http(emulator) as client:
        batch = client.messages.batches.create(requests=[ask(f"row-{n}") for n in range(4)])
        start = monotonic()
        lines = list(client.messages.batches.results(batch.id))

    assert len(lines) == 4
    assert monotonic() - start >= 0.2


def test_others_are_served_while_one_waits(ask: Ask) -> None:
    """A stalled call holds up nobody else."""
    emulator = Emulator()
    emulator.faults.add("stall", times=1, endpoint="list")
    with over_http(emulator) as client:
        with pytest.raises(anthropic.APITimeoutError):
            client.with_options(timeout=1.0).messages.batches.list()
        assert client.messages.batches.create(requests=[ask()]).id


def test_a_client_that_leaves_mid_body_has_submitted_nothing() -> None:
    """A request whose body never ended is not accepted."""
    emulator = Emulator()

    def body() -> Iterator[bytes]:
        yield b'{"requests":['
        raise RuntimeError("the client dies")

    with serving(emulator) as url, pytest.raises(RuntimeError, match="the client dies"):
        httpx2.post(f"{url}{PATH}", headers={"x-api-key": "key"}, content=body())

    assert emulator.audit.n_posts() == 0
