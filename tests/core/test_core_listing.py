"""When a batch that is not in the list can be taken for one that is not there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import anthropic
import pytest

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.ports import Batch, Clock, Counts, Page
from claude_batch_dagster.core.sending.listing import list_since
from claude_batch_dagster.errors import ApiResponseError
from tests.core.world import PIPELINE, World


@dataclass
class Pages(AnthropicBatches):
    """An API whose pages of the list are these, one after the other."""

    pages: Sequence[Page]
    asked: list[str | None] = field(default_factory=list)

    def list_batches(self, *, after_id: str | None = None, limit: int | None = None) -> Page:  # noqa: ARG002  (as the real one)
        """Return the next page."""
        self.asked.append(after_id)
        return self.pages[len(self.asked) - 1]


def batch(name: str, at: datetime) -> Batch:
    """Return a batch of one request."""
    return Batch(id=name, processing_status="ended", counts=Counts(succeeded=1), created_at=at)


def page(*batches: Batch, has_more: bool = False, age: float = 0.0, served_at: datetime | None = None) -> Page:
    """Return a page of the list."""
    return Page(batches=batches, has_more=has_more, age_seconds=age, served_at=served_at)


def test_two_equal_walks_count(clock: Clock) -> None:
    """Both saw the same: what is in neither is not there."""
    now = clock.now()
    whole = [page(batch("b", now), has_more=True), page(batch("a", now))]

    listing = list_since(Pages([*whole, *whole]), clock, now)

    assert (set(listing.batches), listing.doubt) == ({"a", "b"}, None)


def test_f124_a_batch_created_between_two_walks_is_no_contradiction(clock: Clock) -> None:
    """In a busy workspace two walks never are equal; what was there at the first is what has to agree."""
    now = clock.now()
    new = batch("new", now + timedelta(seconds=1))

    listing = list_since(Pages([page(batch("a", now)), page(new, batch("a", now))]), clock, now)

    assert (set(listing.batches), listing.doubt) == ({"a", "new"}, None)


def test_f124_a_batch_that_only_one_walk_shows_makes_silence_worthless(clock: Clock) -> None:
    """A page was skipped: what it holds is a candidate, and what is not in the list may be on the next one."""
    now = clock.now()

    listing = list_since(Pages([page(batch("b", now), batch("a", now)), page(batch("b", now))]), clock, now)

    assert (set(listing.batches), listing.doubt) == ({"a", "b"}, "two walks through the list of batches differ")


@pytest.mark.parametrize("second", [[], ["a"]], ids=["empty", "repeated"])
def test_f124_a_list_that_does_not_go_on_is_an_error(clock: Clock, second: list[str]) -> None:
    """A page that repeats itself for ever must neither hang the run nor be taken for the end of the list."""
    now = clock.now()
    pages = [page(batch("a", now), has_more=True), page(*(batch(name, now) for name in second), has_more=True)]

    with pytest.raises(ApiResponseError, match="does not go on"):
        list_since(Pages(pages), clock, now)


def test_f123_a_list_out_of_a_cache_does_not_count(clock: Clock) -> None:
    """It may be older than the batch that is looked for."""
    listing = list_since(Pages([page(), page(age=37)]), clock, clock.now())

    assert listing.doubt == "the list of batches came from a cache on the way, 37 s old, and proves nothing"


def test_f49_a_clock_that_is_hours_ahead_does_not_hide_a_batch(clock: Clock) -> None:
    """The API says its own time with each page, and the window is measured by that."""
    theirs = clock.now() - timedelta(hours=7)
    ours = page(batch("ours", theirs), batch("old", theirs - timedelta(hours=2)), served_at=theirs)

    listing = list_since(Pages([ours, ours]), clock, clock.now())

    assert set(listing.batches) == {"ours"}
    assert [found.id for found in listing.created_since(clock.now())] == ["ours"]


@pytest.mark.verify
def test_f123_a_cached_list_never_ends_the_quiet_period(
    world: World, client: anthropic.Anthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run waits for as long as a cache answers in place of the API, says so, and goes on when it is gone."""
    world.documents({1: "a text of war"})
    world.emulator.faults.add("drop_before_accept", times=1)
    real, began = AnthropicBatches.list_batches, world.clock.now()

    def cached(api: AnthropicBatches, *, after_id: str | None = None) -> Page:
        stale = world.clock.now() - began < timedelta(hours=2)
        return Page(batches=[], has_more=False, age_seconds=60) if stale else real(api, after_id=after_id)

    monkeypatch.setattr(AnthropicBatches, "list_batches", cached)
    told: list[str] = []

    report = world.run(on_trouble=lambda error: told.append(str(error)))

    assert (report.failure, world.states()) == (None, [State.UNSEEN, State.APPLIED])
    [unseen] = world.ledger.chunks(PIPELINE, [State.UNSEEN])
    assert unseen.set_free_at is not None
    assert unseen.set_free_at - began > timedelta(hours=2)
    assert any("a cache on the way" in text for text in told)
