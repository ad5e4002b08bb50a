import signal

import duckdb
import pytest

from claude_batch_dagster import Budget
from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from proof.canary import DOCUMENT
from proof.kills import KILLS_PER_JOB, run
from proof.kills.budgets import RisingBudget
from proof.kills.holds import PATIENCE_SECONDS, Fate, Hold, Part
from proof.kills.judge import DUPLICATES, NO_MONEY, beyond, judge, reported, state_at_death
from proof.kills.order import WORDS, Order
from proof.kills.paths import JobPaths
from proof.kills.processes import zygote
from proof.kills.proxy import proxied
from proof.money import billed_usd
from proof.scratch import scratch

pytestmark = pytest.mark.verify

N_KILLS, N_PARTS = 30, 3
FIRST_SEED = 80
"""From here on ten jobs in a row are killed in every way there is."""

FIFTH = 0.2

DOLLAR = Budget(usd=1.0, per="day")
N_DEAR, DEAR = 60, " and so on" * 4_000
"""Documents of 10,000 tokens each: one costs 2.6 cents, and can cost four times as much."""


@pytest.mark.parametrize("part", range(N_PARTS))
def test_f33_f50_f62_killed_runs_pay_once_and_lose_nothing(part: int) -> None:
    """Runs killed anywhere, a fifth of them and more inside the call that costs money: nothing lost or paid twice."""
    n_kills = N_KILLS // N_PARTS
    told: list[str] = []

    finding = run(n_kills, first_seed=FIRST_SEED + part * n_kills // KILLS_PER_JOB, tell=told.append)

    assert told == []
    assert finding.holds
    assert finding.n_schedules == n_kills
    assert int(finding.facts["kills inside the POST"]) >= FIFTH * n_kills


@pytest.mark.soak
def test_f33_f50_f62_five_hundred_kills() -> None:
    """The same for 500 kills of seeds not seen before, among them some in every state of a chunk that is sent."""
    told: list[str] = []

    finding = run(500, first_seed=1_000, tell=told.append)

    assert told == []
    assert finding.holds
    assert (finding.n_schedules, finding.facts["documents billed twice"]) == (500, 0)
    assert int(finding.facts["kills inside the POST"]) >= FIFTH * 500
    for state in ("sending", "released"):
        assert int(finding.facts[f"kills inside the POST, chunk {state}"]) > 0


def test_f33_what_comes_after_the_quiet_period_is_told() -> None:
    """A last byte that arrives after the silence was believed: paid twice, reported so, and one row for each."""
    labels = {"a": "war", "b": "economy"}
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    with scratch() as path, serving(emulator) as url, proxied(url) as proxy:
        paths, order = JobPaths(folder=path), Order(folder=str(path), url=proxy.url)
        paths.write([(key, WORDS[label], "1790-01-01") for key, label in labels.items()])
        hold = proxy.arm(Hold(endpoint="create", part=Part.TAIL, at=1))
        sender = zygote().start(order)
        assert hold.reached.wait(PATIENCE_SECONDS)
        assert sender.kill() == -signal.SIGKILL
        assert state_at_death(paths) == "released"

        assert zygote().start(order).wait() == 0
        hold.release(Fate.PASSED)
        assert hold.ended.wait(PATIENCE_SECONDS)
        assert zygote().start(order).wait() == 0
        verdict = judge(paths, labels, emulator, foreign=())

        assert (verdict.n_lost, verdict.n_duplicate_rows, verdict.n_unreported_double_bills) == (0, 0, 0)
        assert (verdict.facts["documents billed twice"], reported(paths)[DUPLICATES]) == (2, 2)
        assert verdict.facts["batches adopted"] == 1
    emulator.close()


def test_f114_a_budget_of_one_dollar_is_kept_whatever_is_killed() -> None:
    """Killed while it sends, waits and lands, and run again each time: never above it by the server's own bill."""
    labels = {f"d{n:02d}": "war" for n in range(N_DEAR)}
    ends = [
        (Hold(endpoint="create", part=Part.UPLOAD, at=0.1), Fate.DROPPED),
        (Hold(endpoint="create", part=Part.ANSWER), Fate.PASSED),
        (Hold(endpoint="results", part=Part.DOWNLOAD, at=1), Fate.DROPPED),
        (Hold(endpoint="create", part=Part.TAIL, at=1), Fate.PASSED),
        (Hold(endpoint="results", part=Part.DOWNLOAD, at=1, stops=False), Fate.PASSED),
        (Hold(endpoint="create", part=Part.TAIL, at=1, nth=2), Fate.DROPPED),
    ]
    emulator = Emulator(clock=SystemClock(), batch_seconds=0.1)
    with scratch() as path, serving(emulator) as url, proxied(url) as proxy:
        paths = JobPaths(folder=path)
        options = {"model": "claude-opus-4-8", "max_tokens": 64}
        order = Order(folder=str(path), url=proxy.url, per_batch=4, budget=(DOLLAR.usd, DOLLAR.per), options=options)
        paths.write([(key, f"{WORDS['war']}, {key}{DEAR}", "1790-01-01") for key in labels])
        for hold, fate in ends:
            sender = zygote().start(order)
            proxy.arm(hold)
            assert hold.reached.wait(PATIENCE_SECONDS)
            assert sender.kill() == -signal.SIGKILL
            hold.release(fate)
            assert hold.ended.wait(PATIENCE_SECONDS)
            assert beyond(DOLLAR, emulator) is None

        assert zygote().start(order).wait() == 0
        verdict = judge(paths, labels, emulator, foreign=(), budget=DOLLAR)

    n_answered, n_blocked = (verdict.facts[name] for name in ("rows answered", "rows blocked by a budget"))
    assert verdict.complaints == []
    assert n_answered + n_blocked == N_DEAR
    assert n_blocked > 0
    assert billed_usd(emulator) > DOLLAR.usd / 5  # for what was never seen money stays reserved: up to 40 cents
    assert verdict.facts["batches never seen, sent again"] >= 1
    emulator.close()


def test_what_was_answered_live_before_a_kill_is_not_asked_again() -> None:
    """Of twenty requests eight at most are on their way: these are asked once more, which is told, and no other."""
    labels = {f"d{n:02d}": "war" for n in range(20)}
    emulator = Emulator(clock=SystemClock())
    with scratch() as path, serving(emulator) as url, proxied(url) as proxy:
        paths = JobPaths(folder=path)
        order = Order(folder=str(path), url=proxy.url, options={"small_batches": "live", "small_batches_below": 100})
        paths.write([(key, f"{WORDS['war']}, {key}", "1790-01-01") for key in labels])
        hold = proxy.arm(Hold(endpoint="message", part=Part.ANSWER, nth=5))
        sender = zygote().start(order)
        assert hold.reached.wait(PATIENCE_SECONDS)
        proxy.wait_for("message", len(labels))
        assert sender.kill() == -signal.SIGKILL
        assert state_at_death(paths) == "released"
        hold.release(Fate.DROPPED)
        assert hold.ended.wait(PATIENCE_SECONDS)

        assert zygote().start(order).wait() == 0

        with duckdb.connect(paths.database) as connection:
            rows = connection.execute(
                "SELECT status, service_tier, count(*) FROM public.answers GROUP BY ALL"
            ).fetchall()
        assert rows == [("succeeded", "standard", len(labels))]
        n_twice = len(emulator.audit.live()) - len(labels)
        assert 1 <= n_twice <= 8
        assert reported(paths)[DUPLICATES] == n_twice
    emulator.close()


def test_the_judge_sees_what_it_is_there_for() -> None:
    """A lost row, one too many, a bill paid twice in silence, a document in a log: counted, and told in words."""
    labels = {"a": "war", "b": "economy", "c": "war"}
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    with scratch() as path, scratch() as elsewhere, serving(emulator) as url:
        for place in (path, elsewhere):  # the second knows nothing of the first
            JobPaths(folder=place).write([(key, WORDS[label] + key, "1790-01-01") for key, label in labels.items()])
            assert zygote().start(Order(folder=str(place), url=url)).wait() == 0
        paths = JobPaths(folder=path)
        with duckdb.connect(paths.database) as connection:
            connection.execute("DELETE FROM public.answers WHERE id = 'a'")
            connection.execute("INSERT INTO public.answers SELECT * FROM public.answers WHERE id = 'b'")
        paths.log.write_text(DOCUMENT)
        verdict = judge(paths, labels, emulator, foreign=())
    emulator.close()

    assert (verdict.n_lost, verdict.n_duplicate_rows, verdict.n_unreported_double_bills) == (1, 1, 3)
    assert len(verdict.complaints) == 5
    assert verdict.complaints[-1] == "the key or a document is in ['runs.log']"


def test_one_job_in_three_has_a_budget() -> None:
    """Some of those that are killed on every push among them."""
    drawn = [seed for seed in range(1_000) if RisingBudget.drawn(seed, long=False)]

    assert len(drawn) == pytest.approx(1_000 / 3, rel=0.1)
    assert {*drawn} & {*range(FIRST_SEED, FIRST_SEED + N_KILLS // KILLS_PER_JOB)}


def test_the_judge_sees_what_is_beyond_a_budget() -> None:
    """Too much on the bill; and a row without money that was paid for all the same, or where there is no budget."""
    labels = {"a": "war", "b": "economy", "c": "war"}
    emulator = Emulator(clock=SystemClock(), batch_seconds=0)
    with scratch() as path, serving(emulator) as url:
        paths = JobPaths(folder=path)
        paths.write([(key, WORDS[label] + key, "1790-01-01") for key, label in labels.items()])
        assert zygote().start(Order(folder=str(path), url=url)).wait() == 0
        half = Budget(usd=billed_usd(emulator) / 2, per="month")
        narrow = judge(paths, labels, emulator, foreign=(), budget=half)
        with duckdb.connect(paths.database) as connection:
            connection.execute(
                "UPDATE public.answers SET status = 'blocked', label = NULL, error = ? WHERE id = 'a'", [NO_MONEY]
            )
        poor = judge(paths, labels, emulator, foreign=(), budget=DOLLAR)
        rich = judge(paths, labels, emulator, foreign=())
    emulator.close()

    assert narrow.complaints == [f"{2 * half.usd:.6f} USD were billed, and the budget was {half.usd:.6f}"]
    assert (poor.n_lost, poor.complaints) == (1, ["1 documents were paid for and have no good answer"])
    assert rich.n_lost == 1
