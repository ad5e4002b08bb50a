"""
A zero-shot scorer that matches words, not meanings.

It picks the label whose name and description share the most, and the rarest,
word stems with a text. These are lexical answers, not Claude's: good enough to
see a pipeline move, useless as a measure of quality.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import log, log1p, sqrt

_WORD = re.compile(r"[^\W_]+")
_SHORTEST = 3
# A name was chosen to tell labels apart; a description is only prose about it.
_NAME_WEIGHT = 2
_FALLBACKS = frozenset(("other", "others", "none", "unknown", "misc", "miscellaneous"))
_STOP = frozenset(
    _WORD.findall(
        """
        about above after again all also and any anything are because been before being between both but can
        could did does doing down during each else everything few for from further had has have having her
        here hers him his how into its itself just more most not now off once only other others our ours out
        over own rest same shall she should some something such than that the their theirs them then there
        these they this those through too under until upon very was were what when where which while who
        whom why will with would you your
        """
    )
)
_SUFFIXES = _WORD.findall(
    "ization isation ational fulness ousness iveness ations ation ments ment ness ities ity ives ive ing ings "
    "ies ied ers er ed es ly al s"
)


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """Cut the longest known suffix, keeping at least three letters; empty for words that say nothing."""
    if len(word) < _SHORTEST or word in _STOP:
        return ""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST:
            word = word[: -len(suffix)]
            break
    # A last soft letter goes too, so that "treaty" meets "treaties" and "trade" meets "trading".
    return word[:-1] if len(word) > _SHORTEST and word[-1] in "eiy" else word


def stems(text: str) -> Counter[str]:
    """Count the word stems of a text."""
    counts = Counter(map(stem, _WORD.findall(text.lower())))
    del counts[""]
    return counts


class Scorer:
    """Chooses among labels, given as names with descriptions."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.labels: Sequence[str] = tuple(labels)
        bags = [_bag(name, description) for name, description in labels.items()]
        spread = Counter(word for bag in bags for word in bag)
        rarity = {word: log(1 + len(bags) / n) for word, n in spread.items()}
        self._weights: dict[str, list[tuple[int, float]]] = {}
        for index, bag in enumerate(bags):
            # Long descriptions would win by their length alone.
            length = sqrt(sum(rarity[word] for word in bag)) or 1.0
            for word, weight in bag.items():
                self._weights.setdefault(word, []).append((index, weight * rarity[word] / length))
        self._fallback = next((name for name in reversed(self.labels) if name.lower() in _FALLBACKS), self.labels[0])

    def scores(self, words: Mapping[str, int]) -> list[float]:
        """Return how well each label fits, in the order of the labels."""
        totals = [0.0] * len(self.labels)
        for word, n in words.items():
            for index, weight in self._weights.get(word, ()):
                # The tenth mention of a word says less than the first.
                totals[index] += weight * log1p(n)
        return totals

    def best(self, words: Mapping[str, int]) -> str:
        """Return the best label; the first of equals, and the one that means "other" if no word matches."""
        totals = self.scores(words)
        top = max(totals)
        return self.labels[totals.index(top)] if top > 0 else self._fallback


def _bag(name: str, description: str) -> dict[str, float]:
    bag: dict[str, float] = dict.fromkeys(stems(description), 1.0)
    # "None" and its like are names for what is absent; as words of a text they would be a coincidence.
    named = {} if name.lower() in _FALLBACKS else stems(_spaced(name))
    return bag | dict.fromkeys(named, float(_NAME_WEIGHT))


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)
