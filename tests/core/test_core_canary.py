"""The first rows of a large plan go alone: where they come to nothing, the others are not sent."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.planning.canary import is_large
from claude_batch_dagster.core.planning.estimate import Basis, Estimate
from claude_batch_dagster.core.planning.forecast import Forecast, PartitionForecast, Reason
from claude_batch_dagster.errors import CanaryError, ConfigurationError
from tests.core.clocks import CrashError

if TYPE_CHECKING:
    from tests.core.world import World

SMALL: dict[str, Any] = {"canary": 4, "canary_from": 20, "max_attempts": 1}
TWENTY = {n: f"a text of {'war' if n % 2 else 'peace'}, number {n}" for n in range(24)}


def sizes(world: "World") -> list[int]:
    """Return how many requests each accepted batch has, in order."""
    return [batch.n_requests for batch in world.emulator.audit.accepted()]


def test_the_first_rows_of_a_large_plan_go_alone(world: "World") -> None:
    """They are the first; when they are answered the others follow, and each is paid for once."""
    world.documents(TWENTY)

    report = world.run(**SMALL)

    assert (report.failure, sizes(world)[0], sum(sizes(world))) == (None, 4, 24)
    assert set(world.statuses().values()) == {"succeeded"}
    assert world.n_billed == [1] * 24


@pytest.mark.parametrize("fault", ["refusal", "max_tokens", "misfit", "invalid_request"])
@pytest.mark.verify
def test_where_they_come_to_nothing_the_others_are_not_sent(world: "World", fault: str) -> None:
    """At most the canary is paid for; the run says what came back, and the next one stops there as well."""
    world.documents(TWENTY)
    world.emulator.faults.add(fault, rate=1.0)

    with pytest.raises(CanaryError) as raised:
        world.run(**SMALL)

    assert (sizes(world), raised.value.n_rows, raised.value.n_left) == ([4], 4, 20)
    verdict = {"refusal": "refused", "max_tokens": "truncated", "misfit": "invalid", "invalid_request": "errored"}[
        fault
    ]
    assert raised.value.reason.startswith(f"4 {verdict} ({verdict}: ")
    with pytest.raises(CanaryError):
        world.run(**SMALL)
    assert sum(sizes(world)) <= 8


@pytest.mark.verify
def test_rows_that_keep_an_earlier_answer_speak_too(world: "World") -> None:
    """A prompt that was edited for the worse is found out although the rows show their answers to the earlier one."""
    world.documents(TWENTY)
    world.run(**SMALL)
    world.emulator.faults.add("misfit", rate=1.0)

    with pytest.raises(CanaryError, match="4 invalid"):
        world.run(prompt="Which? {text}", **SMALL)

    assert set(world.statuses().values()) == {"succeeded"}
    assert sizes(world)[-1] == 4


@pytest.mark.verify
def test_a_few_bad_rows_stop_nothing(world: "World") -> None:
    """Half of them, and a service that is busy, say nothing against the question."""
    world.documents(TWENTY)
    world.emulator.faults.add("refusal", rate=1.0, text="number 0")
    world.emulator.faults.add("refusal", rate=1.0, text="number 3")

    world.run(**SMALL)

    assert sorted(world.statuses().values()) == ["refused"] * 2 + ["succeeded"] * 22


@pytest.mark.verify
def test_a_busy_service_stops_nothing(world: "World") -> None:
    """Rows that expired, or whose API was overloaded, say nothing against the question."""
    world.documents(TWENTY)
    world.emulator.faults.add("expired", rate=1.0)

    world.run(**SMALL)

    assert set(world.statuses().values()) == {"expired"}
    assert sum(sizes(world)) == 24


@pytest.mark.parametrize(
    ("n_rows", "options"),
    [(19, SMALL), (24, {**SMALL, "canary": 0})],
    ids=["a small plan", "switched off"],
)
@pytest.mark.verify
def test_there_is_none(world: "World", n_rows: int, options: dict[str, Any]) -> None:
    """Where there is little to lose, or nobody wants it, all rows go at once."""
    world.documents({n: TWENTY[n] for n in range(n_rows)})

    world.engine(**options).submit([Partition(key="p")])

    assert sum(sizes(world)) == n_rows


@pytest.mark.verify
def test_it_is_not_needed_where_answers_are_known(world: "World") -> None:
    """More rows of a question that was answered before wait for nobody."""
    world.documents({n: TWENTY[n] for n in range(4)})
    world.run(**SMALL)
    world.documents({**TWENTY, **{n + 100: f"{text}!" for n, text in TWENTY.items()}})

    world.engine(**SMALL).submit([Partition(key="p")])

    assert sum(sizes(world)) == 48


@pytest.mark.verify
def test_one_in_flight_is_not_sent_twice(world: "World") -> None:
    """A run that takes up where another died waits for the canary of that one."""
    world.documents(TWENTY)

    class Dying:
        def __call__(self, told: object) -> None:
            if getattr(told, "n_open_batches", 0):
                raise CrashError

    with pytest.raises(CrashError):
        world.run(on_progress=Dying(), **SMALL)
    assert sizes(world) == [4]

    world.run(**SMALL)

    assert set(world.statuses().values()) == {"succeeded"}
    assert (sizes(world).count(4) >= 1, world.n_billed) == (True, [1] * 24)


@pytest.mark.verify
def test_a_canary_of_one_row(world: "World") -> None:
    """It is one."""
    world.documents(TWENTY)
    world.emulator.faults.add("misfit", rate=1.0)

    with pytest.raises(CanaryError):
        world.run(**{**SMALL, "canary": 1})

    assert sizes(world) == [1]


@pytest.mark.verify
def test_a_row_in_flight_is_no_canary(world: "World") -> None:
    """One good answer of another partition says nothing of the rows of this one; nor is its batch waited for."""
    world.documents({1: "fine"}, part="small")
    world.emulator.faults.add("never_ends", times=1)
    world.engine(**SMALL).submit([Partition(key="small")])
    world.documents(TWENTY)
    world.emulator.faults.add("misfit", rate=1.0, text="a text")

    with pytest.raises(CanaryError):
        world.run("p", **SMALL)

    assert sizes(world) == [1, 4]


@pytest.mark.verify
def test_long_rows_first_are_no_reason_to_stop(world: "World") -> None:
    """What they cost is compared with what rows of their size cost."""
    world.documents({n: ("word " * 800 if n < 8 else "short ") + str(n) for n in range(120)})

    report = world.run(**SMALL)

    assert (report.failure, sizes(world)[0]) == (None, 4)


@pytest.mark.verify
def test_answers_that_are_dearer_than_expected(world: "World") -> None:
    """A row that costs more than the estimate allows stops the plan; the next run knows what rows cost, and goes."""
    world.documents(TWENTY)
    with pytest.raises(CanaryError, match=r"they cost .* at most was expected. If that is right"):
        world.run(
            prompt=lambda row: {
                "model": "claude-opus-5-5",
                "thinking": None,
                "messages": [{"role": "user", "content": row["text"]}],
            },
            **SMALL,
        )

    assert sizes(world) == [4]


@pytest.mark.parametrize("n", [-1, 1.5, True, "20"])
def test_a_canary_is_a_number_of_rows(world: "World", n: Any) -> None:
    """What cannot be one is refused."""
    with pytest.raises(ConfigurationError, match="canary is a number of rows, 0 for none"):
        world.run(canary=n)


@pytest.mark.parametrize(
    ("n", "usd", "large"), [(999, 0.99, False), (1_000, 0.0, True), (1, 1.0, True), (1_000, None, True)]
)
def test_a_plan_is_large_by_its_requests_or_its_dollars(n: int, usd: float | None, *, large: bool) -> None:
    """A few rows of a dear model are worth a look too."""
    part = PartitionForecast(partition_key=None, rows=Counter({Reason.NEW: n}))
    estimate = None if usd is None else Estimate(usd=usd, low_usd=usd, high_usd=usd, basis=Basis.BYTES)

    assert is_large(Forecast(partitions=[part], estimate=estimate), from_requests=1_000) is large
