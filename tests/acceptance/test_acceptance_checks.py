"""Trouble at the API shows where people look: in the table, and on the checks page."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import duckdb
import pytest

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from tests.acceptance.visitor import Visitor, dagster_dev
from tests.canary import KEY
from tests.dagster_dev import DagsterDev

WriteDocuments = Callable[[Mapping[str, int]], Path]

pytestmark = [pytest.mark.dagster, pytest.mark.browser]


@pytest.fixture
def emulator() -> Emulator:
    """Return an emulator whose batches end at once."""
    return Emulator(clock=SystemClock(), batch_seconds=0.2, seed=7)


@pytest.fixture
def dev(emulator: Emulator, tmp_path: Path, write_documents: WriteDocuments) -> Iterator[DagsterDev]:
    """`dagster dev` on three years of documents; the second has none."""
    documents = write_documents({"1790": 150, "1792": 40})
    with (
        serving(emulator) as url,
        dagster_dev(
            tmp_path / "home",
            ANTHROPIC_BASE_URL=url,
            ANTHROPIC_API_KEY=KEY,
            EXAMPLE_DOCUMENTS=str(documents),
            EXAMPLE_POLL_SECONDS="0.2",
        ) as running,
    ):
        assert running.materialize("documents", "1790", "1792") == "SUCCESS"
        yield running


CHECKS = """
{ assetNodeOrError(assetKey: {path: ["classified_documents"]}) { ... on AssetNode { assetChecksOrError {
  ... on AssetChecks { checks { name executionForLatestMaterialization { evaluation { success severity } } } }
} } } }
"""


def evaluations(dev: DagsterDev) -> dict[str, object]:
    """Return what the UI knows of each check."""
    checks = dev.graphql(CHECKS)["assetNodeOrError"]["assetChecksOrError"]["checks"]
    return {check["name"]: check["executionForLatestMaterialization"]["evaluation"] for check in checks}


def share(home: Path, year: str, status: str) -> float:
    """Return the share of a year's rows with this status."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        query = "SELECT avg((status = ?)::DOUBLE) FROM public.classified_documents WHERE partition_key = ?"
        row = connection.execute(query, [status, year]).fetchone()
    assert row is not None
    return float(row[0])


def test_errors_and_expiry_turn_the_checks(
    emulator: Emulator, dev: DagsterDev, tmp_path: Path, visitor: Visitor
) -> None:
    """Some errored rows make error_rate warn; a year of expired rows makes expiry_rate and complete fail."""
    emulator.faults.add("invalid_request", times=6)
    assert dev.materialize("classified_documents", "1790", "1790") == "SUCCESS"
    emulator.faults.clear()
    errors = share(tmp_path / "home", "1790", "errored")
    page = f"{dev.url}/assets/classified_documents?view=checks&checkDetail="

    warned = visitor.visit(f"{page}error_rate", expect="Latest execution", picture="checks_warning")

    warnings = evaluations(dev)
    emulator.faults.add("expired")
    assert dev.materialize("classified_documents", "1791", "1792") == "SUCCESS"
    failed = visitor.visit(f"{page}expiry_rate", expect="Latest execution", picture="checks_failure")
    failures = evaluations(dev)

    assert errors == 6 / 150
    assert str(errors)[:6] in warned
    assert warnings["error_rate"] == {"success": False, "severity": "WARN"}
    assert share(tmp_path / "home", "1792", "expired") == 1
    assert "1 of 2 partitions does not pass; the worst is 1792" in failed
    assert failures["expiry_rate"] == failures["complete"] == {"success": False, "severity": "ERROR"}
    assert visitor.errors == []
