"""What is read off one request before it is answered."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import orjson

from claude_batch_dagster.emulator.ids import chance
from claude_batch_dagster.emulator.lexicon import stems

# Of English prose, roughly; good enough to see costs add up.
_CHARACTERS_PER_TOKEN = 4
_TOKENS_OF_A_REQUEST = 8


# Each reading is one of its own, so that what was made of it can be found by it.
@dataclass(frozen=True, eq=False)
class Reading:
    """The text to answer about, and what was seen in it."""

    text: str
    flip_case: bool = False
    """Whether enum values are to be answered in the wrong capitalization."""
    ability: float = 1.0
    """Of the model that reads."""
    written: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the answer that somebody has written down."""

    @cached_property
    def words(self) -> Mapping[str, float]:
        """Stems of the text with their counts, or what a weaker model makes of these."""
        counts = stems(self.text)
        if self.ability >= 1:
            return counts
        return {word: n * _grasp(word, self.ability) for word, n in counts.items()}

    def chance(self, *salt: object) -> float:
        """Return a number in [0, 1) that depends on the text."""
        return chance(self.text, *salt)

    def extract(self, n_words: int = 12) -> str:
        """Return the first words of the text."""
        return " ".join(self.text[:2000].split()[:n_words])

    def first(self, pattern: str) -> str | None:
        """Return the first match of a pattern in the text."""
        match = re.search(pattern, self.text)
        return match[0] if match else None


@lru_cache(maxsize=100_000)
def _grasp(word: str, ability: float) -> float:
    """Return what is left of a word: much of most, little of a few, which are the same for all models."""
    return float(chance(word) ** (1 - ability))


def last_user_text(params: Mapping[str, Any]) -> str:
    """Return the text of the last user message."""
    messages = params.get("messages") or []
    for message in reversed(messages):
        if message.get("role") == "user":
            return "\n".join(_texts(message.get("content")))
    return ""


def system_text(params: Mapping[str, Any]) -> str:
    """Return the system prompt."""
    return "\n".join(_texts(params.get("system")))


def n_input_tokens(params: Mapping[str, Any]) -> int:
    """Estimate the tokens of a request: a quarter of its characters, and a few."""
    n_characters = len(system_text(params))
    for message in params.get("messages") or []:
        n_characters += sum(map(len, _texts(message.get("content"))))
    extras = [params[name] for name in ("tools", "output_config") if params.get(name)]
    if extras:
        n_characters += len(orjson.dumps(extras))
    return n_characters // _CHARACTERS_PER_TOKEN + _TOKENS_OF_A_REQUEST


def n_tokens(text: str) -> int:
    """Estimate the tokens of a text: a quarter of its characters, rounded up."""
    return tokens_of(len(text))


def tokens_of(n_characters: int) -> int:
    """Estimate the tokens of a text of that many characters."""
    return -(-n_characters // _CHARACTERS_PER_TOKEN)


def cut_to_tokens(text: str, n: int) -> str:
    """Return the beginning of a text that has `n` tokens."""
    return text[: n * _CHARACTERS_PER_TOKEN]


def block_text(block: object) -> str:
    """Return the text of a block of content; empty if it has none."""
    match block:
        case {"type": "text", "text": str(text)} | {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return text
        case _:
            return ""


def _texts(content: object) -> Iterator[str]:
    """Yield the texts of content; where a breakpoint of the cache cuts one in two, the whole of it."""
    if isinstance(content, str):
        yield content
        return
    begun = ""
    for block in content if isinstance(content, Iterable) else ():
        begun += block_text(block)
        if begun and not (isinstance(block, Mapping) and block.get("cache_control")):
            yield begun
            begun = ""
    if begun:
        yield begun
