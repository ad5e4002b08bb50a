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
from math import exp, hypot, log, log1p, sqrt
from typing import NamedTuple

_WORD = re.compile(r"[^\W_]+")
_SHORTEST = 3
# A name was chosen to tell labels apart; a description is only prose about it.
_NAME_WEIGHT = 2
# How far scores must differ to count, in units of all that was said: the lower, the surer.
_TEMPERATURE = 0.15
# How sure "other" is where no word matches.
_SHARE_OF_OTHER = 0.6
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


class Ranked(NamedTuple):
    """A label among others."""

    label: str
    score: float
    """How well it fits; 0 where no word speaks for it."""
    share: float
    """How likely it is the right one, of 1."""


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
        others = [index for index, name in enumerate(self.labels) if name.lower() in _FALLBACKS]
        self._fallback = others[-1] if others else 0
        weights = [weight for one in self._weights.values() for _, weight in one]
        self._typical = sum(weights) / (len(weights) or 1) * log1p(1)

    def scores(self, words: Mapping[str, float]) -> list[float]:
        """Return how well each label fits, in the order of the labels."""
        totals = [0.0] * len(self.labels)
        for word, n in words.items():
            for index, weight in self._weights.get(word, ()):
                # The tenth mention of a word says less than the first.
                totals[index] += weight * log1p(n)
        return totals

    def best(self, words: Mapping[str, float]) -> str:
        """Return the best label; the first of equals, and the one that means "other" if no word matches."""
        return self.labels[self._best(self.scores(words))]

    def ranked(self, words: Mapping[str, float]) -> list[Ranked]:
        """Return every label, the best first, each with its share: between 0 and 1, all shares together are 1."""
        totals = self.scores(words)
        best = self._best(totals)
        shares = self._shares(totals, self._evidence(words)) if totals[best] else self._shares_of_nothing(best)
        order = sorted(range(len(totals)), key=lambda index: (index != best, -totals[index]))
        return [Ranked(self.labels[index], totals[index], shares[index]) for index in order]

    def _best(self, totals: Sequence[float]) -> int:
        top = max(totals)
        return totals.index(top) if top > 0 else self._fallback

    def _evidence(self, words: Mapping[str, float]) -> float:
        """Return how much is said for any label: many words that disagree say much, and leave the best unsure."""
        said = (weight * log1p(n) for word, n in words.items() for _, weight in self._weights.get(word, ()))
        # As if one word more spoke for nobody: a single match is thin.
        return hypot(self._typical, *said)

    def _shares(self, totals: Sequence[float], evidence: float) -> list[float]:
        heat = evidence * _TEMPERATURE
        top = max(totals)
        odds = [exp((total - top) / heat) for total in totals]
        whole = sum(odds)
        return [one / whole for one in odds]

    def _shares_of_nothing(self, best: int) -> list[float]:
        """Return the shares where no word matches: that may well be what "other" is there for."""
        n_labels = len(self.labels)
        if n_labels == 1 or self.labels[best].lower() not in _FALLBACKS:
            return [1 / n_labels] * n_labels
        return [
            _SHARE_OF_OTHER if index == best else (1 - _SHARE_OF_OTHER) / (n_labels - 1) for index in range(n_labels)
        ]


def _bag(name: str, description: str) -> dict[str, float]:
    bag: dict[str, float] = dict.fromkeys(stems(description), 1.0)
    # "None" and its like are names for what is absent; as words of a text they would be a coincidence.
    named = {} if name.lower() in _FALLBACKS else stems(_spaced(name))
    return bag | dict.fromkeys(named, float(_NAME_WEIGHT))


def _spaced(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)
