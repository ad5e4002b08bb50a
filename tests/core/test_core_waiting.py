from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch_dagster.core.ports import Batch, Body, Counts, Page
from claude_batch_dagster.core.waiting import MAX_PAGES, MAX_RETRY_AFTER_SECONDS, Pace, look
from claude_batch_dagster.errors import ApiError, ApiRefusedError, ApiUnreachableError, CredentialError

START = datetime(2026, 11, 22, tzinfo=UTC)


def refused(status: int, retry_after_seconds: float | None = None) -> ApiRefusedError:
    """Return what the client raises for this status."""
    kind = CredentialError if status in {401, 403} else ApiRefusedError
    return kind("no", status=status, kind="some_error", retry_after_seconds=retry_after_seconds)


@dataclass
class Sleeper:
    """A clock that remembers how it was slept by."""

    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        """Return the start and what was slept."""
        return START + timedelta(seconds=sum(self.slept))

    def sleep(self, seconds: float) -> None:
        """Remember."""
        self.slept.append(seconds)


@dataclass
class Shown:
    """An API that shows batches, `page_size` at a time, and remembers what it was asked."""

    ids: Sequence[str]
    page_size: int = 1000
    trouble: Callable[[str], ApiError | None] = lambda _: None
    calls: list[str] = field(default_factory=list)
    account: str = "account"
    answerer: str = ""
    betas: tuple[str, ...] = ()

    def retrieve(self, batch_id: str) -> Batch:
        """Return the batch, or 404."""
        self._ask(batch_id)
        if batch_id not in self.ids:
            raise refused(404)
        return batch(batch_id)

    def list_batches(self, *, after_id: str | None = None) -> Page:
        """Return the page after an id."""
        self._ask(f"list {after_id}")
        start = 0 if after_id is None else self.ids.index(after_id) + 1
        page = self.ids[start : start + self.page_size]
        return Page(batches=[batch(name) for name in page], has_more=start + self.page_size < len(self.ids))

    def close(self) -> None:
        """Never called."""

    def create(self, body: Body) -> Batch:
        """Never called."""
        raise NotImplementedError

    def count_tokens(self, params: bytes) -> int:
        """Never called."""
        raise NotImplementedError

    def cancel(self, batch_id: str) -> Batch:
        """Never called."""
        raise NotImplementedError

    def results(self, batch_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """Never called."""
        raise NotImplementedError

    def _ask(self, call: str) -> None:
        self.calls.append(call)
        if error := self.trouble(call):
            raise error


def batch(batch_id: str) -> Batch:
    """Return a batch in progress."""
    return Batch(id=batch_id, processing_status="in_progress", counts=Counts(processing=1), created_at=START)


def test_pauses_grow_up_to_the_longest_and_start_anew_when_something_happened() -> None:
    """Nothing new makes the next pause longer; news make it short again."""
    clock, pace = Sleeper(), Pace(first_seconds=10, longest_seconds=60, growth=2)

    for _ in range(5):
        pace.pause(clock)
    pace.restart()
    pace.pause(clock)

    assert clock.slept == [10, 20, 40, 60, 60, 10]


@given(at_least=st.floats(0, 1e12), first=st.floats(0.1, 100))
def test_f44_a_pause_is_as_long_as_the_server_asks_but_never_absurd(at_least: float, first: float) -> None:
    """A retry-after counts up to fifteen minutes at a time."""
    clock = Sleeper()

    Pace(first_seconds=first).pause(clock, at_least=at_least)

    assert clock.slept == [max(first, min(at_least, MAX_RETRY_AFTER_SECONDS))]


@pytest.mark.parametrize(
    ("wanted", "calls"),
    [
        ([], []),
        (["b"], ["b"]),
        (["c", "a"], ["a", "c"]),
        (["a", "b", "c"], ["list None", "list b"]),
        (["a", "d", "e"], ["list None", "list b", "list d"]),
        (["a", "b", "gone"], ["list None", "list b", "list d", "gone"]),
    ],
)
def test_few_batches_are_retrieved_and_many_listed(wanted: list[str], calls: list[str]) -> None:
    """From three on, pages of the list are read until all are found; what is not listed is retrieved."""
    api = Shown(["a", "b", "c", "d", "e"], page_size=2)

    seen = look(api, wanted)

    assert api.calls == calls
    assert (sorted(seen.batches), seen.trouble) == (sorted({*wanted} - {"gone"}), None)


def test_f125_a_list_without_end_is_given_up_for_calls_by_id() -> None:
    """Thousands of batches of others do not keep a look from ending."""
    api = Shown([*(f"foreign-{n:03d}" for n in range(99)), "x", "y", "z"], page_size=1)

    seen = look(api, ["x", "y", "z"])

    assert (len(api.calls), sorted(seen.batches)) == (MAX_PAGES + 3, ["x", "y", "z"])


def test_f53_a_404_is_no_verdict_on_a_batch() -> None:
    """The API loses sight of live batches for minutes: the batch is left out, the others are seen."""
    seen = look(Shown(["a"]), ["a", "gone"])

    assert (list(seen.batches), seen.trouble) == (["a"], None)


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        pytest.param(refused(429, 30.0), 30.0, id="F55-429"),
        pytest.param(refused(429), 0.0, id="F55-429-without-retry-after"),
        pytest.param(refused(500), 0.0, id="F55-500"),
        pytest.param(ApiUnreachableError("down"), 0.0, id="F55-down"),
    ],
)
def test_trouble_on_the_way_is_handed_back_with_what_was_seen(error: ApiError, pause: float) -> None:
    """The caller looks again, after the pause the server asked for."""
    seen = look(Shown(["a", "b"], trouble=lambda call: error if call == "b" else None), ["a", "b"])

    assert (list(seen.batches), seen.trouble, seen.retry_after_seconds) == (["a"], error, pause)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("wanted", [["a"], ["a", "b", "c"]])
def test_f54_a_key_that_is_no_longer_accepted_ends_the_looking(status: int, wanted: list[str]) -> None:
    """Waiting does not mend a key."""
    with pytest.raises(CredentialError):
        look(Shown(["a", "b", "c"], trouble=lambda _: refused(status)), wanted)
