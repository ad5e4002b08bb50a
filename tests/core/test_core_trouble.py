"""Trouble on the way: refusals, outages, keys that stop working, batches out of sight, results that are gone."""

import anthropic
import orjson
import pytest

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.ports import Batch, Body
from claude_batch_dagster.errors import (
    ApiError,
    ApiRefusedError,
    ApiUnreachableError,
    BatchVanishedError,
    CredentialError,
    SpendLimitError,
)
from tests.canary import KEY
from tests.core.clocks import CrashError, Waking
from tests.core.world import TEN, TEN_GOOD, World

# --- trouble while sending -------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("fault", "seconds"), [("429", 30), ("429", 10**9), ("429_no_retry_after", None), ("connect_error", None)]
)
def test_f31_f42_f44_passing_trouble_is_waited_out(world: World, fault: str, seconds: float | None) -> None:
    """A rate limit or a lost network costs time, no attempt, and no more time than a cap allows."""
    world.documents(TEN)
    world.emulator.faults.add(fault, times=3, endpoint="create", seconds=seconds)
    began, troubles = world.clock.now(), list[ApiError]()

    report = world.run(on_trouble=troubles.append)

    assert (report.failure, world.statuses(), world.n_billed, len(troubles)) == (None, TEN_GOOD, [1] * 10, 3)
    assert {attempt for (attempt,) in world.rows("attempt")} == {1}
    assert min(seconds or 0, 900) * 3 <= (world.clock.now() - began).total_seconds() < 3 * 900 + 600


def test_f42_a_rate_limit_without_end_is_given_up(world: World) -> None:
    """The run fails with the API's own words; nothing was accepted, nothing is lost."""
    world.documents(TEN)
    world.emulator.faults.add("429", endpoint="create")

    report = world.run()

    assert isinstance(report.failure, ApiRefusedError)
    assert (set(report.unfinished), world.n_accepted, set(world.states())) == ({"p"}, 0, {State.REFUSED})


@pytest.mark.verify
def test_f31_a_network_without_end_is_given_up(world: World) -> None:
    """No complete answer is an error of its own."""
    world.documents(TEN)
    world.emulator.faults.add("connect_error", endpoint="create")

    report = world.run()
    assert isinstance(report.failure, ApiUnreachableError)
    assert (set(report.unfinished), report.n_sent, world.n_accepted) == ({"p"}, 0, 0)

    world.emulator.faults.clear()
    assert (world.run().failure, world.statuses()) == (None, TEN_GOOD)


@pytest.mark.verify
def test_f32_an_upload_that_breaks_off_is_sent_again_at_once(world: World) -> None:
    """A body that is not whole cannot have been accepted."""
    world.documents(TEN)
    world.emulator.faults.add("drop_mid_body", times=2)

    report = world.run()

    assert (report.failure, world.statuses(), world.n_billed) == (None, TEN_GOOD, [1] * 10)
    assert world.states().count(State.REFUSED) == 2


def test_f41_a_chunk_that_is_too_large_is_halved(world: World) -> None:
    """Until it fits; the rows stay in order and are billed once."""
    world.documents(TEN)
    world.emulator.faults.add("413", times=2, endpoint="create")

    report = world.run()

    assert (report.failure, world.statuses(), world.n_billed) == (None, TEN_GOOD, [1] * 10)
    assert [batch.n_requests for batch in world.emulator.audit.accepted()] == [1, 1, 2, 4, 2]


def test_f41_a_single_row_that_is_too_large_is_rejected(world: World) -> None:
    """There is nothing left to halve: the row says so, once, and the run goes on."""
    world.documents({1: "war"})
    world.emulator.faults.add("413", endpoint="create")

    report = world.run()

    ((status, error),) = world.rows("status, error")
    assert (report.failure, status, world.n_accepted) == (None, "rejected", 0)
    assert "HTTP 413" in error
    n_posts = world.n_posts
    assert (world.run().failure, world.n_posts) == (None, n_posts)


class PickyApi(AnthropicBatches):
    """An API that refuses a whole batch for rows which hold `bad`, naming the first."""

    def create(self, body: Body) -> Batch:
        """Read the body, and refuse or accept it."""
        whole = b"".join(body.pieces)
        for ordinal, request in enumerate(orjson.loads(whole)["requests"]):
            if "bad" in request["params"]["messages"][0]["content"]:
                raise ApiRefusedError(
                    f"requests.{ordinal}.params.messages: Input is bad", status=400, kind="invalid_request_error"
                )
        return super().create(Body(pieces=[whole], n_bytes=body.n_bytes))


def test_f36_the_one_row_that_the_api_names_is_rejected_and_the_rest_goes_on(
    world: World, client: anthropic.Anthropic
) -> None:
    """A whole batch refused for one row: it is sent once more without it."""
    world.documents({0: "war", 1: "peace", 2: "a bad war", 3: "war and peace"})
    picky = PickyApi(client)

    report = world.run(api=picky)

    assert (report.failure, report.n_sent, world.n_posts) == (None, 3, 1)
    assert world.statuses() == {0: "succeeded", 1: "succeeded", 2: "rejected", 3: "succeeded"}
    assert sorted(world.states()) == [State.APPLIED, State.REFUSED]
    assert (world.run(api=picky).n_sent, len(world.states())) == (0, 2)


def test_f36_a_refusal_of_every_row_fails_the_run_and_judges_none(world: World, client: anthropic.Anthropic) -> None:
    """The first row named is not the reason if the rest is refused as well: a param is."""
    world.documents({n: f"bad war {n}" for n in range(4)})

    report = world.run(api=PickyApi(client))

    assert isinstance(report.failure, ApiRefusedError)
    assert (report.failure.status, world.statuses(), world.states()) == (400, {}, [State.REFUSED] * 2)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param("401", CredentialError, id="F38-401"),
        pytest.param("403", CredentialError, id="F38-403"),
        pytest.param("spend_limit_400", SpendLimitError, id="F37-400"),
        pytest.param("billing_402", SpendLimitError, id="F39-402"),
        pytest.param("enforced_spend_limit_429", SpendLimitError, id="F43-429"),
        pytest.param("404", ApiRefusedError, id="F40-404"),
        pytest.param("422", ApiRefusedError, id="F36-422"),
    ],
)
def test_a_refusal_that_stays_stops_the_run_at_once(world: World, fault: str, error: type[ApiError]) -> None:
    """One POST, no attempt burnt; what was accepted before is landed by the next run."""
    world.documents(TEN)
    began = world.clock.now()
    world.emulator.faults.add(fault, endpoint="create")

    report = world.run()
    assert type(report.failure) is error
    assert (world.n_posts, world.n_accepted, set(report.unfinished)) == (1, 0, {"p"})
    assert (world.clock.now() - began).total_seconds() < 60
    assert KEY not in repr(report.failure)

    world.emulator.faults.clear()
    assert (world.run().failure, world.statuses(), world.n_billed) == (None, TEN_GOOD, [1] * 10)
    assert {attempt for (attempt,) in world.rows("attempt")} == {1}


def test_a_failure_leaves_complete_partitions_apart(world: World) -> None:
    """Partitions whose rows all have their verdict are finished, whatever happened to the others."""
    world.documents({1: "war", 2: "peace"}, part="done")
    world.run("done")
    world.documents({3: "war and more", 4: "peace"}, part="shares")
    world.documents({5: "another war", 6: "war and more"}, part="waits")
    world.documents({}, part="empty")
    world.emulator.faults.add("401", endpoint="create")

    report = world.run("done", "shares", "waits", "empty")

    assert isinstance(report.failure, CredentialError)
    assert set(report.unfinished) == {"shares", "waits"}
    assert {part.partition_key: part.balanced for part in report.partitions} == {
        "done": True, "shares": False, "waits": False, "empty": True
    }  # fmt: skip


@pytest.mark.verify
def test_partitions_that_were_landed_before_the_failure_are_complete(world: World) -> None:
    """Also those that this very run has answered."""
    world.documents(dict(list(TEN.items())[:4]), part="p")
    world.documents({20: "a late text of war"}, part="q")
    clock = Waking(world.clock, lambda: world.emulator.faults.add("401", endpoint="create"))

    report = world.run("p", "q", clock=clock, max_requests_in_flight=4)

    assert (set(report.unfinished), report.n_sent, len(world.statuses("p"))) == ({"q"}, 4, 4)


def test_a_partition_that_only_waits_for_the_answer_of_another_is_unfinished_with_it(world: World) -> None:
    """Its rows ask nothing themselves."""
    world.documents({1: "war"}, part="asks")
    world.documents({2: "war"}, part="shares")
    world.emulator.faults.add("401", endpoint="create")

    assert world.run("asks", "shares").unfinished == {"asks", "shares"}


def test_f54_a_key_that_stops_working_while_waiting_ends_the_run_and_loses_nothing(world: World) -> None:
    """The batches go on; the next run lands them without a POST."""
    world.documents(TEN)
    world.emulator.faults.add("401", endpoint="list")

    report = world.run()
    assert isinstance(report.failure, CredentialError)
    assert (world.n_accepted, set(report.unfinished)) == (3, {"p"})

    world.emulator.faults.clear()
    assert (world.run().n_sent, world.statuses(), world.n_posts) == (0, TEN_GOOD, 3)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("fault", "endpoint"),
    [
        *[(fault, "retrieve") for fault in ("429", "500", "404", "stall", "html_200", "cut_json_200", "redirect_307")],
        *[(fault, "results") for fault in ("529", "404", "connect_error", "redirect_307")],
    ],
)
def test_f53_f55_trouble_while_waiting_is_waited_out(world: World, fault: str, endpoint: str) -> None:
    """The batch is at the API all the while; it is asked after until it shows."""
    world.documents({1: "war", 2: "peace"})
    world.emulator.faults.add(fault, endpoint=endpoint, times=4)

    report = world.run()

    assert (report.failure, world.statuses(), world.n_posts, world.n_billed) == (
        None, {1: "succeeded", 2: "succeeded"}, 1, [1, 1]
    )  # fmt: skip


@pytest.mark.verify
def test_f53_f68_a_batch_that_cannot_be_seen_for_minutes_is_not_given_up(world: World) -> None:
    """Neither after its creation nor after its end."""
    world.documents({1: "war"})
    world.emulator.faults.add("404_after_create", seconds=200)
    world.emulator.faults.add("404_after_end", seconds=1_800)

    assert (world.run().failure, world.statuses(), world.n_posts) == (None, {1: "succeeded"}, 1)


def test_f53_f56_a_batch_that_stays_out_of_sight_ends_the_run_and_is_not_sent_again(world: World) -> None:
    """It was deleted, say: the run does not wait forever, and says what to look for."""
    world.documents({1: "war"})

    report = world.run(clock=Waking(world.clock, world.delete_all))

    assert isinstance(report.failure, BatchVanishedError)
    assert (report.failure.same_account, set(report.unfinished), world.states()) == (True, {"p"}, [State.ACCEPTED])
    assert isinstance(world.run().failure, BatchVanishedError)
    assert world.n_posts == 1


@pytest.mark.verify
def test_f56_a_batch_of_another_account_is_told_as_such(world: World) -> None:
    """A key that cannot see a batch is no proof that the batch is gone."""
    world.documents({1: "war"})
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    world.emulator.faults.add("404", endpoint="retrieve")

    report = world.run(api=world.api_with("another key"))
    assert isinstance(report.failure, BatchVanishedError)
    assert "another key, workspace or base URL" in str(report.failure)

    world.emulator.faults.clear()
    assert (world.run().failure, world.statuses(), world.n_posts) == (None, {1: "succeeded"}, 1)


@pytest.mark.verify
@pytest.mark.parametrize("deleted", [False, True])
def test_f66_what_nobody_fetched_for_29_days_is_written_off(world: World, deleted: bool) -> None:  # noqa: FBT001
    """Paid for and gone: its rows say so and are not sent again by themselves."""
    world.documents({1: "war"})
    with pytest.raises(CrashError):
        world.run(clock=Waking.never(world.clock))
    if deleted:
        world.delete_all()
    world.emulator.clock.advance(days=30)

    report = world.run()

    assert (report.failure, world.statuses(), world.states()) == (None, {1: "missing"}, [State.LOST])
    assert (world.run().n_sent, world.n_posts) == (0, 1)
