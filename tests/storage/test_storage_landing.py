"""Results are read by the database, and mean the same as if each line were read with care."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from claude_batch_dagster.core.collecting.answer_records import facts_of, spending
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.collecting.results import Succeeded, UnreadableLineError, decode
from claude_batch_dagster.core.ledger import ChunkRecord, Requests, Spend, State
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import WarehouseMemoryError
from claude_batch_dagster.storage.duckdb import warehouse
from claude_batch_dagster.storage.duckdb.asking import questions
from claude_batch_dagster.storage.duckdb.collecting import answers, matching
from claude_batch_dagster.storage.duckdb.collecting.answer_store import AnswerStore
from claude_batch_dagster.storage.duckdb.collecting.output_table import OutputTable
from claude_batch_dagster.storage.duckdb.collecting.projection import Projection
from claude_batch_dagster.storage.duckdb.warehouse import Warehouse

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
TARGET, KEY_TYPES = TableName("main", "answers"), {"id": "INTEGER"}
USAGE = {"input_tokens": 7, "output_tokens": 3}
FACTS = ("came", "text", "sanitized", "detail", "explanation", "model", "input_tokens", "output_tokens", "cost_usd")


class Label(BaseModel):
    """A small output model."""

    label: str


SCHEMA = OutputSchema(Label)


def line(custom_id: str, *blocks: Any, **facts: Any) -> bytes:
    """Return a result that succeeded; without blocks, with one of text."""
    content = list(blocks) or [{"type": "text", "text": '{"label": "war"}'}]
    message = {"model": "claude-haiku-5-5", "content": content, "stop_reason": "end_turn", "usage": USAGE, **facts}
    return orjson.dumps({"custom_id": custom_id, "result": {"type": "succeeded", "message": message}})


def other(custom_id: str, **result: Any) -> bytes:
    """Return a result of another type."""
    return orjson.dumps({"custom_id": custom_id, "result": result})


TEXT = {"type": "text", "text": "a"}
LINES: Mapping[str, bytes] = {
    "plain": line("plain"),
    "unicode": line("unicode", {"type": "text", "text": "Zoë \u2028 \x00 \U0001f600"}),
    "thought": line("thought", {"type": "thinking", "thinking": "hm", "signature": "x"}, TEXT),
    "hidden": line("hidden", {"type": "redacted_thinking", "data": "x"}, TEXT),
    "two": line("two", TEXT, TEXT),
    "only-thought": line("only-thought", {"type": "thinking", "thinking": "hm"}),
    "tool": line("tool", {"type": "tool_use", "input": {"label": "war"}}),
    "cited": line("cited", {**TEXT, "citations": [{"type": "x"}]}),
    "none": line("none", content=[]),
    "no-list": line("no-list", content="a"),
    "null-text": line("null-text", {"type": "text", "text": None}),
    "refused": line("refused", content=[], stop_reason="refusal", stop_details={"category": "bio"}),
    "detailed": line("detailed", TEXT, stop_reason="refusal", stop_details={"category": "bio"}),
    "cut": line("cut", TEXT, stop_reason="max_tokens"),
    "no-reason": line("no-reason", TEXT, stop_reason=None),
    "no-model": line("no-model", TEXT, model=None),
    "strange": line("strange", TEXT, model="claude-of-next-year"),
    "no-usage": line("no-usage", TEXT, usage=None),
    "negative": line("negative", TEXT, usage={"input_tokens": -1, "output_tokens": 2}),
    "huge": line("huge", TEXT, usage={"input_tokens": 10**15, "output_tokens": 2}),
    "beyond": line("beyond", TEXT).replace(b'"input_tokens":7', b'"input_tokens":%d' % 10**30),
    "cached": line(
        "cached",
        TEXT,
        usage={
            "input_tokens": 5,
            "output_tokens": 2,
            "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 1_000,
            "cache_creation": {"ephemeral_1h_input_tokens": 40, "ephemeral_5m_input_tokens": 60},
        },
    ),
    "usual": line(
        "usual",
        TEXT,
        usage={
            **USAGE,
            "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0},
            "speed": "standard",
            "inference_geo": "not_available",
            "service_tier": "batch",
        },
    ),
    "searched": line("searched", TEXT, usage={**USAGE, "server_tool_use": {"web_search_requests": 30}}),
    "fetched": line("fetched", TEXT, usage={**USAGE, "server_tool_use": {"web_fetch_requests": 2}}),
    "ran": line("ran", TEXT, usage={**USAGE, "server_tool_use": {"code_execution_requests": 1}}),
    "fast": line("fast", TEXT, usage={**USAGE, "speed": "fast"}),
    "pinned": line("pinned", TEXT, usage={**USAGE, "inference_geo": "us"}),
    "long-context": line(
        "long-context", TEXT, model="claude-sonnet-4-5", usage={"input_tokens": 300_000, "output_tokens": 2}
    ),
    "long": line("long", {"type": "text", "text": "x" * 300_000}),
    "half": line("half", {"type": "text", "text": "HALF"}).replace(b"HALF", b"\\ud800"),
    "no-utf8": line("no-utf8", {"type": "text", "text": "HALF"}).replace(b"HALF", b"\xff"),
    "errored": other("errored", type="errored", error={"error": {"type": "api_error", "message": "sorry"}}),
    "nameless": other("nameless", type="errored", error=None),
    "expired": other("expired", type="expired"),
    "canceled": other("canceled", type="canceled"),
    "unknown-type": other("unknown-type", type="of_next_year"),
    "cut-off": line("cut-off")[:-9],
}
"""Lines of every kind by the custom_id of their request; "lost" has none."""

NAMES = (*LINES, "lost")

SUMMED = ("n_requests", "input_tokens", "output_tokens", "cost_usd", "live_cost_usd")

UNPRICED = frozenset({"strange", "no-model", "ran", "fast", "pinned"})
"""Of a model, or with a use of it, that the price list does not price."""


class Landed:
    """One chunk, as it lands from a file of results."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.warehouse = Warehouse(str(folder / "warehouse.duckdb"), config)
        projection = Projection(target=TARGET, key_types=KEY_TYPES, schema=SCHEMA)
        self.store = AnswerStore(warehouse=self.warehouse, projection=projection, partition_keys=["p"])
        self.lacking: set[str] = set()
        self.spends: list[Spend] = []
        self.contradictory = False
        with self.warehouse.connect() as connection:
            OutputTable(target=TARGET, key_types=KEY_TYPES, schema=SCHEMA).prepare(connection)
            answers.prepare(connection)
            questions.prepare(connection, TARGET, KEY_TYPES)

    def land(self, file: Path) -> dict[str, tuple[Any, ...]]:
        """Land a file; return what is written down, by custom_id."""
        parts = ["p" if place % 2 else "q" for place in range(len(NAMES))]
        requests = Requests(parts, NAMES, [1] * len(NAMES), NAMES, NAMES, [None] * len(NAMES))
        chunk = ChunkRecord(
            chunk_id="chunk",
            pipeline="main.answers",
            run_id="run",
            account="https://api.anthropic.com default key",
            state=State.ENDED,
            n_requests=len(NAMES),
            n_bytes=0,
            intended_at=NOW,
            batch_id="msgbatch_1",
        )
        with self.store.landing() as landing:
            received = landing.receive(chunk, requests, file, NOW)
            received.land({})
            self.lacking = {NAMES[place] for place in received.lacking}
            self.spends, self.contradictory = received.spends(), received.is_contradictory
        with self.warehouse.connect() as connection:
            found = connection.execute(
                f"SELECT custom_id, {', '.join(FACTS)} FROM claude_batch.answers ORDER BY ordinal"  # noqa: S608
            ).fetchall()
        return {custom_id: tuple(facts) for custom_id, *facts in found}


@pytest.fixture(params=["by the database", "files forbidden", "a name with a meaning"])
def landed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Landed, Path]:
    """Return a chunk that lands, and where its results are to be: read in every way there is."""
    forbidden = request.param == "files forbidden"
    folder = tmp_path / ("spool[1]" if request.param == "a name with a meaning" else "spool")
    folder.mkdir()
    return Landed(tmp_path, {"enable_external_access": "false"} if forbidden else {}), folder / "results.jsonl"


def by_hand(lines: Mapping[str, bytes]) -> dict[str, tuple[Any, ...]]:
    """Return what is to be written down, each line read alone."""
    found = {}
    for name, raw in lines.items():
        try:
            result = decode(raw)
        except UnreadableLineError:
            continue
        facts = {"sanitized": False, **facts_of(result)}
        found[name] = tuple(facts.get(fact) for fact in FACTS)
    return found


ORDERS: Mapping[str, Callable[[list[bytes]], list[bytes]]] = {"as sent": list, "backwards": lambda lines: lines[::-1]}


@pytest.mark.sampled
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_f76_every_line_means_what_it_means_alone(
    landed: tuple[Landed, Path], order: Callable[[list[bytes]], list[bytes]]
) -> None:
    """Whatever came back, whether the database can read it or not; what nobody can read is lacking."""
    world, file = landed
    noise = [b"garbage", b"", b"\r", b"[1]", other("of-somebody-else", type="expired"), b"\xef\xbb\xbf" + line("lost?")]
    file.write_bytes(b"\n".join(order([*LINES.values(), *noise])) + b"\n")

    found = world.land(file)

    expected = by_hand(LINES)
    assert found == {name: expected[name] for name in NAMES if name in expected}
    assert world.lacking == {"lost", "unknown-type", "cut-off"}


def test_costs_are_those_of_each_message_alone(landed: tuple[Landed, Path]) -> None:
    """By partition; where a price is not known, that of its partition is not."""
    world, file = landed
    file.write_bytes(b"\n".join(raw for name, raw in LINES.items() if name not in UNPRICED))
    world.land(file)

    billed = [
        ("p" if NAMES.index(name) % 2 else "q", decode(raw))
        for name, raw in LINES.items()
        if name not in UNPRICED | {"cut-off", "unknown-type"}
    ]
    expected = {one.partition_key: one for one in spending((p, r) for p, r in billed if isinstance(r, Succeeded))}
    for part in ("p", "q"):
        mine = [one for one in world.spends if one.partition_key == part]
        assert sum(one.n_requests for one in mine) == expected[part].n_requests
        assert sum(one.input_tokens for one in mine) == expected[part].input_tokens
        assert sum(one.output_tokens for one in mine) == expected[part].output_tokens
        assert sum(one.cost_usd or 0.0 for one in mine) == pytest.approx(expected[part].cost_usd)
        assert sum(one.live_cost_usd or 0.0 for one in mine) == pytest.approx(expected[part].live_cost_usd)


SUMS = ", ".join(f"sum({name})" for name in SUMMED)


def test_what_is_written_down_of_costs_is_what_the_ledger_is_told(landed: tuple[Landed, Path]) -> None:
    """By partition, whether the database has read a line or we have; a line is billed to one model."""
    world, file = landed
    file.write_bytes(b"\n".join(raw for name, raw in LINES.items() if name not in UNPRICED))
    world.land(file)

    with world.warehouse.connect() as connection:
        found = connection.execute(
            f"SELECT partition_key, {SUMS} FROM claude_batch.spending GROUP BY ALL"  # noqa: S608
        ).fetchall()
        cached = connection.execute(
            "SELECT sum(cache_read_tokens), sum(cache_write_tokens), sum(uncached_cost_usd) > sum(cost_usd), "
            "count(DISTINCT (chunk_id, partition_key, model)) = count(*) FROM claude_batch.spending"
        ).fetchall()
    for partition_key, *sums in found:
        mine = [one for one in world.spends if one.partition_key == partition_key]
        assert sums == pytest.approx(
            [sum(getattr(one, name) or 0 for one in mine) for name in SUMMED],
        )
    assert len(found) == 2
    assert cached == [(1_000, 100, True, True)]


def test_costs_whose_price_is_not_known_are_null_and_counted(landed: tuple[Landed, Path]) -> None:
    """All dollars of that partition and model, and of no other."""
    world, file = landed
    file.write_bytes(b"\n".join(LINES.values()))
    world.land(file)

    with world.warehouse.connect() as connection:
        found = connection.execute(
            "SELECT sum(n_unpriced), bool_and((n_unpriced > 0) = (cost_usd IS NULL)), "
            "bool_and((cost_usd IS NULL) = (live_cost_usd IS NULL)), "
            "bool_and((cost_usd IS NULL) = (uncached_cost_usd IS NULL)), count(cost_usd) > 0 "
            "FROM claude_batch.spending"
        ).fetchall()
    assert found == [(len(UNPRICED), True, True, True, True)]


def test_a_chunk_that_lands_again_with_less_takes_nothing_back(landed: tuple[Landed, Path]) -> None:
    """Its file was cut since: what was billed was billed."""
    world, file = landed
    file.write_bytes(b"\n".join(LINES.values()))
    world.land(file)
    with world.warehouse.connect() as connection:
        before = connection.execute("FROM claude_batch.spending ORDER BY ALL").fetchall()
    file.write_bytes(LINES["plain"])
    world.land(file)

    with world.warehouse.connect() as connection:
        assert connection.execute("FROM claude_batch.spending ORDER BY ALL").fetchall() == before


def test_of_two_results_for_one_request_the_first_counts(landed: tuple[Landed, Path]) -> None:
    """It is said when they differ; the same line twice is nothing to speak of."""
    world, file = landed
    first, second = line("plain", {"type": "text", "text": "first"}), line("plain", {"type": "text", "text": "second"})
    file.write_bytes(b"\n".join([first, LINES["cited"], LINES["cited"], second]))

    found = world.land(file)

    assert (found["plain"][1], found["cited"][1], world.contradictory) == ("first", "a", True)


PLAIN = frozenset({"plain", "unicode", "thought", "hidden", "cited", "cut", "strange", "cached", "usual", "long"})
"""Lines that the database can read itself."""


def test_only_the_odd_line_is_read_with_care(landed: tuple[Landed, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a long one is read by the database; where it may not read the file, or would read others, all are odd."""
    world, file = landed
    read = list[str]()

    def watched(raw: bytes) -> Any:
        result = decode(raw)
        read.append(result.custom_id)
        return result

    monkeypatch.setattr(matching, "decode", watched)
    file.write_bytes(b"\n".join(LINES.values()))
    world.land(file)

    by_itself = file.parent.name == "spool" and not world.warehouse.config
    assert PLAIN.isdisjoint(read) if by_itself else PLAIN.issubset(read)


@pytest.mark.sampled
@pytest.mark.parametrize("unpriced", sorted(UNPRICED))
def test_where_one_price_is_not_known_the_sum_is_not_known(landed: tuple[Landed, Path], unpriced: str) -> None:
    """Rather no figure than a wrong one."""
    world, file = landed
    part = "p" if NAMES.index(unpriced) % 2 else "q"
    beside = next(name for name in PLAIN - UNPRICED if NAMES.index(name) % 2 == NAMES.index(unpriced) % 2)
    file.write_bytes(LINES[unpriced] + b"\n" + LINES[beside])
    world.land(file)

    mine = [one for one in world.spends if one.partition_key == part]  # of what was read with care, it is another one
    assert sum(one.n_requests for one in mine) == 2
    assert None in {one.cost_usd for one in mine}
    assert None in {one.live_cost_usd for one in mine}


@pytest.mark.sampled
def test_f76_a_line_of_any_length_spoils_no_other(landed: tuple[Landed, Path]) -> None:
    """Longer than what the database reads unless it is told to: two of its buffers of 16 MB."""
    world, file = landed
    file.write_bytes(LINES["plain"] + b"\n{" + b"x" * 34_000_000 + b"\n" + LINES["cited"])

    assert world.land(file).keys() == {"plain", "cited"}


@pytest.mark.verify
def test_large_answers_land_with_all_the_memory_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they do not fit into what DuckDB takes by itself: the first try changes nothing."""
    monkeypatch.setattr(warehouse, "MEMORY_LIMIT", "20MB")
    landed, file = Landed(tmp_path, {}), tmp_path / "results.jsonl"
    lines = {name: line(name, {"type": "text", "text": f"{n} " + "x" * 2_000_000}) for n, name in enumerate(NAMES)}
    file.write_bytes(b"\n".join(lines.values()))

    with pytest.raises(WarehouseMemoryError):
        landed.land(file)

    assert landed.land(file) == by_hand(lines)


def test_a_line_of_megabytes_lands_in_little_memory(tmp_path: Path) -> None:
    """The database would reserve twelve times as much as it is long; so it is read with care, and so are the others."""
    landed, file = Landed(tmp_path, {"memory_limit": "150MB", "threads": 1}), tmp_path / "results.jsonl"
    lines = {**LINES, "plain": line("plain", {"type": "text", "text": "x" * 12_000_000})}
    file.write_bytes(b"\n".join(lines.values()))

    assert landed.land(file) == by_hand(lines)
