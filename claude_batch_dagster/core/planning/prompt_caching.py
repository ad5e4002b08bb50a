"""Whether requests are marked to be cached, and whether one of them goes first: by what that would save."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from claude_batch_dagster.core.caching import READS, Wave, costs_of, marking_pays, priming_pays

WARM_FOR = timedelta(minutes=45)
"""How long after a batch has ended its cache is relied on; it lives for an hour, which each read renews."""

MIN_MARKED_TOKENS = 20_000
"""Tokens read and written from which on the share of reads says something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """What the latest requests with this definition did with the cache."""

    read_tokens: int = 0
    written_tokens: int = 0
    last_ended_at: datetime | None = None
    """When the last batch ended whose requests were marked."""

    @property
    def reads(self) -> float | None:
        """The share of marked tokens that was read; None while there are too few to say."""
        marked = self.read_tokens + self.written_tokens
        return self.read_tokens / marked if marked >= MIN_MARKED_TOKENS else None

    def is_warm(self, now: datetime) -> bool:
        """Whether the cache is likely to be there."""
        return self.last_ended_at is not None and now - self.last_ended_at < WARM_FOR


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCaching:
    """How the requests of a plan use the cache."""

    prefix_tokens: int
    """Tokens that all of them begin with, about."""
    is_primed: bool
    """Whether one request goes first, by itself, and the others when it has been answered."""
    saved_usd: float
    """What that is expected to save, at batch prices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoCaching:
    """Requests are not marked, although they were: reads have stayed away, so that it cost more."""

    reads: float


def caching_of(wave: Wave, use: CacheUse, now: datetime) -> PromptCaching | NoCaching | None:
    """Return how a wave is to use the cache; None where that does not pay, or a price is not known."""
    measured = use.reads
    if measured is not None and marking_pays(wave) and not marking_pays(wave, reads=measured):
        return NoCaching(reads=measured)
    reads = READS if measured is None else measured
    is_warm = use.is_warm(now)
    pays = marking_pays(wave, reads=reads) if is_warm else priming_pays(wave, reads=reads)
    costs = costs_of(wave, reads=reads)
    if not pays or costs is None:
        return None
    cached = costs.warm if is_warm else costs.primed
    return PromptCaching(prefix_tokens=wave.prefix_tokens, is_primed=not is_warm, saved_usd=costs.uncached - cached)
