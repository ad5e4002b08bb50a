"""What a run is going to do is known before anything is sent, and it does that."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.core.planning.estimate import Basis
from claude_batch_dagster.core.planning.forecast import Forecast, Reason
from claude_batch_dagster.core.planning.settings import RunSettings
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.engine import Pacing
from claude_batch_dagster.errors import ConfigurationError, RepayError
from tests.core.world import TEN, TEN_GOOD

if TYPE_CHECKING:
    from tests.core.world import World


def planned(world: "World", *parts: str, **options: Any) -> Forecast:
    """Return what a run would do."""
    return world.engine(**options).plan([Partition(key=part) for part in parts or ("p",)])


def ran(world: "World", **options: Any) -> Forecast:
    """Run, and return what the run has said it would do."""
    seen: list[Forecast] = []
    world.run(on_plan=seen.append, **options)
    [forecast] = seen
    return forecast


def test_each_row_has_its_reason(world: "World") -> None:
    """New, changed, shared and rejected rows are told apart, and so is what was answered already."""
    world.documents(TEN)
    assert ran(world).rows == Counter({Reason.NEW: 10})

    world.documents({**TEN, 0: "another text", 1: TEN[2], 10: "a new text", 11: "a new text", 12: None})

    wanted = {Reason.ANSWERED: 9, Reason.DOCUMENT: 1, Reason.NEW: 1, Reason.SHARED: 1, Reason.REJECTED: 1}
    assert planned(world).rows == ran(world).rows == Counter(wanted)
    assert planned(world).rows == Counter({Reason.ANSWERED: 12, Reason.REJECTED: 1})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt": "Which label? {text}"}, Reason.PROMPT),
        ({"base": {"max_tokens": 99}}, Reason.PROMPT),
        ({"base": {"model": "claude-opus-5"}}, Reason.MODEL),
        ({"base": {"model": "claude-opus-5"}, "prompt": "Which label? {text}"}, Reason.MODEL),
    ],
)
@pytest.mark.verify
def test_a_definition_that_was_edited_names_its_part(world: "World", changes: dict[str, Any], reason: Reason) -> None:
    """Rows whose answer is to an earlier definition say which part of it has changed."""
    world.documents(TEN)
    world.run()

    forecast = planned(world, **changes)

    assert forecast.rows == Counter({reason: 10})
    assert forecast.n_repaid == 10


def test_a_plan_changes_nothing(world: "World") -> None:
    """A dry run sends nothing, leaves no row that has left upstream, and no table behind in an empty database."""
    world.documents(TEN)
    planned(world)
    assert world.sql("SELECT table_name FROM duckdb_tables()") == [("docs",)]
    world.run()
    n_posts, before = world.n_posts, world.rows("*")
    world.documents({1: "another text"})

    forecast = planned(world)

    assert forecast.rows == Counter({Reason.DOCUMENT: 1})
    assert (world.n_posts, world.rows("*")) == (n_posts, before)


def test_what_is_in_flight_is_not_sent_again(world: "World") -> None:
    """Rows that a submission has sent are in flight."""
    world.documents(TEN)
    world.engine().submit([Partition(key="p")])

    assert planned(world).rows == Counter({Reason.IN_FLIGHT: 10})


@pytest.mark.verify
def test_a_failure_is_a_retry_or_final(world: "World") -> None:
    """What expired is asked again; what was refused is not, unless a person wants it."""
    world.documents(TEN)
    world.emulator.faults.add("expired", rate=1.0, text="number 1")
    world.emulator.faults.add("refusal", rate=1.0, text="number 2")
    world.run(max_attempts=1)
    world.emulator.faults.clear()

    assert planned(world).rows == Counter({Reason.ANSWERED: 8, Reason.RETRY: 1, Reason.FINAL: 1})
    insistent = RunSettings(retry_final=True)
    assert planned(world, settings=insistent).rows == Counter({Reason.ANSWERED: 8, Reason.RETRY: 2})
    world.run(settings=insistent)
    assert world.statuses() == TEN_GOOD


@pytest.mark.verify
def test_a_refusal_that_is_asked_once_more_is_asked_once(world: "World") -> None:
    """`retry_final` asks a row once in a run, however it ends."""
    world.documents({1: "a text of war"})
    world.emulator.faults.add("refusal", rate=1.0)
    world.run()
    assert world.n_posts == 1

    world.run(settings=RunSettings(retry_final=True))

    assert (world.n_posts, world.statuses()) == (2, {1: "refused"})


@pytest.mark.verify
def test_a_result_that_may_turn_up_is_not_asked_for_again(world: "World") -> None:
    """It may have been paid for, so not even a person's word sends it."""
    world.documents({1: "a text of war", 2: "a text of peace"})
    world.emulator.faults.add("results_missing_line", rate=1.0)
    world.run()

    world.run(settings=RunSettings(retry_final=True))

    assert world.n_billed == [1, 1]


@pytest.mark.verify
def test_a_plan_counts_what_the_database_has_lost_as_in_flight(world: "World") -> None:
    """A run would bring it back from the disk at no cost."""
    world.documents(TEN)
    world.run()
    world.lose_answers()

    assert planned(world).rows == Counter({Reason.IN_FLIGHT: 10})


# --- what a run is told ----------------------------------------------------------------------------


def test_a_limit_sends_the_first_rows(world: "World") -> None:
    """Rows beyond the limit say so, and go with the next run, which has none."""
    world.documents(TEN)

    forecast = ran(world, settings=RunSettings(limit=3))

    assert forecast.rows == Counter({Reason.NEW: 3, Reason.LEFT_OUT: 7})
    assert world.statuses() == {n: "succeeded" if n < 3 else "blocked" for n in TEN}
    [error] = {error for (error,) in world.rows("error") if error}
    assert error == "left out of the last run, which had a limit of 3 requests (limit)"
    assert world.n_billed == [1, 1, 1]

    world.run()
    assert (world.statuses(), world.n_billed) == (TEN_GOOD, [1] * 10)


def test_only_some_keys(world: "World") -> None:
    """Rows of other keys are left alone; one that asks the same as a row that is sent has its answer."""
    world.documents({**TEN, 10: TEN[4]})

    world.run(settings=RunSettings(only_keys=["4", "7"]))

    assert world.statuses() == {n: "succeeded" if n in {4, 7, 10} else "blocked" for n in range(11)}
    assert world.n_billed == [1, 1]


@pytest.mark.verify
@pytest.mark.parametrize("key", ["é", "日本", "😀", "a\nb", "it's", '["x"]', 'say "so"'])
def test_keys_of_any_kind(world: "World", key: str) -> None:
    """A key is found as it is written."""
    world.sql("CREATE TABLE docs (id VARCHAR, text VARCHAR, part VARCHAR)")
    world.sql("INSERT INTO docs VALUES (?, 'a text of war', 'p'), ('other', 'a text of peace', 'p')", [key])

    world.run(settings=RunSettings(only_keys=[key]))

    assert dict(world.rows("id, status")) == {key: "succeeded", "other": "blocked"}


def test_keys_that_no_row_has(world: "World") -> None:
    """A misspelled key is an error before anything is sent."""
    world.documents(TEN)

    with pytest.raises(ConfigurationError, match=r"only_keys names '11', and no row of these partitions"):
        world.run(settings=RunSettings(only_keys=["4", "11"]))

    assert world.n_posts == 0


@pytest.mark.verify
def test_a_row_that_is_left_out_keeps_its_answer(world: "World") -> None:
    """An answer to an earlier question stays while the new one is left out, and says why."""
    world.documents(TEN)
    world.run()
    world.documents({n: f"{text}!" for n, text in TEN.items()})

    world.run(settings=RunSettings(limit=2))

    assert world.statuses() == TEN_GOOD
    errors = [error for (error,) in world.rows("error") if error]
    assert len(errors) == 8
    assert all("blocked: left out of the last run" in error for error in errors)


@pytest.mark.verify
def test_a_row_that_is_sent_after_all_is_blocked_no_longer(world: "World") -> None:
    """While it is on its way it has no verdict, as any other."""
    world.documents(TEN)
    world.run(settings=RunSettings(limit=3))

    world.engine().submit([Partition(key="p")])

    assert world.statuses() == dict.fromkeys(range(3), "succeeded")


@pytest.mark.verify
def test_a_limit_counts_no_repetition(world: "World") -> None:
    """A row that is asked again within the run is the same question."""
    world.documents(TEN)
    world.emulator.faults.add("expired", rate=1.0, times=1)

    world.run(settings=RunSettings(limit=2))

    assert sorted(world.statuses().values()) == ["blocked"] * 8 + ["succeeded"] * 2


def test_a_limit_below_nothing(world: "World") -> None:
    """A limit is a number of requests."""
    with pytest.raises(ConfigurationError, match="from 0 on; got -1"):
        world.run(settings=RunSettings(limit=-1))


# --- paying again ----------------------------------------------------------------------------------


def test_paying_again_needs_a_word(world: "World") -> None:
    """An edit of the definition that costs more than was allowed stops the run, until a person has confirmed it."""
    world.documents(TEN)
    world.run()
    edited = {"prompt": "Which label? {text}", "confirm_repay_usd": 0.00001}

    with pytest.raises(RepayError, match=r"10 rows with an answer would be asked again for about \$0.00.*: prompt"):
        world.run(**edited)
    assert (world.n_billed, world.statuses()) == ([1] * 10, TEN_GOOD)

    world.run(**edited, settings=RunSettings(confirm_repay=True))
    assert world.n_billed == [1] * 20


@pytest.mark.parametrize("most", [None, 5.0])
@pytest.mark.verify
def test_paying_again_within_what_is_allowed(world: "World", most: float | None) -> None:
    """Where it is little, or nobody wants to be asked, it just goes."""
    world.documents(TEN)
    world.run()

    world.run(prompt="Which label? {text}", confirm_repay_usd=most)

    assert world.n_billed == [1] * 20


@pytest.mark.verify
def test_documents_that_changed_need_no_word(world: "World") -> None:
    """Rows whose documents have changed are what a run is for."""
    world.documents(TEN)
    world.run()
    world.documents({n: f"{text}!" for n, text in TEN.items()})

    world.run(confirm_repay_usd=0.0)

    assert world.n_billed == [1] * 20


@pytest.mark.verify
def test_short_rows_do_not_hide_long_ones(world: "World") -> None:
    """What is paid for again is counted by its own size."""
    long = {n: f"{'word ' * 2_000}{n}" for n in range(10)}
    world.pacing = Pacing(limits=Limits(max_requests=500))
    world.documents(long)
    world.run()
    [(paid,)] = world.sql("SELECT sum(cost_usd) FROM answers")
    world.documents({**long, **{n: f"short {n}" for n in range(100, 400)}})

    with pytest.raises(RepayError):
        world.run(prompt="Which? {text}", confirm_repay_usd=paid / 2)


@pytest.mark.verify
def test_a_partition_that_nobody_has_answered_changes_no_reason(world: "World") -> None:
    """Edited documents stop no run, whatever is asked beside them."""
    world.documents(TEN)
    world.run()
    world.documents({n: f"{text}!" for n, text in TEN.items()})
    world.documents({n + 100: text for n, text in TEN.items()}, part="q")

    world.run("p", "q", confirm_repay_usd=0)

    assert (world.statuses("p"), len(world.statuses("q"))) == (TEN_GOOD, 10)


@pytest.mark.verify
def test_a_failure_to_a_new_prompt_is_no_change_for_ever(world: "World") -> None:
    """A row that keeps its earlier answer does not make every later edit of a document one of the prompt."""
    world.documents(TEN)
    world.run()
    world.emulator.faults.add("refusal", rate=1.0, text="number 3")
    world.run(prompt="Which? {text}")
    world.emulator.faults.clear()
    world.run(prompt="Which? {text}")
    world.documents({**TEN, 4: "another text of war"})

    assert planned(world, prompt="Which? {text}").rows[Reason.DOCUMENT] == 1


# --- what it costs ---------------------------------------------------------------------------------


@pytest.mark.verify
def test_the_first_estimate_is_by_a_sample(world: "World") -> None:
    """Without history the API counts the tokens of a few requests; the bill is within a tenth."""
    world.documents({n: f"a text of war, number {n:05d}, which goes on for a while" for n in range(120)})

    forecast = ran(world)

    assert forecast.estimate is not None
    assert (forecast.estimate.basis, forecast.estimate.n_seen) == (Basis.SAMPLE, 5)
    [(bill,)] = world.sql("SELECT sum(cost_usd) FROM answers")
    assert forecast.estimate.usd == pytest.approx(bill, rel=0.1)
    assert forecast.estimate.low_usd <= bill <= forecast.estimate.high_usd


@pytest.mark.verify
def test_later_estimates_are_by_history(world: "World") -> None:
    """What answers to this question have cost says what the next ones cost, and how far the last estimate was off."""
    world.documents(TEN)
    first = ran(world)
    assert first.estimate is not None
    assert first.estimate.basis is Basis.BYTES
    [(bill,)] = world.sql("SELECT sum(cost_usd) FROM answers")
    world.documents({n: f"{text}!" for n, text in TEN.items()})

    second = ran(world)

    assert second.estimate is not None
    assert (second.estimate.basis, second.estimate.n_seen) == (Basis.HISTORY, 10)
    assert second.estimate.usd == pytest.approx(bill, rel=0.1)
    [miss] = second.misses
    assert miss == pytest.approx(bill / first.estimate.usd - 1)


@pytest.mark.verify
def test_a_run_that_goes_on_is_no_measure_yet(world: "World") -> None:
    """An estimate is compared with what it came to once all of its batches have landed."""
    world.documents(TEN)
    world.emulator.faults.add("never_ends", times=1)
    world.engine().submit([Partition(key="p")])
    world.emulator.clock.advance(minutes=10)
    world.documents({20: "a text of its own"}, part="q")
    world.run("q")  # lands what has ended of the first

    assert len(planned(world, "q").misses) == 1


@pytest.mark.verify
def test_a_price_that_nobody_knows(world: "World") -> None:
    """Where a price is not listed there is no estimate, rather than a wrong one."""
    world.documents(TEN)
    world.run()

    forecast = planned(world, base={"model": "claude-unheard-of"})

    assert (forecast.estimate, forecast.n_requests, forecast.repaid_usd) == (None, 10, None)


@pytest.mark.verify
def test_dollars_by_reason_and_partition_add_up(world: "World") -> None:
    """The estimate of the whole is the sum of its parts."""
    world.documents(TEN, part="p")
    world.documents({n: f"{text} and a longer end of it" for n, text in TEN.items()}, part="q")

    forecast = planned(world, "p", "q")

    assert forecast.estimate is not None
    parts = [part.estimate.usd for part in forecast.partitions if part.estimate]
    assert len(parts) == 2
    assert parts[0] != parts[1]
    assert sum(parts) == pytest.approx(forecast.estimate.usd)
    assert forecast.usd(Reason.NEW) == pytest.approx(forecast.estimate.usd)


@pytest.mark.verify
def test_a_plan_says_what_stops_it_or_holds_it_up(world: "World") -> None:
    """Rows that go first, what is left of a budget, and an edit that needs a word."""
    world.documents(TEN)
    world.run()

    forecast = planned(
        world, prompt="Which? {text}", confirm_repay_usd=0, canary=3, canary_from=5, budget=Budget(usd=2, per="month")
    )

    assert forecast.n_canary == 3
    money, stop = forecast.notes
    assert money.startswith("$2.00 are left of the budget of this asset of $2.00 per month; rows that could exceed it")
    assert stop.startswith("the run stops: 10 rows with an answer would be asked again for about $0.0000")
    assert planned(world, canary=0).notes == []


# --- a full refresh --------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["Label: {text}", lambda row: f"Label: {row['text']}"], ids=["template", "function"])
@pytest.mark.verify
def test_a_full_refresh_asks_everything_again(world: "World", prompt: Any) -> None:
    """Each row is paid for once more, and later runs keep the new answers at no cost."""
    world.documents(TEN)
    world.run(prompt=prompt)
    first = dict(world.rows("id, custom_id"))

    forecast = ran(world, prompt=prompt, settings=RunSettings(refresh="root"))

    assert forecast.rows == Counter({Reason.REFRESH: 10})
    second = dict(world.rows("id, custom_id"))
    assert world.statuses() == TEN_GOOD
    assert set(first.values()).isdisjoint(second.values())
    assert world.rows("error") == [(None,)] * 10
    world.run(prompt=prompt)
    assert (dict(world.rows("id, custom_id")), len(world.n_billed)) == (second, 10)
    assert set(world.n_billed) == {2}


@pytest.mark.verify
def test_a_refresh_that_is_repeated_takes_up_where_it_stopped(world: "World") -> None:
    """A run that is executed again, under the root of the first, pays for nothing twice; another one does."""
    world.documents(TEN)
    world.run()
    world.run(settings=RunSettings(refresh="one", limit=4))
    assert sorted(world.n_billed) == [1] * 6 + [2] * 4

    world.run(settings=RunSettings(refresh="one"))
    assert world.n_billed == [2] * 10

    world.run(settings=RunSettings(refresh="two"))
    assert world.n_billed == [3] * 10


@pytest.mark.verify
def test_a_refresh_is_of_its_partitions(world: "World") -> None:
    """Other partitions keep their answers, also to the same questions, until they need another one."""
    world.documents(TEN, part="p")
    world.documents(TEN, part="q")
    world.run("p", "q")

    world.run("p", settings=RunSettings(refresh="root"))

    assert world.n_billed == [2] * 10
    assert planned(world, "p", "q").rows == Counter({Reason.ANSWERED: 20})
    world.documents({**TEN, 10: "a text of its own"}, part="p")
    assert planned(world, "p", "q").rows == Counter({Reason.ANSWERED: 20, Reason.NEW: 1})


@pytest.mark.verify
@pytest.mark.parametrize("settings", [{"limit": 1}, {"only_keys": ["3"]}], ids=str)
def test_a_refresh_of_a_few_rows_is_of_those_alone(world: "World", settings: dict[str, Any]) -> None:
    """What it has not sent keeps its answer, and no later run pays for it."""
    world.documents(TEN)
    world.run()

    world.run(settings=RunSettings(refresh="root", **settings))
    world.run(confirm_repay_usd=0)

    assert sorted(world.n_billed) == [1] * 9 + [2]
    assert (world.statuses(), set(world.rows("error"))) == (TEN_GOOD, {(None,)})


@pytest.mark.verify
def test_a_refresh_that_is_overtaken_leaves_nothing_to_pay(world: "World") -> None:
    """Another run, between its look and its plan, writes down what the rows ask: they ask what they asked before."""
    world.documents(TEN)
    world.run()

    world.run(settings=RunSettings(refresh="root"), on_asked=lambda _: world.run(), confirm_repay_usd=None)
    world.run(confirm_repay_usd=0)

    assert world.n_billed == [1] * 10


@pytest.mark.verify
def test_refreshed_answers_stay_when_partitions_change(world: "World") -> None:
    """They belong to the question, under whatever name it was asked."""
    world.documents(TEN)
    world.run()
    world.run(settings=RunSettings(refresh="one"))
    latest = set(world.rows("custom_id"))

    world.run("x", expr="'x'", confirm_repay_usd=0)

    assert set(world.rows("custom_id", "x")) == latest
    world.run("x", expr="'x'", settings=RunSettings(refresh="two"))
    assert set(world.rows("custom_id", "x")).isdisjoint(latest)
    assert world.n_billed == [3] * 10


@pytest.mark.verify
def test_a_refresh_needs_a_word_where_it_is_dear(world: "World") -> None:
    """A click too many does not pay for a large table again."""
    world.documents(TEN)
    world.run()

    with pytest.raises(RepayError, match="10 rows with an answer would be asked again"):
        world.run(settings=RunSettings(refresh="root"), confirm_repay_usd=0.00001)

    assert planned(world).rows == Counter({Reason.ANSWERED: 10})
    world.run()
    assert world.n_billed == [1] * 10
