"""What a person sees while the work goes on: a backfill, its run log, the sensor that collects."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from tests.acceptance.visitor import Visitor, dagster_dev
from tests.canary import KEY
from tests.live.live_dev import LiveDev
from tests.live.live_instance import DAGSTER_YAML, QUICK

WriteDocuments = Callable[[Mapping[str, int]], Path]

pytestmark = [pytest.mark.dagster, pytest.mark.browser, pytest.mark.soak]

PER_YEAR = 50
MINUTES = 40.0
"""How long a batch takes on the emulator's clock, which the test pushes on."""

EARLIER = [str(year) for year in range(1790, 1800)]
BACKFILLED = [str(year) for year in range(1800, 1830)]
BEGUN = [str(year) for year in range(1800, 1812)]
SUBMITTED = [str(year) for year in range(1830, 1833)]

SENSOR = "classified_documents_collect"


class LateClock(SystemClock):
    """As late as it will have been pushed on when the run log is shown, so that its times are those of the page."""

    def base(self) -> datetime:
        """Return the machine's time, an hour ago."""
        return super().base() - timedelta(minutes=1.5 * MINUTES)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Return an emulator whose batches take as long as Claude's do."""
    emulator = Emulator(clock=LateClock(), batch_seconds=MINUTES * 60, seed=7)
    yield emulator
    emulator.close()


@pytest.fixture
def dev(emulator: Emulator, tmp_path: Path, write_documents: WriteDocuments) -> Iterator[LiveDev]:
    """`dagster dev` on 43 years of documents."""
    documents = write_documents(dict.fromkeys([*EARLIER, *BACKFILLED, *SUBMITTED], PER_YEAR))
    instance = tmp_path / "home" / "dagster_home"
    instance.mkdir(parents=True)
    (instance / "dagster.yaml").write_text(DAGSTER_YAML + QUICK.format(most=20))
    with (
        serving(emulator) as url,
        dagster_dev(
            tmp_path / "home",
            ANTHROPIC_BASE_URL=url,
            ANTHROPIC_API_KEY=KEY,
            EXAMPLE_DOCUMENTS=str(documents),
            EXAMPLE_POLL_SECONDS="0.5",
            EXAMPLE_MAX_REQUESTS_PER_BATCH="100",
        ) as running,
    ):
        dev = LiveDev(running.url, running.log, running.process, running.location)
        dev.graphql("mutation { setNuxSeen }")  # no invitation in front of the pages
        assert dev.run("documents", EARLIER[0], SUBMITTED[-1]) == "SUCCESS"
        yield dev


def let_some_end(dev: LiveDev, emulator: Emulator) -> None:
    """Let five batches end, so that it is known how long they take; send some of what is to come."""
    run = dev.start("classified_documents", EARLIER[0], EARLIER[-1])
    dev.until_said(run, "5 batches open")
    emulator.advance(seconds=MINUTES * 60)
    assert dev.wait(run) == "SUCCESS"
    assert dev.run("classified_documents_submission", BEGUN[0], BEGUN[-1]) == "SUCCESS"
    emulator.advance(seconds=MINUTES * 30)


def test_the_work_is_seen_while_it_goes_on(emulator: Emulator, dev: LiveDev, visitor: Visitor) -> None:
    """A backfill counts its partitions, a run log its requests and minutes; the sensor says what it waits for."""
    let_some_end(dev, emulator)
    backfill = dev.backfill("classified_documents", keys=BACKFILLED)
    [run] = dev.until(lambda: dev.runs(dagster__backfill=backfill), "the backfill starts its run")
    dev.until_said(run["runId"], "15 batches open")
    emulator.advance(seconds=MINUTES * 45)
    log = dev.until_said(run["runId"], "600 landed; 9 batches open")

    assert "1,500 requests sent (600 of them by earlier runs), 600 ended" in log
    assert "Expected to end about" in log
    assert "batches of this table usually take 40 min" in log
    visitor.visit(f"{dev.url}/runs/{run['runId']}", expect="9 batches open", picture="run_log", height=900)
    text = visitor.visit(f"{dev.url}/runs/b/{backfill}", expect="In progress", picture="backfill", height=420)
    assert "classified_documents" in text

    emulator.advance(seconds=MINUTES * 60)
    assert dev.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    collect(dev, emulator)
    text = visitor.visit(
        f"{dev.url}/locations/example_project/sensors/{SENSOR}", expect="1 run requested", picture="sensor", height=760
    )
    assert "0 runs requested" in text
    assert visitor.errors == []


def collect(dev: LiveDev, emulator: Emulator) -> None:
    """Submit three years and let the sensor bring them home."""
    assert dev.run("classified_documents_submission", SUBMITTED[0], SUBMITTED[-1]) == "SUCCESS"
    with dev.sensing(SENSOR):
        dev.until_skipped(SENSOR, "3 partitions are submitted: their batches run")
        emulator.advance(seconds=MINUTES * 60)
        dev.until(lambda: set(SUBMITTED) <= dev.materialized("classified_documents"), "the answers are there")
