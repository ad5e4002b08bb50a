"""The cache has a memory: what was written is read by those who come later, until it is forgotten."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anthropic
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_batch_dagster.client import MODELS
from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.caching import Wave, costs_of, saved_usd, smallest_prefix
from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.pricing import FEMTO, rates_of
from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.emulator.bill import Tokens
from claude_batch_dagster.emulator.models import find_model

Ask = Callable[..., Any]
Handle = Callable[..., Any]
Send = Callable[..., str]
Uses = Callable[..., tuple[int, int]]

PATH = "/v1/messages/batches"
HOUR, FIVE_MINUTES = {"type": "ephemeral", "ttl": "1h"}, {"type": "ephemeral"}
GUIDE = "rule " * 480
"""Of 600 tokens."""


def guide(control: dict[str, str] = HOUR, text: str = GUIDE) -> list[dict[str, Any]]:
    """Return a system prompt with a breakpoint at its end."""
    return [{"type": "text", "text": text, "cache_control": control}]


@pytest.fixture
def send(handle: Handle, ask: Ask) -> Send:
    """Return a function that sends a batch of so many requests, and returns its id."""

    def send(n: int = 100, *, key: str = "key", **params: Any) -> str:
        requests = [ask(f"row-{i}", f"text {i}", **{"system": guide(), **params}) for i in range(n)]
        return str(handle("POST", PATH, {"requests": requests}, x_api_key=key).json()["id"])

    return send


@pytest.fixture
def uses(emulator: Emulator, handle: Handle) -> Uses:
    """Return a function that waits for a batch and counts requests that have read from the cache, and written to it."""

    def uses(batch_id: str, *, seconds: float = 60, key: str = "key") -> tuple[int, int]:
        emulator.clock.advance(seconds=seconds)
        results = handle("GET", f"{PATH}/{batch_id}/results", x_api_key=key)
        lines = [orjson.loads(line) for line in b"".join(results.pieces()).splitlines()]
        usages = [one["result"]["message"]["usage"] for one in lines if one["result"]["type"] == "succeeded"]
        assert all(
            usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"] in {0, 600} for usage in usages
        )
        counted = ("cache_read_input_tokens", "cache_creation_input_tokens")
        n_read, n_written = (sum(usage[name] > 0 for usage in usages) for name in counted)
        return n_read, n_written

    return uses


def test_side_by_side_all_write_and_later_nearly_all_read(send: Send, uses: Uses) -> None:
    """One request that went first is enough; what was read once is not read by all."""
    cold = uses(send())
    n_read, n_written = uses(send(1_000))

    assert cold == (0, 100)
    assert n_read + n_written == 1_000
    assert 970 <= n_read < 1_000


def test_one_request_primes_the_cache_for_the_rest(send: Send, uses: Uses) -> None:
    """A batch of one, then the others."""
    assert uses(send(1)) == (0, 1)
    assert uses(send(100))[0] >= 95


def test_what_is_not_yet_answered_cannot_be_read(send: Send, uses: Uses) -> None:
    """A batch that is sent while the first is on its way writes all over again."""
    first, second = send(1), send(100)

    assert (uses(first), uses(second)) == ((0, 1), (0, 100))


@pytest.mark.parametrize(
    ("control", "seconds", "is_there"),
    [(FIVE_MINUTES, 299, True), (FIVE_MINUTES, 300, False), (HOUR, 3_599, True), (HOUR, 3_600, False)],
)
def test_a_prefix_lives_for_its_time(
    emulator: Emulator, send: Send, uses: Uses, control: dict[str, str], seconds: float, *, is_there: bool
) -> None:
    """From the end of the batch that wrote it."""
    uses(send(1, system=guide(control)))
    emulator.clock.advance(seconds=seconds)

    assert (uses(send(100, system=guide(control)))[0] > 90) is is_there


def test_whoever_reads_lets_it_live_on(emulator: Emulator, send: Send, uses: Uses) -> None:
    """Each use begins its time anew."""
    uses(send(1))
    for _ in range(3):
        emulator.clock.advance(seconds=3_000)
        assert uses(send(100))[0] >= 95


@pytest.mark.parametrize(
    "other",
    [
        {"system": guide(text=GUIDE[:-5] + "RULE ")},
        {"model": "claude-opus-5-5"},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "integer"}}}},
        {"tools": [{"name": "tool", "input_schema": {"type": "object"}}]},
    ],
    ids=["text", "model", "format", "tools"],
)
def test_another_prefix_is_another_entry(send: Send, handle: Handle, emulator: Emulator, other: dict[str, Any]) -> None:
    """Whatever comes before the breakpoint, the schema of the output among it."""
    send(1)
    emulator.clock.advance(seconds=60)
    send(50, **other)
    emulator.clock.advance(seconds=60)

    tokens = sum(emulator.audit.bill().values(), Tokens())
    assert tokens.cache_read == 0
    assert tokens.cache_written_1h >= 51 * 600


def test_what_comes_after_the_breakpoint_makes_no_difference(send: Send, uses: Uses) -> None:
    """Nor do the limit of an answer, or the effort."""
    uses(send(1))

    assert uses(send(100, max_tokens=77, output_config={"effort": "low"}))[0] >= 95


def test_a_workspace_has_a_cache_of_its_own(ask: Ask) -> None:
    """Nobody reads what another workspace has written."""
    emulator = Emulator(keys={"key": "ours", "other": "theirs"}, cache_reads=1)
    body = orjson.dumps({"requests": [ask(system=guide())]})
    for key in ("key", "other", "key"):
        emulator.handle("POST", PATH, {"x-api-key": key, "anthropic-version": "2026-10-21"}, body)
        emulator.clock.advance(seconds=60)

    assert sum(emulator.audit.bill().values(), Tokens()).cache_read == 600
    emulator.close()


@pytest.mark.parametrize("name", ["expired", "errored"])
def test_what_was_not_answered_has_written_nothing(emulator: Emulator, send: Send, uses: Uses, name: str) -> None:
    """A request that failed primes no cache."""
    emulator.faults.add(name, times=1)
    uses(send(1))

    assert uses(send(100)) == (0, 100)


def test_a_batch_that_was_canceled_has_written_what_it_answered(
    emulator: Emulator, send: Send, uses: Uses, handle: Handle
) -> None:
    """None of one, some of many."""
    for n, n_answered in ((1, 0), (100, 59)):
        batch_id = send(n, model="claude-haiku-5-5" if n == 1 else "claude-sonnet-5-5")
        emulator.clock.advance(seconds=30 if n > 1 else 0)
        handle("POST", f"{PATH}/{batch_id}/cancel")
        assert (sum(uses(batch_id)) > 0) is (n_answered > 0)

    assert uses(send(100)) == (0, 100)
    assert uses(send(100, model="claude-sonnet-5-5"))[0] >= 95


def test_reads_stay_away_where_a_test_says_so(emulator: Emulator, send: Send, uses: Uses, handle: Handle) -> None:
    """All write again; over the wire, too."""
    uses(send(1))
    emulator.cache.reads = 0
    away = uses(send(100))
    reply = handle("POST", "/_emulator/cache_reads", {"cache_reads": 1})

    assert (away, reply.json()) == ((0, 100), {"cache_reads": 1})
    assert uses(send(100)) == (100, 0)


JSON = st.recursive(
    st.none() | st.integers(0, 9) | st.sampled_from(["text", "1h"]),
    lambda one: (
        st.lists(one, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "cache_control", "ttl", "content"]), one, max_size=4)
    ),
    max_leaves=8,
)


@given(system=JSON, tools=JSON, content=st.lists(JSON, min_size=1, max_size=3), control=JSON)
@example(system=None, tools=None, content=[*guide(), "text"], control=None)
@example(system=None, tools=7, content=["text"], control=HOUR)
@example(system=[*guide(), 7], tools=["text"], content=[[]], control=HOUR)
def test_whatever_is_marked_is_answered(system: Any, tools: Any, content: list[Any], control: Any) -> None:
    """A breakpoint where nobody expects one breaks no batch, and no bill is less than nothing."""
    params = {"model": "claude-haiku-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    one = {"custom_id": "row", "params": {**params, "system": system, "tools": tools, "cache_control": control}}
    emulator = Emulator()
    headers = {"x-api-key": "key", "anthropic-version": "2026-10-21"}

    assert emulator.handle("POST", PATH, headers, orjson.dumps({"requests": [one]})).status == 200
    emulator.clock.advance(seconds=60)
    assert all(min(vars(tokens).values()) >= 0 for tokens in emulator.audit.bill().values())
    assert sum(request.billed for request in emulator.audit.requests()) == len(emulator.audit.bill())
    emulator.close()


@pytest.mark.parametrize(("model", "tokens"), [("claude-haiku-5-5", 512), ("claude-haiku-4-5", 4_096)])
def test_a_short_prefix_is_not_cached(emulator: Emulator, send: Send, model: str, tokens: int) -> None:
    """Without an error, as plain input."""
    for n in (tokens - 1, tokens):
        send(10, model=model, system=guide(text="rule" * n))
        emulator.clock.advance(seconds=60)

    [billed] = emulator.audit.bill().values()
    assert billed.cache_written_1h == 10 * tokens
    assert billed.input >= 10 * (tokens - 1)


def test_both_sides_know_the_same_smallest_prefixes() -> None:
    """Of every model that the emulator has, though neither has copied from the other."""
    known = {name: model.smallest_prefix for name in MODELS.names if (model := find_model(name))}

    assert known == {name: smallest_prefix(name) for name in known}


def test_of_two_breakpoints_the_longest_that_is_there_is_read(client: anthropic.Anthropic, ask: Ask) -> None:
    """The rest, up to the last breakpoint, is written; a breakpoint at the end is one that nobody else reads."""

    def used(text: str, **params: Any) -> tuple[int | None, int | None]:
        content = [{"type": "text", "text": text, "cache_control": HOUR}, {"type": "text", "text": "a document"}]
        one = {**ask(system=guide())["params"], "messages": [{"role": "user", "content": content}], **params}
        usage = client.messages.create(**one).usage
        return usage.cache_read_input_tokens, usage.cache_creation_input_tokens

    assert used("one " * 100) == (0, 700)
    assert used("one " * 100) == (700, 0)
    assert used("two " * 300) == (600, 300)
    whole = {"system": GUIDE, "cache_control": FIVE_MINUTES}
    assert used("two " * 300, **whole) == (900, 3)
    assert used("two " * 300, **whole) == (903, 0)


MADE = RequestBuilder(
    prompt=Template.parse("Choose. " * 60 + "{text}"),
    base={
        "model": "claude-haiku-5-5",
        "max_tokens": 100,
        "system": "rule " * 384,
        "output_config": {
            "format": {
                "type": "json_schema",
                "schema": {
                    "type": "object",
                    "properties": {"label": {"type": "string", "enum": ["war", "peace"]}},
                    "required": ["label"],
                    "additionalProperties": False,
                },
            }
        },
    },
)
"""A guide of 600 tokens, in two parts, and a schema."""


@pytest.fixture
def prepared(emulator: Emulator) -> Callable[..., None]:
    """Return a function that sends documents of 150 tokens, marked or not, each group as a batch, one after another."""

    def prepared(*groups: range, marked: bool) -> None:
        for group in groups:
            plain = [MADE.build({"text": f"document {n:05d} " + "word " * 117}).params for n in group]
            sent = [MADE.marked(params) if marked else params for params in plain]
            requests = [{"custom_id": f"row-{n}", "params": orjson.loads(one)} for n, one in enumerate(sent)]
            headers = {"x-api-key": "key", "anthropic-version": "2026-10-21"}
            assert emulator.handle("POST", PATH, headers, orjson.dumps({"requests": requests})).status == 200
            emulator.clock.advance(seconds=60)

    return prepared


def input_usd(tokens: Tokens) -> float:
    """Return what the input on a bill costs in a batch, at the rates of short prompts."""
    rates = rates_of("claude-haiku-5-5")
    assert rates is not None
    plain, _, for_minutes, for_an_hour, read = rates.batch
    written = tokens.cache_written_5m * for_minutes + tokens.cache_written_1h * for_an_hour
    return (tokens.input * plain + written + tokens.cache_read * read) / FEMTO


def test_a_guide_of_600_tokens_costs_60_percent_less_by_the_books_of_the_server(
    emulator: Emulator, prepared: Callable[..., None]
) -> None:
    """One request first and the rest after it; all at once it costs more than without marks. As it was computed."""
    bills = [Tokens()]
    ways = (((range(500),), False), ((range(500, 1_000),), True), ((range(1_000, 1_001), range(1_001, 1_500)), True))
    for groups, marked in ways:
        prepared(*groups, marked=marked)
        emulator.clock.advance(hours=2)  # so that none reads what the one before has written
        bills.append(emulator.audit.bill()["claude-haiku-5-5"])
    uncached, cold, primed = (input_usd(after) - input_usd(before) for before, after in pairwise(bills))
    prefix = (bills[2].cache_written_1h - bills[1].cache_written_1h) // 500
    rest = (bills[2].input - bills[1].input) // 500
    wave = Wave(model="claude-haiku-5-5", n_requests=500, prefix_tokens=prefix, rest_tokens=rest)

    assert cold > 1.7 * uncached
    assert primed < 0.4 * uncached
    computed = costs_of(wave, reads=bills[3].cache_read / prefix / 499)
    assert computed is not None
    assert [uncached, cold, primed] == pytest.approx([computed.uncached, computed.cold, computed.primed], rel=0.001)
    saved = saved_usd("claude-haiku-5-5", usage_of(bills[3]))
    assert saved == pytest.approx(2 * uncached - cold - primed, rel=0.001)


def usage_of(tokens: Tokens) -> Usage:
    """Return the cached part of a bill as the usage of answers."""
    written = tokens.cache_written_5m + tokens.cache_written_1h
    return Usage(0, 0, written, tokens.cache_written_1h, tokens.cache_read)


def test_a_mark_changes_no_answer_and_no_question(emulator: Emulator, prepared: Callable[..., None]) -> None:
    """By the books it is the same request, paid for twice; its answer is the same, too."""
    prepared(range(20), marked=False)
    plain = emulator.audit.bill()["claude-haiku-5-5"]
    prepared(range(20), marked=True)
    both = emulator.audit.bill()["claude-haiku-5-5"]

    assert set(emulator.audit.billed().values()) == {2}
    assert both.output == 2 * plain.output
    assert both.input + both.cache_written_1h == 2 * plain.input


def test_deleting_does_not_take_a_bill_back(emulator: Emulator, send: Send, handle: Handle) -> None:
    """What was answered was paid for, also in a batch that nobody knows any more."""
    batch_id = send(10)
    assert emulator.audit.bill() == {}
    emulator.clock.advance(seconds=60)
    before = emulator.audit.bill()
    handle("DELETE", f"{PATH}/{batch_id}")

    assert emulator.audit.bill() == before
    assert before["claude-haiku-5-5"].cache_written_1h == 6_000
    assert handle("GET", "/_emulator/bill").json() == {model: vars(tokens) for model, tokens in before.items()}


def test_the_cache_is_there_after_a_restart(tmp_path: Path, ask: Ask) -> None:
    """It is a part of the state, like the batches; so is who reads."""
    body = orjson.dumps({"requests": [ask(f"row-{n}", f"{n}", system=guide()) for n in range(100)]})
    headers = {"x-api-key": "key", "anthropic-version": "2026-10-21"}
    bills = []
    for _ in range(2):
        emulator = Emulator(state=tmp_path)
        emulator.handle("POST", PATH, headers, body)
        emulator.advance(seconds=60)
        bills.append(emulator.audit.bill())
        assert emulator.audit.bill() == bills[-1]
        emulator.close()

    assert [bill["claude-haiku-5-5"].cache_read > 0 for bill in bills] == [False, True]
