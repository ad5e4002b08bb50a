"""Who decides where Claude is unsure, on the paragraphs of the last years: the whole way, over a real socket."""

from pathlib import Path

import dagster as dg
import pytest
from dagster_duckdb import DuckDBResource

from claude_batch_dagster import ClaudeBatchResource
from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from example_project.assets import RANGE_END, RANGE_START, documents
from example_project.unsure import cascaded_documents, cascaded_documents_review
from example_project.warehouse import connected
from tests.canary import KEY


@pytest.mark.verify
@pytest.mark.filterwarnings("ignore:Asset job:UserWarning")
def test_both_models_decide_and_a_person_gets_a_queue(
    home: Path, database: DuckDBResource, instance: dg.DagsterInstance
) -> None:
    """The strong model decides some rows, the cheap one most; of sixty rows half are those it is least sure of."""
    span = {RANGE_START: "2021", RANGE_END: "2026"}
    assert dg.materialize([documents], instance=instance, resources={"database": database}, tags=span).success
    emulator = Emulator(clock=SystemClock(), batch_seconds=0, unlike_models=True)
    with serving(emulator) as url:
        claude = ClaudeBatchResource(
            api_key=KEY, base_url=url, database=database, state_directory=str(home), poll_interval_seconds=0.05
        )
        for asset in (cascaded_documents, cascaded_documents_review):
            assert dg.materialize([asset], instance=instance, resources={"claude_batch": claude}).success
    emulator.close()

    with connected(database) as connection:
        [(n,)] = connection.sql("SELECT count(*) FROM public.documents").fetchall()
        decided = dict(
            connection.sql("SELECT decided_by, count(*) FROM public.cascaded_documents GROUP BY ALL").fetchall()
        )
        queue = connection.sql(
            "SELECT reason, count(*), sum(weight) FROM public.cascaded_documents_review GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    assert set(decided) == {"claude-haiku-5-5", "claude-opus-5-5"}
    assert sum(decided.values()) == n
    assert 400 <= decided["claude-opus-5-5"] < n
    assert queue == [("audit", 30, pytest.approx(n - 30)), ("unsure", 30, 30.0)]
