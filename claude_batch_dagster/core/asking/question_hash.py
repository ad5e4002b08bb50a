"""
What makes two questions the same: a hash made by our own code, of what the user wrote and of the values of the row.

Never of bytes that another library writes: those change with its version, and each change would pay for every
document once more. The wire form of a request stands beside it and may change freely.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

VERSION = "q1"
"""Begins every hash. Another way to make them gets another number, so that the names of old answers stay known."""

NEXT_VERSION = "q2"
"""Hashes of `VERSION` sort between the two."""

LENGTH = 32
"""Characters of a question's hash, the version among them."""


def canonical(value: Any) -> str:
    """
    Return JSON that is the same for the same value, whatever the order of its keys.

    Raises `TypeError` for what JSON does not have, and `ValueError` for a number that is none.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal; a lone surrogate is taken as it is."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def question_hash(definition: str, values: Iterable[str]) -> str:
    """
    Return the hash of one question: of its definition (a digest), and of the row's values as text.

    Each value is preceded by its length in bytes, so that two of them cannot be taken for two others. For templates
    the database computes the same: `storage.duckdb.asking.question_hash`.
    """
    hashed = hashlib.sha256(definition.encode())
    for value in values:
        encoded = value.encode(errors="surrogatepass")
        hashed.update(b":%d:%b" % (len(encoded), encoded))
    return f"{VERSION}{hashed.hexdigest()}"[:LENGTH]


def refreshed(question: str, token: str) -> str:
    """Return what a question is called that is asked again although it was answered: another one, by the token."""
    return f"{VERSION}{digest(f'{question}:{token}')}"[:LENGTH]


def earlier_hash(params: bytes, *, asked_of: str) -> str:
    """Return how a question was called before hashes had a version: by the bytes that were sent."""
    return hashlib.sha256(asked_of.encode() + params).hexdigest()[:LENGTH]
