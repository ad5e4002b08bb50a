"""What goes wrong is asked for by name, and is the same for the same seed."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from claude_batch_dagster.emulator import Emulator, EmulatorTransport, Fault

Ask = Callable[..., Any]
Handle = Callable[..., Any]

PATH = "/v1/messages/batches"


def download(handle: Handle, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the result lines of a batch."""
    batch_id = handle("POST", PATH, {"requests": rows}).json()["id"]
    body = handle("GET", f"{PATH}/{batch_id}/results").read()
    return [orjson.loads(line) for line in body.splitlines()]


@pytest.fixture
def emulator() -> Emulator:
    """Return an emulator that ends batches at once."""
    return Emulator(batch_seconds=0)


def test_unknown_names_and_rates_are_refused(emulator: Emulator) -> None:
    """A fault that could never strike is a mistake, and said to be one."""
    with pytest.raises(ValueError, match="there is no fault named 'error'"):
        emulator.faults.add("error")
    with pytest.raises(ValueError, match="there is no endpoint named 'creation'"):
        emulator.faults.add("500", endpoint="creation")
    with pytest.raises(ValueError, match="needs a reply that shows one batch"):
        emulator.faults.add("empty_id_200", endpoint="list")
    with pytest.raises(ValueError, match="not between 0 and 1"):
        emulator.faults.add("errored", rate=2)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("errored", "errored"),
        ("invalid_request", "errored"),
        ("expired", "expired"),
        ("canceled", "canceled"),
        ("refusal", "succeeded"),
    ],
)
def test_row_faults_strike_their_share(emulator: Emulator, handle: Handle, ask: Ask, fault: str, kind: str) -> None:
    """A rate strikes about that share of the rows, and only the good rows are billed."""
    emulator.faults.add(fault, rate=0.3)
    lines = download(handle, [ask(f"row-{n}") for n in range(500)])
    struck = [
        line
        for line in lines
        if line["result"]["type"] != "succeeded" or line["result"]["message"]["stop_reason"] == "refusal"
    ]

    assert 100 < len(struck) < 200
    assert {line["result"]["type"] for line in struck} == {kind}
    assert emulator.audit.billed().total() == 500 - (0 if kind == "succeeded" else len(struck))


def test_the_seed_decides_which_rows_are_struck(ask: Ask) -> None:
    """Same seed, same rows; and the next batch of the same rows is struck elsewhere."""

    def struck(seed: int) -> list[set[str]]:
        emulator = Emulator(seed=seed, batch_seconds=0, faults=[Fault(name="expired", rate=0.5)])
        headers = {"x-api-key": "key", "anthropic-version": "2026-10-21"}
        rows = [ask(f"row-{n}") for n in range(50)]
        return [
            {line["custom_id"] for line in lines if line["result"]["type"] == "expired"}
            for lines in (
                download(lambda *call: _call(emulator, headers, *call), rows),
                download(lambda *call: _call(emulator, headers, *call), rows),
            )
        ]

    first, second = struck(1)
    assert [first, second] == struck(1)
    assert first != second
    assert first != struck(2)[0]


def _call(emulator: Emulator, headers: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    return emulator.handle(method, path, headers, b"" if body is None else orjson.dumps(body))


def test_times_are_counted(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """A fault with a number of times is used up after them."""
    emulator.faults.add("expired", times=2)
    kinds = Counter(line["result"]["type"] for line in download(handle, [ask(f"row-{n}") for n in range(5)]))

    assert kinds == {"succeeded": 3, "expired": 2}
    assert emulator.faults.active() == ()


def test_faults_are_lifted(emulator: Emulator) -> None:
    """All of them, or those of one name; the same fault put again counts from the start."""
    fault = emulator.faults.add("500", times=1)
    emulator.faults.add("errored")
    emulator.faults.clear("errored")
    assert emulator.faults.active() == (fault,)
    emulator.faults.clear()
    assert emulator.faults.active() == ()


def test_execution_errors_name_their_worker(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """Errors at execution are of two transient types, or a permanent one, and carry a worker's id."""
    emulator.faults.add("invalid_request", times=1)
    emulator.faults.add("errored")
    lines = download(handle, [ask(f"row-{n}") for n in range(30)])
    errors = [line["result"]["error"] for line in lines]

    assert Counter(error["error"]["type"] for error in errors).keys() == {
        "invalid_request_error",
        "api_error",
        "overloaded_error",
    }
    assert all(error["request_id"].startswith("workerreq_01") for error in errors)
    assert all(error["error"]["details"] is None for error in errors)


@pytest.mark.parametrize(
    ("fault", "stop_reason", "text"),
    [
        ("refusal", "refusal", None),
        ("empty_content", "end_turn", None),
        ("max_tokens", "max_tokens", '{"topic":"war","'),
        ("not_json", "end_turn", "Here is what I found. the navy ..."),
        ("wrong_case", "end_turn", '{"topic":"WAR","confidence":0.97}'),
        ("misfit", "end_turn", '{"confidence":0.97,"unexpected":"field"}'),
    ],
)
def test_answers_are_bent(
    emulator: Emulator,
    handle: Handle,
    ask: Ask,
    topic: dict[str, Any],
    fault: str,
    stop_reason: str,
    text: str | None,
) -> None:
    """Each way to be a bad answer leaves its mark on the message."""
    emulator.faults.add(fault)
    (line,) = download(handle, [ask(text="the navy", output_config=topic)])
    message = line["result"]["message"]

    assert message["stop_reason"] == stop_reason
    assert [block["text"] for block in message["content"]] == ([] if text is None else [text])
    assert (message["stop_details"] is not None) == (fault == "refusal")


def test_an_answer_that_is_no_object_can_misfit_too(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """A scalar that does not fit is wrapped."""
    emulator.faults.add("misfit")
    config = {"format": {"type": "json_schema", "schema": {"type": "boolean"}}}
    (line,) = download(handle, [ask(output_config=config)])

    assert orjson.loads(line["result"]["message"]["content"][0]["text"]).keys() == {"unexpected"}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("results_missing_line", [0, 1, 3]),
        ("results_duplicate_line", [0, 1, 2, 2, 3]),
        ("results_foreign_line", [0, 1, 2, b"row-of-another-batch", 3]),
        ("results_garbage_line", [0, 1, 2, b"row-that-was-mang", 3]),
        ("results_blank_line", [0, 1, 2, b"", 3]),
    ],
)
def test_downloads_are_bent_in_the_middle(
    emulator: Emulator, handle: Handle, ask: Ask, fault: str, expected: list[int | bytes]
) -> None:
    """One line is lost, repeated, foreign, garbage or blank; the next download is right again."""
    rows = [ask(f"row-{n}") for n in range(4)]
    batch_id = handle("POST", PATH, {"requests": rows}).json()["id"]
    emulator.faults.add(fault, times=1)
    bent, whole = (handle("GET", f"{PATH}/{batch_id}/results").read().split(b"\n")[:-1] for _ in range(2))

    assert len(bent) == len(expected)
    for line, wanted in zip(bent, expected, strict=True):
        assert line == whole[wanted] if isinstance(wanted, int) else wanted in line


def test_lines_can_end_like_those_of_windows(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """`results_crlf` ends every line with CR LF."""
    batch_id = handle("POST", PATH, {"requests": [ask("a"), ask("b")]}).json()["id"]
    emulator.faults.add("results_crlf")
    body = handle("GET", f"{PATH}/{batch_id}/results").read()

    assert body.count(b"\r\n") == body.count(b"\n") == 2


def test_results_faults_do_not_hide_that_there_is_nothing(emulator: Emulator, handle: Handle) -> None:
    """A batch that is not there has no results to bend."""
    emulator.faults.add("results_crlf")

    assert handle("GET", f"{PATH}/msgbatch_1/results").status == 404


def test_a_429_says_when_to_come_back_or_does_not(emulator: Emulator, handle: Handle) -> None:
    """`retry-after` is the fault's seconds; the other form has none; own headers go along."""
    emulator.faults.add("429", times=1, seconds=7, headers={"x-should-retry": "false"})
    emulator.faults.add("429_no_retry_after", times=1)
    first, second, third = (handle("GET", PATH) for _ in range(3))

    assert (first.status, first.headers["retry-after"], first.headers["x-should-retry"]) == (429, "7", "false")
    assert (second.status, "retry-after" in second.headers) == (429, False)
    assert third.status == 200


def test_faults_aim(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """An endpoint, a method or a path pattern narrows what is struck."""
    batch_id = handle("POST", PATH, {"requests": [ask()]}).json()["id"]

    def statuses() -> list[int]:
        calls = [("GET", PATH), ("GET", f"{PATH}/{batch_id}"), ("POST", f"{PATH}/{batch_id}/cancel")]
        return [handle(method, path).status for method, path in calls]

    aims: list[tuple[Any, list[int]]] = [
        ({"endpoint": "retrieve"}, [200, 500, 400]),
        ({"method": "get"}, [500, 500, 400]),
        ({"path": "*/cancel"}, [200, 200, 500]),
        ({"method": "GET", "path": f"{PATH}/*"}, [200, 500, 400]),
    ]
    for aim, expected in aims:
        emulator.faults.add("500", **aim)
        assert statuses() == expected
        emulator.faults.clear()


def test_errors_after_the_work_can_strike_other_calls_too(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """A cancel may be carried out and still be answered with an error."""
    emulator.pace.batch_seconds = 3600
    batch_id = handle("POST", PATH, {"requests": [ask()]}).json()["id"]
    emulator.faults.add("500_after_accept", endpoint="cancel", times=1)

    assert handle("POST", f"{PATH}/{batch_id}/cancel").status == 500
    assert handle("GET", f"{PATH}/{batch_id}").json()["processing_status"] == "canceling"


def test_an_error_of_the_caller_is_not_covered_by_a_fault(emulator: Emulator, handle: Handle) -> None:
    """What was never accepted is not answered as if it had been."""
    emulator.faults.add("500_after_accept")

    assert handle("POST", PATH, {}).status == 400


def test_good_replies_can_be_spoiled(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """The batch exists, but the reply is cut, has no id, or counts wrong."""
    body = {"requests": [ask("a"), ask("b")]}
    emulator.faults.add("cut_json_200", times=1)
    emulator.faults.add("empty_id_200", times=1)
    emulator.faults.add("wrong_count_200", times=1)
    cut, nameless, short = (handle("POST", PATH, body) for _ in range(3))

    assert [reply.status for reply in (cut, nameless, short)] == [200] * 3
    with pytest.raises(orjson.JSONDecodeError):
        cut.json()
    assert nameless.json()["id"] == ""
    assert short.json()["request_counts"]["processing"] == 1
    assert len(emulator.audit.accepted()) == 3


def test_somebody_else_may_answer(emulator: Emulator, handle: Handle) -> None:
    """A network's own page, or a redirect elsewhere or in a circle."""
    emulator.faults.add("html_200", times=1)
    emulator.faults.add("redirect_307", times=1, url="http://elsewhere.test/")
    emulator.faults.add("redirect_307", times=1)
    page, away, around = (handle("GET", PATH) for _ in range(3))

    assert page.headers["content-type"].startswith("text/html")
    assert page.read().startswith(b"<!DOCTYPE html>")
    assert (away.status, away.headers["location"]) == (307, "http://elsewhere.test/")
    assert around.headers["location"] == f"http://emulator.test{PATH}"


def test_results_may_be_said_to_be_elsewhere(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """`foreign_results_url` names another host."""
    emulator.faults.add("foreign_results_url", url="http://elsewhere.test/x")
    batch_id = handle("POST", PATH, {"requests": [ask()]}).json()["id"]

    assert handle("GET", f"{PATH}/{batch_id}").json()["results_url"] == "http://elsewhere.test/x"


def test_new_batches_may_be_late_to_appear(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """For some seconds a batch is missing from the list, from its own address, or lacks results."""
    batch_id = handle("POST", PATH, {"requests": [ask()]}).json()["id"]

    def seen() -> list[bool]:
        listed = bool(handle("GET", PATH).json()["data"])
        paths = (f"{PATH}/{batch_id}", f"{PATH}/{batch_id}/results")
        return [listed, *(handle("GET", path).status == 200 for path in paths)]

    emulator.faults.add("list_lag", seconds=10)
    assert seen() == [False, True, True]
    emulator.faults.clear()
    emulator.faults.add("404_after_end", seconds=10)
    assert seen() == [True, True, False]
    emulator.faults.clear()
    emulator.faults.add("404_after_create", seconds=10)
    assert seen() == [True, False, False]
    emulator.clock.advance(seconds=10)
    assert seen() == [True, True, True]


def test_the_transport_frames_what_it_carries(emulator: Emulator, ask: Ask) -> None:
    """Results are chunked, everything else has a length."""
    with httpx2.Client(transport=EmulatorTransport(emulator), base_url="https://emulator.test") as http:
        headers = {"x-api-key": "key", "anthropic-version": "2026-10-21"}
        batch = http.post(PATH, headers=headers, json={"requests": [ask()]})
        results = http.get(f"{PATH}/{batch.json()['id']}/results", headers=headers)
        status = http.get(f"{PATH}/{batch.json()['id']}", headers=headers)

    assert int(batch.headers["content-length"]) == len(batch.content)
    assert results.headers["transfer-encoding"] == "chunked"
    assert status.json()["results_url"] == str(results.url)


def test_retries_can_be_forced_by_header(emulator: Emulator) -> None:
    """`x-should-retry` on a faulty reply overrides what the SDK would do."""
    emulator.faults.add("spend_limit_400", times=1, headers={"x-should-retry": "true"})
    http_client = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator))
    with anthropic.Anthropic(api_key="key", http_client=http_client, max_retries=1) as client:
        assert client.messages.batches.list().data == []
