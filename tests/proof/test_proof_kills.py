import signal

import duckdb
import pytest

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from proof.canary import DOCUMENT
from proof.kills import KILLS_PER_JOB, run
from proof.kills.holds import PATIENCE_SECONDS, Fate, Hold, Part
from proof.kills.judge import DUPLICATES, judge, reported, state_at_death
from proof.kills.order import WORDS, Order
from proof.kills.paths import JobPaths
from proof.kills.processes import zygote
from proof.kills.proxy import proxied
from proof.scratch import scratch

pytestmark = pytest.mark.verify

N_KILLS, N_PARTS = 30, 3
FIRST_SEED = 80
"""From here on ten jobs in a row are killed in every way there is."""

FIFTH = 0.2


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
