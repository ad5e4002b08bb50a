"""Dagster and the ledger in one Postgres database, as `pip install 'claude-batch-dagster[postgres]'` brings them."""

from pathlib import Path

import pytest

from tests.soak.installed import install, run
from tests.storage.postgres_server import PostgresServer

RUN = """
import os
import dagster as dg, duckdb
from dagster_duckdb import DuckDBResource
from claude_batch_dagster import ClaudeBatchResource, build_classification_asset
from claude_batch_dagster.emulator import Emulator, SystemClock, serving

with duckdb.connect("warehouse.duckdb", config={"custom_user_agent": "dagster"}) as connection:
    connection.execute("CREATE SCHEMA IF NOT EXISTS public")
    connection.execute("CREATE OR REPLACE TABLE public.tickets AS SELECT 't1' AS id, 'refund the payment' AS text")
asset = build_classification_asset(
    name="answers", upstream="tickets", labels={"billing": "payment, refund", "other": "the rest"}
)
emulator = Emulator(clock=SystemClock(), batch_seconds=0)
with serving(emulator) as base_url, dg.DagsterInstance.get() as instance:
    resource = ClaudeBatchResource(
        api_key=dg.EnvVar("ANTHROPIC_API_KEY"),
        base_url=base_url,
        database=DuckDBResource(database="warehouse.duckdb"),
        ledger_url=dg.EnvVar("LEDGER_URL"),
    )
    for _ in range(2):
        assert dg.materialize([asset], instance=instance, resources={"claude_batch": resource}).success
    assert "Postgres" in type(instance.event_log_storage).__name__
    assert len(instance.get_run_records()) == 2
assert emulator.audit.n_posts() == 1
"""


@pytest.mark.soak
@pytest.mark.skipif(not PostgresServer.is_there(), reason="needs a Postgres server (initdb on the PATH)")
@pytest.mark.parametrize("first", ["dagster", "ledger"])
def test_dagster_and_the_ledger_share_a_database(tmp_path: Path, first: str) -> None:
    """Runs work on an instance on Postgres, with our ledger in the same database, whichever came first."""
    python = install(tmp_path, extra="[postgres]")
    with PostgresServer.at(tmp_path / "pg") as server:
        url = server.url.replace("+psycopg", "")
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "dagster.yaml").write_text(f"storage:\n  postgres:\n    postgres_url: {url}\n")
        if first == "ledger":
            ledger = f"from claude_batch_dagster.storage.ledger.sql_ledger import SqlLedger; SqlLedger({url!r})"
            run(python, ledger, tmp_path)
        run(python, RUN, tmp_path, DAGSTER_HOME=str(tmp_path / "home"), LEDGER_URL=url)
