"""The way of a row through the real client, ledger, spool and table, against the emulator."""

import pandas as pd
import pytest

from claude_batch_dagster.core.asking.asked import Asked
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.ledger import State
from claude_batch_dagster.core.reporting.progress import Progress
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.errors import (
    UpstreamError,
)
from tests.core.world import PIPELINE, TEN, TEN_GOOD, World

# --- what is sent ----------------------------------------------------------------------------------


def test_every_document_gets_its_answer(world: World) -> None:
    """Ten rows travel in three batches, each row lands with its answer, and the report adds up."""
    world.documents(TEN)
    seen: list[Progress] = []
    found: list[Asked] = []

    report = world.run(on_progress=seen.append, on_asked=found.append)

    assert world.rows() == [(n, "war" if n % 2 else "peace", "succeeded") for n in range(10)]
    part = report.partitions[0]
    assert (report.n_sent, report.failure, set(report.unfinished)) == (10, None, set())
    assert (part.n_expected, part.n_asked, part.n_rows, part.balanced, part.completeness) == (10, 10, 10, True, 1.0)
    assert part.cost_usd == pytest.approx(sum(cost for (cost,) in world.rows("cost_usd")))
    assert part.run_cost_usd == part.cost_usd
    assert part.live_cost_usd == pytest.approx(2 * (part.cost_usd or 0))
    assert (part.seconds_to_answer, dict(part.standing.labels)) == (60.0, {"war": 5, "peace": 5})
    assert [batch.n_requests for batch in world.emulator.audit.accepted()] == [4, 4, 2]
    assert (world.n_billed, found[0].n_to_ask.total()) == ([1] * 10, 10)
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


@pytest.mark.verify
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


@pytest.mark.verify
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


@pytest.mark.verify
def test_f107_at_most_so_many_requests_wait_at_the_api(world: World) -> None:
    """A chunk is sent when there is room for it, and one larger than all the room goes alone."""
    world.documents(TEN)
    waiting: list[int] = []

    def look(progress: Progress) -> None:
        waiting.append(progress.n_sent - progress.n_ended)

    world.run(max_requests_in_flight=4, on_progress=look)
    world.run(max_requests_in_flight=1, on_progress=look, prompt="Again: {text}")

    assert (max(waiting), world.n_posts, world.statuses()) == (4, 6, TEN_GOOD)


# --- what comes back -------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("fault", ["errored", "expired", "canceled"])
def test_f57_f58_f59_failed_rows_are_asked_again_within_the_run(world: World, fault: str) -> None:
    """Only they, with the next attempt; each is billed once."""
    world.documents(TEN)
    world.emulator.faults.add(fault, times=3)

    report = world.run()

    assert (world.statuses(), world.n_billed, report.n_sent) == (TEN_GOOD, [1] * 10, 13)
    assert sorted(attempt for (attempt,) in world.rows("attempt")) == [1] * 7 + [2] * 3


@pytest.mark.verify
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


def test_a_limit_in_dollars_holds_also_for_what_is_asked_with_more_room(world: World) -> None:
    """Eight questions are one batch by requests and bytes; by the limit two, and four once they may say more."""
    world.documents({n: f"war {n}" for n in range(8)})
    world.emulator.faults.add("max_tokens", times=8)
    world.run(limits=Limits(max_usd=0.0003))

    chunks = world.ledger.chunks(PIPELINE, [State.APPLIED])
    assert sorted(chunk.n_requests for chunk in chunks) == [2, 2, 2, 2, 3, 5]
    assert all(0 < (chunk.max_cost_usd or 0) <= 0.0003 for chunk in chunks)


@pytest.mark.verify
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


@pytest.mark.verify
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
