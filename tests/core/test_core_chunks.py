import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_batch_dagster.core.asking.keys import canonical_key
from claude_batch_dagster.core.asking.requests import widened
from claude_batch_dagster.core.sending.chunks import (
    MAX_CUSTOM_ID,
    NONCE_LENGTH,
    Chunk,
    Limits,
    OpenRow,
    chunked,
    custom_id,
    new_nonce,
    rows_of,
)
from claude_batch_dagster.errors import ConfigurationError

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
NONCE = new_nonce(NOW, b"0123456789")


def candidates(sizes: Sequence[int]) -> list[OpenRow]:
    """Return candidates whose params have these sizes, in bytes."""
    return [OpenRow(None, str(n), "hash", b'"' + b"x" * (size - 2) + b'"') for n, size in enumerate(sizes)]


def chunk_of(keys: Sequence[str], params: bytes = b"{}") -> Chunk:
    """Return a chunk of rows with these canonical keys."""
    return Chunk(NONCE, [OpenRow(None, key, "hash", params, 1) for key in keys])


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (1, [1]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1])])
def test_chunks_are_full_but_the_last(n: int, sizes: list[int]) -> None:
    """Every chunk is filled to the limit; the last takes what is left."""
    assert [len(chunk) for chunk in chunked(candidates([9] * n), Limits(max_requests=3))] == sizes


@given(
    sizes=st.lists(st.integers(2, 3000), max_size=40),
    max_requests=st.integers(1, 7),
    max_bytes=st.integers(1_000, 5_000),
)
def test_f18_nothing_is_lost_or_sent_twice_and_no_limit_is_passed(
    sizes: list[int], max_requests: int, max_bytes: int
) -> None:
    """Chunks laid end to end are the candidates in order; only a single row may pass the limit of bytes."""
    rows = candidates(sizes)

    chunks = list(chunked(rows, Limits(max_requests=max_requests, max_bytes=max_bytes)))

    assert [row for chunk in chunks for row in chunk] == rows
    for group in chunks:
        chunk = Chunk(NONCE, group)
        assert 1 <= len(group) <= max_requests
        assert chunk.body.n_bytes <= max_bytes or len(group) == 1


@pytest.mark.parametrize(
    ("n", "sizes"),
    [
        pytest.param(999, [999], id="few"),
        pytest.param(1_999, [1_999], id="not-worth-two"),
        pytest.param(2_001, [1_001, 1_000], id="worth-two"),
        pytest.param(7_999, [1_143] * 6 + [1_141], id="worth-seven"),
        pytest.param(40_000, [5_000] * 8, id="eight"),
        pytest.param(85_000, [10_000] * 8 + [5_000], id="more-than-eight-may-hold"),
    ],
)
def test_what_is_much_is_shared_by_several_batches(n: int, sizes: list[int]) -> None:
    """So that the first answers come soon; what the user has said stays the limit."""
    assert [len(chunk) for chunk in chunked(candidates([9] * n), Limits().shared_by(n))] == sizes
    assert Limits(max_requests=500).shared_by(n).max_requests == 500


def priced(max_tokens: int, *, model: str = "claude-haiku-5-5", n_truncated: int = 0) -> OpenRow:
    """Return a candidate whose answer may have so many tokens."""
    params = orjson.dumps({"model": model, "max_tokens": max_tokens, "messages": []})
    return OpenRow(None, "k", "hash", params, n_truncated=n_truncated)


def price_of(group: Sequence[OpenRow]) -> float:
    """Return the upper bound that the ledger keeps of these rows as one batch, as they are asked."""
    rows = [one._replace(params=widened(one.params, n_truncated=one.n_truncated)) for one in group]
    return Chunk(NONCE, rows).max_cost_usd or 0.0


def test_each_request_is_priced_by_its_own_limit() -> None:
    """A limit that begins with the digits of the one before is another one."""
    rows = [priced(limit) for limit in (1, 10, 100, 1)]

    assert Chunk(NONCE, rows).max_cost_usd == pytest.approx(sum(row.max_cost_usd for row in rows))


def test_a_request_that_is_to_be_cached_may_cost_more() -> None:
    """Writing to the cache is billed above the price of input, also in a batch where nothing else is cached."""
    plain = {"model": "claude-haiku-5-5", "max_tokens": 1, "messages": [{"role": "user", "content": "x" * 9_000}]}
    cached = {**plain, "messages": [{"role": "user", "content": "x" * 9_000, "cache_control": {"type": "ephemeral"}}]}
    first, second = (OpenRow(None, "k", "hash", orjson.dumps(one)) for one in (plain, cached))

    assert second.max_cost_usd > 1.2 * first.max_cost_usd
    assert Chunk(NONCE, [first, second]).max_cost_usd == pytest.approx(first.max_cost_usd + second.max_cost_usd)


def test_columns_of_unequal_length_make_no_rows() -> None:
    """Rather than rows that are lost in silence."""
    assert list(rows_of([None, "p"], ["1", "2"], ["q", "r"], [b"{}", b"{}"])) == [
        OpenRow(None, "1", "q", b"{}"),
        OpenRow("p", "2", "r", b"{}"),
    ]
    with pytest.raises(ValueError, match="shorter"):
        list(rows_of([None, "p"], ["1"], ["q", "r"], [b"{}", b"{}"]))


@given(
    rows=st.lists(st.builds(priced, st.integers(1, 9_000), n_truncated=st.integers(0, 2)), max_size=30),
    max_usd=st.floats(0.001, 0.2),
)
def test_no_batch_can_cost_more_than_was_said(rows: list[OpenRow], max_usd: float) -> None:
    """By the bound that is reported; only a single row may pass it. No batch is smaller than it must be."""
    chunks = list(chunked(rows, Limits(max_usd=max_usd)))

    assert [row for chunk in chunks for row in chunk] == rows
    assert all(price_of(group) <= max_usd + 1e-9 or len(group) == 1 for group in chunks)
    assert all(price_of([*one, two[0]]) > max_usd - 1e-9 for one, two in pairwise(chunks))


def test_a_limit_in_dollars_needs_a_price() -> None:
    """A model that the price list does not know is refused while nothing is sent; without the limit it is not."""
    rows = [priced(9, model="no-such-model")]

    assert list(chunked(rows, Limits())) == [rows]
    with pytest.raises(ConfigurationError, match=r"'no-such-model' can cost at most is not known.*max_unconfirmed_usd"):
        list(chunked(rows, Limits(max_usd=1.0)))


@given(keys=st.lists(st.lists(st.text() | st.integers(), min_size=1, max_size=3), min_size=1, max_size=20))
@example(keys=[["../../etc/passwd"], ["\x00"], [""], ["x" * 300], ["é"], [-1], ["---"], ["a", "b"], ["a-b"]])
def test_f20_f21_custom_ids_are_allowed_and_unique_for_any_keys(keys: list[list[str | int]]) -> None:
    """Hostile, equal, empty and long keys give ids that the API takes, each begun by the nonce."""
    chunk = chunk_of([canonical_key(values) or "null" for values in keys])

    assert len(set(chunk.custom_ids)) == len(keys)
    for name in chunk.custom_ids:
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name)
        assert name[:NONCE_LENGTH] == NONCE


@pytest.mark.parametrize(
    ("key", "slug"),
    [
        ('"1790-3"', "-1790-3"),
        ('["de","x y"]', "-de-x-y"),
        ("17", "-17"),
        ('"//"', ""),
        ('"' + "k" * 99 + '"', "-" + "k" * 31),
    ],
)
def test_a_custom_id_ends_with_as_much_of_the_key_as_is_allowed(key: str, slug: str) -> None:
    """People find a row by its key."""
    name = custom_id(NONCE, 7, key)

    assert (name, len(name) <= MAX_CUSTOM_ID) == (f"{NONCE}-00007{slug}", True)


@given(texts=st.lists(st.text(), min_size=1, max_size=10))
def test_f19_the_body_is_valid_json_of_the_size_that_was_written_down(texts: list[str]) -> None:
    """The body is encoded the same each time it is read, and is exactly what the intent says."""
    params = [orjson.dumps({"messages": [{"role": "user", "content": text}]}) for text in texts]
    chunk = Chunk(NONCE, [OpenRow("p", "1", "hash", encoded, 1) for encoded in params])

    first, again = b"".join(chunk.body.pieces), b"".join(chunk.body.pieces)

    assert (len(first), again) == (chunk.body.n_bytes, first)
    assert orjson.loads(first) == {
        "requests": [
            {"custom_id": name, "params": orjson.loads(encoded)}
            for name, encoded in zip(chunk.custom_ids, params, strict=True)
        ]
    }


@given(
    first=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001  (hypothesis wants them naive)
    milliseconds=st.integers(1, 10**9),
    entropy=st.tuples(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10)),
)
def test_nonces_sort_by_time_of_intent(first: datetime, milliseconds: int, entropy: tuple[bytes, bytes]) -> None:
    """Of two nonces the later is the greater, whatever chance adds."""
    early = first.replace(tzinfo=UTC, microsecond=0)

    assert new_nonce(early, entropy[0]) < new_nonce(early + timedelta(milliseconds=milliseconds), entropy[1])


def test_nonces_of_one_moment_differ_by_chance_alone() -> None:
    """All eighty bits of chance are in the nonce, which is 26 characters that read well."""
    nonces = {new_nonce(NOW, bytes([0] * place + [1] + [0] * (9 - place))) for place in range(10)}

    assert len(nonces) == 10
    assert all(re.fullmatch(r"[0-9a-hjkmnp-tv-z]{26}", nonce) for nonce in nonces)


@pytest.mark.parametrize("last", ["model", "max_tokens", "messages"])
def test_a_request_costs_the_same_however_its_params_are_ordered(last: str) -> None:
    """A prompt function may lay them out as it likes."""
    params = {"model": "claude-haiku-5-5", "max_tokens": 9_000, "messages": []}
    turned = {**{name: value for name, value in params.items() if name != last}, last: params[last]}

    costs = {OpenRow(None, "k", "hash", orjson.dumps(one)).max_cost_usd for one in (params, turned)}

    assert len(costs) == 1
