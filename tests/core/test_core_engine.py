"""The way of a row through the real client, ledger, spool and table, against the emulator."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import anthropic
import orjson
import pandas as pd
import pytest

from claude_batch_dagster.client import AnthropicBatches
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.partitions import Partition
from claude_batch_dagster.core.ports import Batch, Body
from claude_batch_dagster.core.progress import Progress
from claude_batch_dagster.core.survey import Survey
from claude_batch_dagster.emulator import Emulator, EmulatorTransport
from claude_batch_dagster.engine import SystemClock
from claude_batch_dagster.errors import (
    ApiError,
    ApiRefusedError,
    ApiUnreachableError,
    BatchOverdueError,
    BatchUnseenError,
    CredentialError,
    HeldChunksError,
    SpendLimitError,
    UpstreamError,
)
from tests.canary import KEY
from tests.core.world import CrashError, World

TEN = {n: f"a text of {'war' if n % 2 else 'peace'}, number {n}" for n in range(10)}
GOOD = dict.fromkeys(TEN, "succeeded")


def client_of(emulator: Emulator, key: str) -> anthropic.Anthropic:
    """Return a client with another key in front of the same emulator."""
    transport = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator))
    return anthropic.Anthropic(api_key=key, http_client=transport, max_retries=0)


class ThenClock:
    """The clock of the world, but before the n-th sleep something happens."""

    def __init__(self, world: World, act: Callable[[], object], at: int = 1) -> None:
        self._clock, self._act, self._left = world.clock, act, at

    def now(self) -> datetime:
        """Return the world's time."""
        return self._clock.now()

    def sleep(self, seconds: float) -> None:
        """Let it happen when it is time."""
        self._left -= 1
        if self._left == 0:
            self._act()
        self._clock.sleep(seconds)


def _crash() -> None:
    raise CrashError


# --- what is sent ----------------------------------------------------------------------------------


def test_every_document_gets_its_answer(world: World) -> None:
    """Ten rows travel in three batches, each row lands with its answer, and the report adds up."""
    world.documents(TEN)
    seen: list[Progress] = []
    surveys: list[Survey] = []

    report = world.run(on_progress=seen.append, on_survey=surveys.append)

    assert world.rows() == [(n, "war" if n % 2 else "peace", "succeeded") for n in range(10)]
    part = report.partitions[0]
    assert (report.n_sent, report.failure, set(report.unfinished)) == (10, None, set())
    assert (part.n_expected, part.n_asked, part.n_rows, part.balanced, part.completeness) == (10, 10, 10, True, 1.0)
    assert part.cost_usd == pytest.approx(sum(cost for (cost,) in world.rows("cost_usd")))
    assert part.run_cost_usd == part.cost_usd
    assert part.live_cost_usd == pytest.approx(2 * (part.cost_usd or 0))
    assert (part.seconds_to_answer, dict(part.standing.labels)) == (60.0, {"war": 5, "peace": 5})
    assert [batch.n_requests for batch in world.emulator.audit.accepted()] == [4, 4, 2]
    assert (world.n_billed, surveys[0].n_to_ask.total()) == ([1] * 10, 10)
    assert seen[-1] == Progress(n_sent=10, n_ended=10, n_landed=10, n_open_batches=0)
    assert list(world.state.path.glob("outbox/*")) == []


def test_rows_can_be_traced_to_their_request(world: World) -> None:
    """Batch, custom_id, model, tokens and the time of the answer stand beside each answer."""
    world.documents({1: "war"})
    world.run()

    (batch,), (chunk,) = world.emulator.audit.accepted(), world.ledger.chunks("main.answers", State)
    columns = "batch_id, custom_id, model, stop_reason, attempt, answered_at, input_tokens > 0, output_tokens > 0"
    assert world.rows(columns) == [
        (batch.id, f"{chunk.chunk_id}-00000-1", "claude-haiku-5-5", "end_turn", 1, chunk.ended_at, True, True)
    ]


def test_nothing_is_sent_a_second_time(world: World) -> None:
    """A run with nothing new makes no call that costs."""
    world.documents(TEN)
    first = world.run()
    again = world.run()

    assert (world.n_posts, again.n_sent, again.partitions[0].n_asked) == (3, 0, 0)
    assert again.partitions[0].run_cost_usd == 0.0
    assert again.partitions[0].cost_usd == first.partitions[0].cost_usd


def test_f95_only_the_row_that_changed_is_sent(world: World) -> None:
    """New and changed rows travel, removed ones go, the rest stays as it is."""
    world.documents(TEN)
    world.run()
    before = dict(world.rows("id, custom_id"))

    world.documents({**TEN, 3: "now it is peace", 10: "war"} | {9: "a new text of war"})
    world.sql("DELETE FROM docs WHERE id = 0")
    report = world.run()

    after = dict(world.rows("id, custom_id"))
    assert report.n_sent == 3
    assert {key for key in after if after[key] != before.get(key)} == {3, 9, 10}
    assert (sorted(after), report.partitions[0].balanced) == ([*range(1, 11)], True)


def test_f110_a_changed_prompt_or_model_asks_every_row_anew(world: World) -> None:
    """The question is all of the params."""
    world.documents({1: "war", 2: "peace"})
    world.run()

    assert world.run(prompt="Which label: {text}").n_sent == 2
    assert world.run(base={"max_tokens": 200}).n_sent == 2
    assert world.n_billed == [1] * 6


def test_rows_that_ask_the_same_pay_once(world: World) -> None:
    """Across partitions too; the answers that are shared cost nothing."""
    world.documents({1: "war", 2: "war", 3: "peace"}, part="p")
    world.documents({1: "war", 4: "peace"}, part="q")

    report = world.run("p", "q")

    assert (report.n_sent, world.n_billed) == (2, [1, 1])
    assert [(part.n_asked, part.n_shared, part.balanced) for part in report.partitions] == [
        (2, 1, True),
        (0, 2, True),
    ]
    free = [cost for part in ("p", "q") for (cost,) in world.rows("cost_usd", part) if cost == 0]
    assert len(free) == 3


def test_texts_that_move_between_rows_are_not_paid_again(world: World) -> None:
    """A row whose old text is now another row's hands its answer over, even while it is asked anew."""
    world.documents({1: "war", 2: "peace"})
    world.run()

    world.documents({1: "a new text of peace", 2: "war", 3: "peace"})
    report = world.run()

    assert world.rows("id, label") == [(1, "peace"), (2, "war"), (3, "peace")]
    assert (report.n_sent, report.partitions[0].balanced, world.n_billed) == (1, True, [1, 1, 1])


def test_f2_f3_f4_f5_rows_that_can_never_be_asked_have_their_verdict_too(world: World) -> None:
    """NULL, blank, duplicate and missing keys: one row each, and nothing is sent for them."""
    world.documents({1: None, 2: " ", 3: "war"})
    world.sql("INSERT INTO docs VALUES (4, 'one', 'p'), (4, 'other', 'p'), (NULL, 'x', 'p')")

    reports = [world.run() for _ in range(2)]

    assert world.statuses() == {1: "rejected", 2: "rejected", 3: "succeeded", 4: "rejected", None: "rejected"}
    part = reports[1].partitions[0]
    assert (part.n_expected, part.balanced, world.n_posts) == (5, True, 1)


def test_f7_an_empty_partition_makes_no_call(world: World) -> None:
    """It is reported all the same."""
    world.documents({})

    report = world.run("p", "none such")

    assert [part.balanced and part.n_rows == 0 for part in report.partitions] == [True, True]
    assert (world.n_posts, report.partitions[0].seconds_to_answer) == (0, None)


def test_an_asset_without_partitions_has_one_row_each_too(world: World) -> None:
    """The partition key is NULL throughout."""
    world.documents({1: "war"})
    engine = world.engine(expr=None)

    engine.run([Partition(key=None)])
    report = engine.run([Partition(key=None)])

    assert world.sql("SELECT id, label, partition_key FROM answers") == [(1, "war", None)]
    assert (report.n_sent, report.partitions[0].balanced, world.n_posts) == (0, True, 1)


def test_a_dataframe_is_asked_about_as_a_table_is(world: World) -> None:
    """Documents that never were in DuckDB can be shown beside their answers."""
    frame = pd.DataFrame(
        {"id": [1, 2, 3], "text": pd.Series(["war", "peace", "half \ud83d"], dtype=object), "part": "p"}
    )
    engine = world.engine(sample_columns=("text",))

    report = engine.run([Partition(key="p")], frame)

    assert world.statuses() == {1: "succeeded", 2: "succeeded", 3: "rejected"}
    shown = {row["id"]: row["text"] for row in report.partitions[0].standing.samples}
    assert shown[1] in {"war", b"war"}


def test_f1_a_missing_upstream_stops_the_run_before_anything_is_sent(world: World) -> None:
    """And leaves no documents behind."""
    with pytest.raises(UpstreamError, match="Nothing was sent"):
        world.run()

    assert (world.n_posts, list(world.state.path.glob("outbox/*"))) == (0, [])


def test_f107_at_most_so_many_requests_wait_at_the_api(world: World) -> None:
    """A chunk is sent when there is room for it, and one larger than all the room goes alone."""
    world.documents(TEN)
    waiting: list[int] = []

    def look(progress: Progress) -> None:
        waiting.append(progress.n_sent - progress.n_ended)

    world.run(max_requests_in_flight=4, on_progress=look)
    world.run(max_requests_in_flight=1, on_progress=look, prompt="Again: {text}")

    assert (max(waiting), world.n_posts, world.statuses()) == (4, 6, GOOD)


# --- what comes back -------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["errored", "expired", "canceled"])
def test_f57_f58_f59_failed_rows_are_asked_again_within_the_run(world: World, fault: str) -> None:
    """Only they, with the next attempt; each is billed once."""
    world.documents(TEN)
    world.emulator.faults.add(fault, times=3)

    report = world.run()

    assert (world.statuses(), world.n_billed, report.n_sent) == (GOOD, [1] * 10, 13)
    assert sorted(attempt for (attempt,) in world.rows("attempt")) == [1] * 7 + [2] * 3


@pytest.mark.parametrize("fault", ["errored", "expired"])
def test_f115_what_keeps_failing_is_given_up_for_this_run_and_taken_up_by_the_next(world: World, fault: str) -> None:
    """Three attempts a run, and the verdict says what to do."""
    world.documents({1: "war"})
    world.emulator.faults.add(fault)

    report = world.run()
    assert (report.n_sent, world.statuses(), report.failure) == (3, {1: fault}, None)
    assert "again" in world.rows("error")[0][0]

    world.emulator.faults.clear()
    assert (world.run().n_sent, world.rows("status, attempt")) == (1, [("succeeded", 4)])


def test_f79_a_truncated_answer_is_asked_once_more_with_more_room(world: World) -> None:
    """Four times the limit, once; the question stays the same question."""
    world.documents({1: "war"})
    world.emulator.faults.add("max_tokens", times=1)

    report = world.run()

    assert (report.n_sent, world.rows("status, attempt")) == (2, [("succeeded", 2)])
    digests = [request.params_sha256 for request in world.emulator.audit.requests()]
    assert len(set(digests)) == 2
    assert world.run().n_sent == 0


@pytest.mark.parametrize(
    ("fault", "status", "n_sent"),
    [
        ("max_tokens", "truncated", 2),
        ("not_json", "invalid", 2),
        ("misfit", "invalid", 2),
        ("empty_content", "invalid", 2),
        ("refusal", "refused", 1),
        ("invalid_request", "errored", 1),
    ],
)
def test_f79_f82_f115_what_asking_again_does_not_help_is_final(
    world: World, fault: str, status: str, n_sent: int
) -> None:
    """What was paid for is tried once more, what the request is to blame for not at all; until it changes."""
    world.documents({1: "war", 2: "peace"})
    world.emulator.faults.add(fault)

    report = world.run()
    assert (report.n_sent, world.statuses()) == (2 * n_sent, {1: status, 2: status})
    assert report.partitions[0].error_rate == 1.0

    world.emulator.faults.clear()
    assert world.run().n_sent == 0
    world.documents({1: "a changed text of war", 2: "peace"})
    assert (world.run().n_sent, world.statuses()) == (1, {1: "succeeded", 2: status})


def test_an_answer_in_wrong_capitals_is_an_answer(world: World) -> None:
    """It is spelled as the model declares it."""
    world.documents(TEN)
    world.emulator.faults.add("wrong_case")
    world.run()

    assert {label for (label,) in world.rows("label")} == {"war", "peace"}


def test_a_good_answer_stays_when_the_newer_one_fails(world: World) -> None:
    """The row says that it is behind what was last asked."""
    world.documents({1: "war"})
    world.run()
    world.documents({1: "a changed text"})
    world.emulator.faults.add("refusal")
    world.run()

    assert world.rows() == [(1, "war", "succeeded")]
    assert "kept from an earlier request; the newer one is refused" in world.rows("error")[0][0]


# --- trouble while sending -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "seconds"), [("429", 30), ("429", 10**9), ("429_no_retry_after", None), ("connect_error", None)]
)
def test_f31_f42_f44_passing_trouble_is_waited_out(world: World, fault: str, seconds: float | None) -> None:
    """A rate limit or a lost network costs time, no attempt, and no more time than a cap allows."""
    world.documents(TEN)
    world.emulator.faults.add(fault, times=3, endpoint="create", seconds=seconds)
    began, troubles = world.clock.now(), list[ApiError]()

    report = world.run(on_trouble=troubles.append)

    assert (report.failure, world.statuses(), world.n_billed, len(troubles)) == (None, GOOD, [1] * 10, 3)
    assert {attempt for (attempt,) in world.rows("attempt")} == {1}
    assert min(seconds or 0, 900) * 3 <= (world.clock.now() - began).total_seconds() < 3 * 900 + 600


def test_f42_a_rate_limit_without_end_is_given_up(world: World) -> None:
    """The run fails with the API's own words; nothing was accepted, nothing is lost."""
    world.documents(TEN)
    world.emulator.faults.add("429", endpoint="create")

    report = world.run()

    assert isinstance(report.failure, ApiRefusedError)
    assert (set(report.unfinished), world.n_accepted, set(world.states())) == ({"p"}, 0, {State.REFUSED})


def test_f31_a_network_without_end_is_given_up(world: World) -> None:
    """No complete answer is an error of its own."""
    world.documents(TEN)
    world.emulator.faults.add("connect_error", endpoint="create")

    report = world.run()
    assert isinstance(report.failure, ApiUnreachableError)
    assert (set(report.unfinished), report.n_sent, world.n_accepted) == ({"p"}, 0, 0)

    world.emulator.faults.clear()
    assert (world.run().failure, world.statuses()) == (None, GOOD)


def test_f32_an_upload_that_breaks_off_is_sent_again_at_once(world: World) -> None:
    """A body that is not whole cannot have been accepted."""
    world.documents(TEN)
    world.emulator.faults.add("drop_mid_body", times=2)

    report = world.run()

    assert (report.failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 10)
    assert world.states().count(State.REFUSED) == 2


def test_f41_a_chunk_that_is_too_large_is_halved(world: World) -> None:
    """Until it fits; the rows stay in order and are billed once."""
    world.documents(TEN)
    world.emulator.faults.add("413", times=2, endpoint="create")

    report = world.run()

    assert (report.failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 10)
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
    assert (world.run().failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 10)
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


def test_partitions_that_were_landed_before_the_failure_are_complete(world: World) -> None:
    """Also those that this very run has answered."""
    world.documents(dict(list(TEN.items())[:4]), part="p")
    world.documents({20: "a late text of war"}, part="q")
    clock = ThenClock(world, lambda: world.emulator.faults.add("401", endpoint="create"))

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
    assert (world.run().n_sent, world.statuses(), world.n_posts) == (0, GOOD, 3)


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


def test_f53_f68_a_batch_that_cannot_be_seen_for_minutes_is_not_given_up(world: World) -> None:
    """Neither after its creation nor after its end."""
    world.documents({1: "war"})
    world.emulator.faults.add("404_after_create", seconds=200)
    world.emulator.faults.add("404_after_end", seconds=1_800)

    assert (world.run().failure, world.statuses(), world.n_posts) == (None, {1: "succeeded"}, 1)


def test_f53_f56_a_batch_that_stays_out_of_sight_ends_the_run_and_is_not_sent_again(world: World) -> None:
    """It was deleted, say: the run does not wait forever, and says what to look for."""
    world.documents({1: "war"})

    report = world.run(clock=ThenClock(world, lambda: delete_all(world)))

    assert isinstance(report.failure, BatchUnseenError)
    assert (report.failure.same_account, set(report.unfinished), world.states()) == (True, {"p"}, [State.ACCEPTED])
    assert isinstance(world.run().failure, BatchUnseenError)
    assert world.n_posts == 1


def test_f56_a_batch_of_another_account_is_told_as_such(world: World) -> None:
    """A key that cannot see a batch is no proof that the batch is gone."""
    world.documents({1: "war"})
    with pytest.raises(CrashError):
        world.run(clock=ThenClock(world, kill))
    world.emulator.faults.add("404", endpoint="retrieve")

    report = world.run(api=AnthropicBatches(client_of(world.emulator, "another key")))
    assert isinstance(report.failure, BatchUnseenError)
    assert "another key, workspace or base URL" in str(report.failure)

    world.emulator.faults.clear()
    assert (world.run().failure, world.statuses(), world.n_posts) == (None, {1: "succeeded"}, 1)


@pytest.mark.parametrize("deleted", [False, True])
def test_f66_what_nobody_fetched_for_29_days_is_written_off(world: World, deleted: bool) -> None:  # noqa: FBT001
    """Paid for and gone: its rows say so and are not sent again by themselves."""
    world.documents({1: "war"})
    with pytest.raises(CrashError):
        world.run(clock=ThenClock(world, kill))
    if deleted:
        delete_all(world)
    world.emulator.clock.advance(days=30)

    report = world.run()

    assert (report.failure, world.statuses(), world.states()) == (None, {1: "missing"}, [State.LOST])
    assert (world.run().n_sent, world.n_posts) == (0, 1)


def delete_all(world: World) -> None:
    """Delete every batch once it has ended, as a person in the Console might."""
    world.emulator.clock.advance(minutes=10)
    headers = {"x-api-key": KEY, "anthropic-version": "2026-10-21"}
    for batch in world.emulator.audit.accepted():
        assert world.emulator.handle("DELETE", f"/v1/messages/batches/{batch.id}", headers).status == 200


# --- answers that get lost -------------------------------------------------------------------------

LOST = [
    pytest.param("drop_after_accept", id="F34-reset"),
    pytest.param("timeout_after_accept", id="F34-timeout"),
    pytest.param("408_after_accept", id="F45-408"),
    pytest.param("409_after_accept", id="F45-409"),
    pytest.param("500_after_accept", id="F45-500"),
    pytest.param("502_after_accept", id="F45-502"),
    pytest.param("504_after_accept", id="F45-504"),
    pytest.param("529_after_accept", id="F45-529"),
    pytest.param("html_200_after_accept", id="F46-html"),
    pytest.param("cut_json_200", id="F46-cut"),
    pytest.param("empty_id_200", id="F46-empty-id"),
    pytest.param("wrong_count_200", id="F48-count"),
    pytest.param("redirect_307_after_accept", id="F47-redirect"),
]


@pytest.mark.parametrize("fault", LOST)
def test_a_batch_whose_answer_was_lost_is_found_adopted_and_billed_once(world: World, fault: str) -> None:
    """One POST for each chunk (F35), whatever the SDK would have retried; the lost one is proved by its nonce."""
    world.documents(TEN)
    world.emulator.faults.add(fault, endpoint="create", times=1)

    report = world.run()

    assert (report.failure, world.statuses()) == (None, GOOD)
    assert (world.n_posts, world.n_accepted, world.n_billed) == (3, 3, [1] * 10)
    assert {batch.n_retries for batch in world.emulator.audit.accepted()} <= {0, None}


@pytest.mark.parametrize("fault", ["drop_before_accept", "529", "redirect_307", "html_200"])
def test_f45_what_the_api_never_accepted_is_sent_again_after_the_quiet_period(world: World, fault: str) -> None:
    """Silence has to last; then the rows go out once more, and are billed once."""
    world.documents(TEN)
    began = world.clock.now()
    world.emulator.faults.add(fault, endpoint="create", times=1)

    report = world.run()

    assert (report.failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 10)
    assert (world.n_posts, world.n_accepted, world.states()[0]) == (4, 3, State.UNSEEN)
    assert world.clock.now() - began > timedelta(minutes=15)


def test_f107_a_lost_answer_with_all_room_taken_is_settled(world: World) -> None:
    """The chunk that is looked for counts as waiting at the API, and must not be waited for without looking."""
    world.documents(TEN)
    world.emulator.faults.add("drop_after_accept", times=1)

    report = world.run(max_requests_in_flight=4)

    assert (report.failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 10)


def test_f107_while_one_chunk_is_ambiguous_no_other_is_sent(world: World) -> None:
    """The exposure is one chunk at a time; what is under way is collected meanwhile."""
    world.documents(TEN)
    world.emulator.faults.add("drop_before_accept", endpoint="create", rate=1.0, times=1)
    n_posts: list[int] = []

    class Watching(ThenClock):
        def sleep(self, seconds: float) -> None:
            if State.AMBIGUOUS in world.states():
                n_posts.append(world.n_posts)
            super().sleep(seconds)

    world.run(clock=Watching(world, lambda: None))

    assert set(n_posts) == {1}


def test_f66_the_age_of_the_oldest_batch_counts_those_that_are_held(world: World) -> None:
    """Should the API have accepted it after all, its results are gone after 29 days like any others."""
    world.documents({1: "a text of war"})
    world.emulator.faults.add("drop_before_accept", times=1)
    world.run(on_unconfirmed="hold")
    assert world.states() == [State.HELD]
    world.clock.sleep(21 * 86_400)

    [report] = world.run(on_unconfirmed="hold").partitions

    assert 21 <= report.oldest_open_days < 22


def test_hold_leaves_a_lost_chunk_to_a_person(world: World) -> None:
    """Nothing is sent again until on_unconfirmed says so; the run says which chunk and what to do."""
    world.documents({1: "war"})
    world.emulator.faults.add("drop_before_accept", times=1)

    report = world.run(on_unconfirmed="hold")
    assert isinstance(report.failure, HeldChunksError)
    assert (world.states(), set(report.unfinished), world.n_accepted) == ([State.HELD], {"p"}, 0)
    assert report.failure.chunk_ids == [chunk.chunk_id for chunk in world.ledger.chunks("main.answers", State)]

    assert isinstance(world.run(on_unconfirmed="hold").failure, HeldChunksError)
    assert (world.run(on_unconfirmed="resubmit").failure, world.statuses()) == (None, {1: "succeeded"})
    assert (world.n_accepted, world.states()) == (1, [State.UNSEEN, State.APPLIED])


def test_a_held_chunk_of_another_partition_is_no_failure_of_this_one(world: World) -> None:
    """Its rows wait for a person; the rows of this run do not."""
    world.documents({1: "war"}, part="held")
    world.emulator.faults.add("drop_before_accept", times=1)
    world.run("held", on_unconfirmed="hold")

    world.documents({2: "peace"}, part="p")
    report = world.run("p", on_unconfirmed="hold")

    assert (report.failure, world.statuses("p")) == (None, {2: "succeeded"})


# --- several runs ----------------------------------------------------------------------------------


def test_f28_a_second_run_attaches_to_the_batches_of_the_first(world: World) -> None:
    """A double click sends nothing twice: both runs end with the answers, one of them sent them."""
    world.documents(TEN)
    reports = []

    first = world.run(clock=ThenClock(world, lambda: reports.append(world.run())))

    assert (first.n_sent, reports[0].n_sent, world.n_billed) == (10, 0, [1] * 10)
    assert [part.balanced for report in (first, *reports) for part in report.partitions] == [True, True]


def test_f28_rows_that_another_run_claimed_first_are_left_to_it(world: World) -> None:
    """Between the reading of a row and its sending another run may have sent it: it is waited for, not sent again."""
    world.documents(TEN)
    world.emulator.faults.add("429", endpoint="create", times=1)

    def overtake(_: ApiError) -> None:
        with pytest.raises(CrashError):
            world.run(clock=ThenClock(world, kill))

    report = world.run(on_trouble=overtake)

    assert (report.n_sent, report.failure, world.statuses(), world.n_billed) == (0, None, GOOD, [1] * 10)


def test_f112_requests_that_wait_elsewhere_take_no_room_here(world: World) -> None:
    """A batch of another workspace or base URL is not ours to wait for, unless it carries our rows."""
    world.documents({1: "war", 2: "peace"}, part="elsewhere")
    with pytest.raises(CrashError):
        world.run("elsewhere", clock=ThenClock(world, kill))
    world.documents(TEN)
    with client_of(world.emulator, KEY) as client:
        report = world.run(api=AnthropicBatches(client, workspace_id="wrkspc_2"), max_requests_in_flight=4)

    assert (report.failure, world.statuses(), world.states().count(State.ACCEPTED)) == (None, GOOD, 1)


def test_f112_rows_that_may_have_been_accepted_elsewhere_are_not_sent_here(world: World) -> None:
    """A person decides, or a run that can see them does."""
    world.documents({1: "war"})
    world.emulator.faults.add("drop_after_accept", times=1)
    with pytest.raises(CrashError):
        world.run(clock=ThenClock(world, kill))
    with client_of(world.emulator, KEY) as client:
        report = world.run(api=AnthropicBatches(client, workspace_id="wrkspc_2"))
    assert isinstance(report.failure, HeldChunksError)
    assert world.states() == [State.AMBIGUOUS]

    assert (world.run().failure, world.statuses(), world.n_posts) == (None, {1: "succeeded"}, 1)


def test_f56_a_batch_out_of_sight_does_not_keep_the_room_forever(world: World) -> None:
    """The run ends with its name rather than wait for a month."""
    world.documents({1: "war"}, part="before")
    with pytest.raises(CrashError):
        world.run("before", clock=ThenClock(world, kill))
    delete_all(world)
    world.documents(TEN)

    report = world.run(max_requests_in_flight=4)

    assert isinstance(report.failure, BatchUnseenError)
    assert set(report.unfinished) == {"p"}


def test_f108_a_run_of_another_partition_shares_no_rows_and_lands_what_it_finds(world: World) -> None:
    """Overlapping runs of one table send their own rows only."""
    world.documents(TEN)
    world.documents({20: "war elsewhere"}, part="q")
    reports = []

    world.run(clock=ThenClock(world, lambda: reports.append(world.run("q"))))

    assert (reports[0].n_sent, world.statuses(), world.statuses("q")) == (1, GOOD, {20: "succeeded"})
    assert world.n_posts == 4


def kill() -> None:
    """Die."""
    raise CrashError


@pytest.mark.parametrize("at", [1, 2, 3])
def test_f62_what_a_dead_run_sent_is_collected_by_the_next(world: World, at: int) -> None:
    """Whenever it died while waiting: its batches come home, and nothing is sent twice."""
    world.documents(TEN)
    with pytest.raises(CrashError):
        world.run(clock=ThenClock(world, kill, at=at), max_requests_in_flight=8)

    report = world.run()

    assert (report.failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 10)
    assert list(world.state.path.glob("outbox/*")) == []


def test_f64_a_batch_that_has_ended_is_not_canceled(world: World) -> None:
    """There is nothing left to stop."""
    world.documents({1: "war"})
    engine = world.engine()
    world.emulator.faults.add("500", endpoint="results")
    engine.clock = ThenClock(world, kill, at=9)
    with pytest.raises(CrashError):
        engine.run([Partition(key="p")])

    assert (world.states(), engine.cancel()) == ([State.ENDED], ([], []))


def test_f62_a_batch_of_rows_that_are_gone_meanwhile_is_landed_and_settled(world: World) -> None:
    """It was paid for; then the table holds what upstream holds."""
    world.documents({1: "war", 2: "peace"})
    with pytest.raises(CrashError):
        world.run(clock=ThenClock(world, kill))
    world.documents({1: "war"})
    world.run()
    report = world.run()

    assert (world.statuses(), report.partitions[0].balanced, world.n_posts) == ({1: "succeeded"}, True, 1)


def test_f63_f65_a_run_cancels_its_own_batches_and_the_next_lands_what_was_answered(world: World) -> None:
    """What is canceled is told from what was answered, and asked again."""
    world.documents(TEN)
    engine = world.engine()
    canceled: list[str] = []

    def stop() -> None:
        canceled.extend(engine.cancel()[0])
        raise CrashError

    engine.clock = ThenClock(world, stop)
    with pytest.raises(CrashError):
        engine.run([Partition(key="p")])
    assert sorted(canceled) == sorted(batch.id for batch in world.emulator.audit.accepted())
    assert world.engine().cancel() == ([], [])

    report = world.run()
    assert (report.failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 10)
    assert engine.cancel() == ([], [])


def test_closing_an_engine_closes_what_it_opened(world: World, client: anthropic.Anthropic) -> None:
    """No connection stays open."""
    world.engine().close()

    assert client.is_closed()


# --- answers that were paid for come back ----------------------------------------------------------


def lose_warehouse(world: World) -> None:
    """Delete the DuckDB file and put the documents into a new one."""
    rows = world.sql("SELECT id, text FROM docs ORDER BY id")
    world.let_go()
    Path(world.warehouse.database).unlink()
    world.documents(dict(rows))


Harm = Callable[[World], object]
HARMS: Mapping[str, Harm] = {
    "F90-table-dropped": lambda world: world.sql("DROP TABLE answers"),
    "F90-rows-deleted": lambda world: world.sql("DELETE FROM answers WHERE id < 3"),
    "F89-file-deleted": lose_warehouse,
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
@pytest.mark.parametrize("spool", ["kept", "deleted"])
def test_answers_come_back_without_a_post(world: World, harm: Harm, spool: str) -> None:
    """From the spool, or from the API while it has them; the table is as it was."""
    world.documents(TEN)
    world.run()
    columns = "id, label, status, batch_id, custom_id, request_hash, cost_usd, attempt, answered_at"
    before = world.rows(columns)

    harm(world)
    if spool == "deleted":
        for file in world.state.spool.iterdir():
            file.unlink()
    report = world.run()

    assert (world.rows(columns), world.n_posts, report.n_sent) == (before, 3, 0)
    assert report.partitions[0].balanced


def test_failures_and_shared_answers_come_back_too(world: World) -> None:
    """Every final verdict is in the ledger, every reason in the spool."""
    world.documents({1: "war", 2: "peace", 3: "war", 4: None})
    world.emulator.faults.add("refusal", times=1)
    world.run()
    before = world.rows("id, label, status, error, request_hash")

    world.sql("DROP TABLE answers")
    world.run()

    assert (world.rows("id, label, status, error, request_hash"), world.n_posts) == (before, 1)


@pytest.mark.parametrize("fault", ["500", "connect_error", "429"])
def test_answers_that_cannot_be_fetched_just_now_are_fetched_by_the_next_run(world: World, fault: str) -> None:
    """Trouble on the way is no proof that the API has lost them."""
    world.documents({1: "war"})
    world.run()
    world.sql("DROP TABLE answers")
    for file in world.state.spool.iterdir():
        file.unlink()
    world.emulator.faults.add(fault, endpoint="results")

    report = world.run()
    assert (set(report.unfinished), world.rows()) == ({"p"}, [])
    assert isinstance(report.failure, ApiError)

    world.emulator.faults.clear()
    assert (world.run().failure, world.rows(), world.n_posts) == (None, [(1, "war", "succeeded")], 1)


def test_f66_answers_that_neither_spool_nor_api_has_are_missing_and_not_paid_again(world: World) -> None:
    """The row says so, in this run and the next; should the spool come back, so does the answer."""
    world.documents({1: "war", 2: "peace"})
    world.run()
    world.sql("DROP TABLE answers")
    (file,) = world.state.spool.iterdir()
    kept = file.read_bytes()
    file.unlink()
    world.emulator.clock.advance(days=30)

    for _ in range(2):
        report = world.run()
        assert (report.failure, world.statuses()) == (None, {1: "missing", 2: "missing"})
    assert "paid for" in world.rows("error")[0][0]

    file.write_bytes(kept)
    world.run()
    assert (world.statuses(), world.n_posts) == ({1: "succeeded", 2: "succeeded"}, 1)


def test_f110_a_prompt_that_is_reverted_gets_its_old_answers_back_without_a_post(world: World) -> None:
    """An answer is good for its question whenever that is asked again."""
    world.documents(TEN)
    world.run()
    before = world.rows("id, custom_id, error")
    world.run(prompt="Another: {text}")

    report = world.run()

    assert (report.n_sent, world.rows("id, custom_id, error"), world.n_billed) == (0, before, [1] * 20)


def test_f110_a_batch_of_an_older_prompt_lands_under_its_own_question(world: World) -> None:
    """The newer answer stands, the older one was paid for and is kept for its own prompt."""
    world.documents({1: "war"})
    with pytest.raises(CrashError):
        world.run(clock=ThenClock(world, kill))
    world.clock.sleep(1)
    world.run(prompt="Another: {text}")
    newer = world.rows("custom_id")

    assert world.run(prompt="Another: {text}").n_sent == 0
    assert world.rows("custom_id") == newer
    assert (world.run().n_sent, world.rows("custom_id") < newer, world.n_posts) == (0, True, 2)


def test_a_failure_does_not_keep_paid_answers_from_coming_back(world: World) -> None:
    """A partition that needs no sending is restored though another cannot be sent."""
    world.documents({1: "war"}, part="p")
    world.run()
    world.sql("DROP TABLE answers")
    world.documents({2: "peace"}, part="q")
    world.emulator.faults.add("401", endpoint="create")

    report = world.run("q", "p")

    assert (set(report.unfinished), world.statuses("p"), world.statuses("q")) == ({"q"}, {1: "succeeded"}, {})


def test_the_system_clock_is_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aware, in UTC, and passing."""
    clock = SystemClock()
    began = clock.now()
    clock.sleep(0.001)

    assert clock.now() > began
    assert began.utcoffset() == timedelta()


def test_f61_a_batch_that_does_not_end_is_told_of_and_waited_for(world: World) -> None:
    """An hour after its 24 the run log says so; it is asked after for as long as the API shows it, and lands."""
    world.documents({1: "a text of war"})
    world.emulator.faults.add("never_ends")
    troubles: list[ApiError] = []

    def cancel_after_three_days() -> None:
        for batch in world.api.list_batches().batches:
            world.api.cancel(batch.id)

    report = world.run(
        poll_seconds=3_600,
        max_poll_seconds=3_600,
        on_trouble=troubles.append,
        clock=ThenClock(world, cancel_after_three_days, at=3 * 24),
        max_attempts=1,
    )

    overdue = [error for error in troubles if isinstance(error, BatchOverdueError)]
    assert (overdue[0].hours, "has not ended after 26 hours" in str(overdue[0])) == (26, True)
    assert (report.failure, world.states(), world.statuses()) == (None, [State.APPLIED], {1: "canceled"})


def test_f95_a_row_that_left_while_its_answer_was_on_its_way_leaves_the_table_with_the_run(world: World) -> None:
    """Its answer was paid for and is in the spool; the table holds what is upstream, and the books balance."""
    world.documents(TEN)

    report = world.run(clock=ThenClock(world, lambda: world.documents({n: TEN[n] for n in range(9)})))

    assert sorted(world.statuses()) == list(range(9))
    world.documents(TEN)
    assert (report.failure, world.run().n_sent, world.statuses(), world.n_billed) == (None, 0, GOOD, [1] * 10)


def test_f66_a_clock_that_is_a_year_ahead_loses_no_answer(world: World) -> None:
    """What the calendar says is gone is asked for all the same; only the API can say that it is gone."""

    class YearAhead:
        """A clock that a person has set wrong."""

        def now(self) -> datetime:
            """Return a time that has not come yet."""
            return world.clock.now() + timedelta(days=365)

        def sleep(self, seconds: float) -> None:
            """Let `seconds` pass."""
            world.clock.sleep(seconds)

    world.documents(TEN)
    with pytest.raises(CrashError):
        world.run(clock=ThenClock(world, _crash))
    world.clock.sleep(120)

    report = world.run(clock=YearAhead())

    assert (report.failure, world.statuses(), world.n_billed) == (None, GOOD, [1] * 10)


def test_f66_results_that_are_gone_are_asked_for_several_times_before_they_are_given_up(world: World) -> None:
    """One 404 is no proof; after several in some minutes the rows say what happened, and are not sent again."""
    world.documents({1: "a text of war"})
    with pytest.raises(CrashError):
        world.run(clock=ThenClock(world, _crash))
    world.clock.sleep(40 * 86_400)
    world.emulator.faults.add("404", endpoint="retrieve")
    world.emulator.faults.add("404", endpoint="results")
    began = world.clock.now()

    report = world.run()

    assert (report.failure, world.states(), world.statuses()) == (None, [State.LOST], {1: "missing"})
    assert world.clock.now() - began >= timedelta(minutes=5)
    assert (world.run().n_sent, world.n_posts) == (0, 1)
