"""What each family of the live tests' code location has for itself: a database, a resource, a ledger."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from claude_batch_dagster import ClaudeBatchResource

LABELS = {"economy": "tax tariff trade money", "war": "army navy war battle", "other": "anything else"}

YEARS = dg.TimeWindowPartitionsDefinition(start="1780", end="2017", fmt="%Y", cron_schedule="0 0 1 1 *")
"""237 of them."""


@dataclass(frozen=True)
class Family:
    """One pipeline: documents, answers, and what is made of them."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the resource."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the asset."""
    lost_year: str = ""
    """The documents of this year cannot be made."""

    @property
    def database(self) -> DuckDBResource:
        """The family's database."""
        return DuckDBResource(database=str(Path(os.environ["LIVE_HOME"]) / f"{self.name}_warehouse.duckdb"))

    def resource(self) -> ClaudeBatchResource:
        """Return the resource, quick to poll."""
        given: dict[str, Any] = {
            "api_key": dg.EnvVar("CLAUDE_TEST_KEY"),
            "base_url": os.environ["LIVE_API"],
            "database": self.database,
            "state_directory": str(Path(os.environ["LIVE_HOME"]) / f"{self.name}_state"),
            "poll_interval_seconds": 0.2,
            "max_poll_interval_seconds": 0.5,
            "quiet_period_seconds": 1.0,
        }
        return ClaudeBatchResource(**{**given, **self.settings})


def told(family: str) -> dict[str, Any]:
    """Return the system prompt that a test has put down for a family, if it has: its code is edited that way."""
    prompt = Path(os.environ["LIVE_HOME"]) / f"{family}_prompt.txt"
    return {"system": prompt.read_text()} if prompt.exists() else {}
