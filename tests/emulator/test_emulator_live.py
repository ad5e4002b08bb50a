"""Live messages are remembered and billed, whatever the client has heard of its answer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import anthropic
import orjson
import pytest

from claude_batch_dagster.emulator import Emulator, EmulatorTransport, Fault
from claude_batch_dagster.emulator.audit import AnsweredCall
from claude_batch_dagster.emulator.bill import Bill, Tokens

Ask = Callable[..., Any]
Handle = Callable[..., Any]

BATCHES, LIVE = "/v1/messages/batches", "/v1/messages"
HEADERS = {"x-api-key": "key", "anthropic-version": "2026-10-21"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
REFUSED = ("429", "429_no_retry_after", "500", "502", "503", "504", "529")
ANSWERED = (*(f"{name}_after_accept" for name in (*REFUSED, "html_200", "413", "redirect_307")), "drop_after_accept")
UNANSWERED = (*REFUSED, "html_200", "413", "redirect_307", "connect_error", "drop_mid_body", "drop_before_accept")


def in_process(emulator: Emulator, key: str = "key") -> anthropic.Anthropic:
    """Return the official client, joined to an emulator without a socket, that tries once."""
    http_client = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator), follow_redirects=False)
    return anthropic.Anthropic(api_key=key, http_client=http_client, max_retries=0)


def test_an_answer_is_written_down(ask: Ask) -> None:
    """When, for whom, what, by which model and for how many tokens; oldest first."""
    emulator = Emulator(keys={"a": "wrkspc_a", "b": "wrkspc_b"})
    one, other = ask(model="claude-haiku-4-5")["params"], ask(text="word " * 50)["params"]
    with in_process(emulator, "a") as client:
        usage = client.messages.create(**one).usage
    emulator.advance(seconds=60)
    with in_process(emulator, "b") as client:
        client.messages.create(**other)
    first, second = emulator.audit.live()

    assert first == AnsweredCall(
        at="2026-11-20T18:37:24.100435Z",
        workspace="wrkspc_a",
        params_sha256=first.params_sha256,
        model="claude-haiku-4-5-20251001",
        tokens=Tokens(input=usage.input_tokens, output=usage.output_tokens),
    )
    assert (second.at, second.workspace) == ("2026-11-20T18:38:24.100435Z", "wrkspc_b")
    assert (second.model, second.tokens.input) == ("claude-haiku-5-5", 70)


@pytest.mark.parametrize("marked", [False, True])
def test_asked_in_a_batch_and_live_it_has_one_digest(
    emulator: Emulator, client: anthropic.Anthropic, handle: Handle, ask: Ask, topic: dict[str, Any], *, marked: bool
) -> None:
    """Whatever the order of its keys, cached or not; `billed` counts both, as does the report."""
    request = ask(text="Grüße", output_config=topic, system="rule " * 480)
    handle("POST", BATCHES, {"requests": [request]})
    emulator.advance(seconds=60)
    params = dict(reversed(request["params"].items()))
    if marked:
        params["system"] = [{"type": "text", "text": params["system"], "cache_control": HOUR}]
    client.messages.create(**params)
    [digest] = [accepted.params_sha256 for accepted in emulator.audit.requests()]
    report = handle("GET", "/_emulator/audit").json()

    assert [call.params_sha256 for call in emulator.audit.live()] == [digest]
    assert emulator.audit.billed() == report["billed"] == {digest: 2}


def test_live_and_batches_have_bills_of_their_own(
    emulator: Emulator, client: anthropic.Anthropic, handle: Handle, ask: Ask
) -> None:
    """Prices differ, so tokens are not added up; what is cached is on the bill as such."""
    system = [{"type": "text", "text": "rule " * 480, "cache_control": HOUR}]
    handle("POST", BATCHES, {"requests": [ask(text="elsewhere")]})
    emulator.advance(seconds=60)
    before = emulator.audit.bill()
    usages = [client.messages.create(**ask(text=text, system=system)["params"]).usage for text in ("one", "two")]
    client.messages.create(**ask(model="claude-haiku-4-5")["params"])
    bill = emulator.audit.live_bill()

    assert emulator.audit.bill() == before != {}
    assert bill.keys() == {"claude-haiku-5-5", "claude-haiku-4-5-20251001"}
    assert bill["claude-haiku-5-5"] == Tokens(
        input=sum(usage.input_tokens for usage in usages),
        output=sum(usage.output_tokens for usage in usages),
        cache_read=600,
        cache_written_1h=600,
    )


def test_the_report_lists_them(emulator: Emulator, client: anthropic.Anthropic, handle: Handle, ask: Ask) -> None:
    """As plain JSON."""
    client.messages.create(**ask()["params"])
    [call] = emulator.audit.live()

    assert handle("GET", "/_emulator/audit").json()["live"] == [{**vars(call), "tokens": vars(call.tokens)}]


def test_only_answers_are_billed(emulator: Emulator, client: anthropic.Anthropic, handle: Handle, ask: Ask) -> None:
    """Counting tokens and being refused cost nothing, and no live call is an attempt to create a batch."""
    params = ask()["params"]
    client.messages.count_tokens(model=params["model"], messages=params["messages"])
    assert handle("POST", LIVE, {**params, "model": "claude-none"}).status == 404
    assert handle("POST", LIVE, params, x_api_key="").status == 401
    emulator.faults.add("errored", times=1)
    assert handle("POST", LIVE, params).status == 529

    assert (emulator.audit.live(), emulator.audit.live_bill(), emulator.audit.billed()) == ([], {}, {})
    assert emulator.audit.n_posts() == 0


@pytest.mark.parametrize("shape", ["refusal", "max_tokens", "not_json", "misfit"])
def test_useless_answers_are_billed_too(
    emulator: Emulator, client: anthropic.Anthropic, ask: Ask, topic: dict[str, Any], shape: str
) -> None:
    """What was answered costs what its usage says, of use or not."""
    emulator.faults.add(shape, times=1)
    usage = client.messages.create(**ask(output_config=topic)["params"]).usage

    [call] = emulator.audit.live()
    assert (call.tokens.input, call.tokens.output) == (usage.input_tokens, usage.output_tokens)


def test_who_asks_twice_gets_two_messages(emulator: Emulator, client: anthropic.Anthropic, ask: Ask) -> None:
    """The same question, twice answered and twice billed."""
    first, second = (client.messages.create(**ask()["params"]) for _ in range(2))

    assert first.id != second.id
    assert first.content == second.content
    assert list(emulator.audit.billed().values()) == [2]


def test_what_is_asked_again_may_fare_better(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """A share of all live calls is struck, and not always the same questions; the same seed strikes the same."""
    emulator.faults.add("errored", rate=0.5)
    texts = [f"{n}" for n in range(20)]

    def statuses(ask_of: Emulator) -> dict[str, list[int]]:
        bodies = {text: orjson.dumps(ask(text=text)["params"]) for text in texts}
        return {
            text: [ask_of.handle("POST", LIVE, HEADERS, body).status for _ in range(8)] for text, body in bodies.items()
        }

    once = statuses(emulator)
    texts.reverse()

    assert all(200 in seen for seen in once.values())
    assert any(seen[0] == 529 for seen in once.values())
    assert statuses(Emulator(faults=[Fault(name="errored", rate=0.5)])) == once


@pytest.mark.parametrize(("fault", "n_billed"), [*((name, 0) for name in UNANSWERED), *((n, 1) for n in ANSWERED)])
def test_the_client_hears_nothing_and_the_audit_knows(ask: Ask, fault: str, n_billed: int) -> None:
    """Aimed at live messages, a fault strikes before the answer or after it, and only the audit can tell which."""
    emulator = Emulator()
    emulator.faults.add(fault, times=1, endpoint="message")
    with in_process(emulator) as client:
        client.messages.count_tokens(model="claude-haiku-5-5", messages=ask()["params"]["messages"])
        try:
            heard: object = client.messages.create(**ask(text="x" * 100_000)["params"])
        except anthropic.APIError as error:
            heard = error

    # A network's own page is no exception for the SDK, and no message either.
    assert not isinstance(heard, anthropic.types.Message)
    assert len(emulator.audit.live()) == emulator.audit.billed().total() == n_billed
    assert emulator.faults.active() == ()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", anthropic.RateLimitError),
        ("500", anthropic.InternalServerError),
        ("504", anthropic.GatewayTimeoutError),
        ("529", anthropic.OverloadedError),
        ("connect_error", anthropic.APIConnectionError),
        ("drop_mid_body", anthropic.APIConnectionError),
        ("drop_before_accept", anthropic.APIConnectionError),
        ("drop_after_accept", anthropic.APIConnectionError),
        ("cut_json_200", JSONDecodeError),
    ],
)
def test_over_a_socket_it_is_the_same(
    remote: anthropic.Anthropic, server: tuple[Emulator, str], ask: Ask, fault: str, kind: type[Exception]
) -> None:
    """Each has its class; what is cut or dropped after the answer was made is billed, and the next call is answered."""
    emulator, _ = server
    n_before = len(emulator.audit.live())
    emulator.faults.add(fault, times=1, endpoint="message")
    with pytest.raises(kind):
        remote.messages.create(**ask(text="x" * 100_000)["params"])
    n_billed = len(emulator.audit.live()) - n_before
    remote.messages.create(**ask()["params"])

    assert n_billed == (1 if fault in {"drop_after_accept", "cut_json_200"} else 0)
    assert len(emulator.audit.live()) - n_before == n_billed + 1


@pytest.mark.parametrize(("fault", "n_billed"), [("stall", 0), ("timeout_after_accept", 1)])
def test_a_reply_that_never_comes_may_have_been_billed(ask: Ask, fault: str, n_billed: int) -> None:
    """Both are a timeout for the client; only one was answered."""
    emulator = Emulator()
    emulator.faults.add(fault, times=1, endpoint="message")
    with in_process(emulator) as client, pytest.raises(anthropic.APITimeoutError):
        client.messages.create(**ask()["params"])

    assert len(emulator.audit.live()) == n_billed


def test_a_cut_answer_is_billed(emulator: Emulator, handle: Handle, ask: Ask) -> None:
    """It has status 200, and half of its JSON."""
    emulator.faults.add("cut_json_200", times=1, endpoint="message")
    cut, whole = (handle("POST", LIVE, ask()["params"]) for _ in range(2))

    assert cut.status == 200
    with pytest.raises(orjson.JSONDecodeError):
        cut.json()
    assert len(whole.read()) > len(cut.read())
    assert len(emulator.audit.live()) == 2


def test_retries_of_the_sdk_are_billed(emulator: Emulator, client: anthropic.Anthropic, ask: Ask) -> None:
    """An SDK left to itself pays twice for what it asks once."""
    emulator.faults.add("drop_after_accept", times=1, endpoint="message")
    client.with_options(max_retries=1).messages.create(**ask()["params"])

    assert list(emulator.audit.billed().values()) == [2]


def test_bills_outlive_the_emulator(tmp_path: Path, ask: Ask) -> None:
    """They are a part of the state, and those of the next life come after them."""
    bills: list[Bill] = []
    ids = set()
    for _ in range(2):
        emulator = Emulator(state=tmp_path)
        ids.add(emulator.handle("POST", LIVE, HEADERS, orjson.dumps(ask()["params"])).json()["id"])
        bills.append(emulator.audit.live_bill())
        emulator.close()

    first, second = (bill["claude-haiku-5-5"] for bill in bills)
    assert second == first + first
    assert len(ids) == 2


def test_many_threads_ask_at_once(ask: Ask) -> None:
    """Every answer is on the bill, once."""
    emulator = Emulator()
    bodies = [orjson.dumps(ask(text=f"{n}")["params"]) for n in range(100)]
    with ThreadPoolExecutor(8) as threads:
        ids = {reply.json()["id"] for reply in threads.map(lambda b: emulator.handle("POST", LIVE, HEADERS, b), bodies)}

    assert len(ids) == len(emulator.audit.live()) == 100
    assert set(emulator.audit.billed().values()) == {1}
