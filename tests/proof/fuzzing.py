"""What the fuzz tests share: ways to spoil a good text, and how much is tried."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SEED = 1

MAX_BYTES = 1_000_000

SPLICES = [
    *[bytes([byte]) for byte in b'"\\{}[]:,0\n\r\t \x00\x7f\x80\xff'],
    *[b"\\ud800", b"\\u0000", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\\x", b'\\"'],
    *[b"null", b"NaN", b"-Infinity", b"1e999", b"-0", b"0.0", b"true", b"{}", b"[]", b'""', b"9" * 5_000, b"[" * 2_000],
    *[b'{"custom_id":' * 2_000, b'"custom_id":"x",', b'"type":"expired",', b'"type":null,', b'"text":3,'],
]
"""Bytes that parsers trip over."""


def spoil(text: bytes, chosen: random.Random) -> bytes:
    """Put in, take out or double something, in one place or a few."""
    for _ in range(chosen.choice([1, 1, 1, 2, 3, 6])):
        start = chosen.randint(0, len(text))
        end = start + chosen.choice([0, 0, 1, 1, 2, 40, MAX_BYTES])
        splice = chosen.choice([*SPLICES, b"", b"", chosen.randbytes(3), text[:start], text[start:end] * 2])
        text = (text[:start] + splice + text[end:])[:MAX_BYTES]
    return text


def spoilt(seeds: Sequence[bytes], n: int) -> Iterator[bytes]:
    """Give `n` texts, each a good one spoilt: the same in every run."""
    chosen = random.Random(SEED)  # noqa: S311  (a seed, not a secret)
    for _ in range(n):
        yield spoil(chosen.choice(seeds), chosen)


def fuzz(check: Callable[..., None], n_examples: int, **what: st.SearchStrategy[Any]) -> None:
    """Check examples that Hypothesis makes: the same in every run."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    settings(max_examples=n_examples, suppress_health_check=slow)(given(**what)(check))()


def n_examples(some: int, many: int) -> pytest.MarkDecorator:
    """Run a test with a tenth of some examples on every change, with all on every push, with many in `make soak`."""
    cases = [
        pytest.param(some // 10, id=f"{some // 10}-examples"),
        pytest.param(some, id=f"{some}-examples", marks=pytest.mark.verify),
        pytest.param(many, id=f"{many}-examples", marks=pytest.mark.soak),
    ]
    return pytest.mark.parametrize("n", cases)
