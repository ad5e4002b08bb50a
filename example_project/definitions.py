"""Everything Dagster should know, put together for one set of settings."""

from pathlib import Path
from typing import Any

import dagster as dg
from dagster_duckdb import DuckDBResource

from claude_batch_dagster import ClaudeBatchResource
from example_project.assets import (
    classified_documents,
    classified_documents_submission,
    documents,
    themes_by_decade,
)
from example_project.offline import Emulator
from example_project.sensors import changed_documents, collect, current_year_every_morning, new_documents
from example_project.settings import Settings
from example_project.unsure import cascaded_documents, cascaded_documents_review
from example_project.warehouse import duckdb_resource

# The emulator asks for no key, but a request without one is no request.
_NO_KEY = "none-needed-offline"
_OFFLINE_POLL_SECONDS = 1.0
_OFFLINE_QUIET_PERIOD_SECONDS = 10.0
_OFFLINE_MAX_REQUESTS_PER_BATCH = 2_000


class OfflineClaudeBatchResource(ClaudeBatchResource):
    """Makes sure that the emulator runs before anybody talks to it."""

    home: str

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Start the emulator unless it runs."""
        Emulator(home=Path(self.home)).ensure_running(str(self.base_url))
        super().setup_for_execution(context)


def build_definitions(settings: Settings) -> dg.Definitions:
    """Return the code location; offline, this decides where the emulator will be but does not start it."""
    # It holds what was asked and answered, so it is for its owner only.
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = duckdb_resource(settings)
    return dg.Definitions(
        assets=[
            documents,
            classified_documents,
            classified_documents_submission,
            themes_by_decade,
            cascaded_documents,
            cascaded_documents_review,
        ],
        sensors=[changed_documents, new_documents, collect],
        schedules=[current_year_every_morning],
        resources={"database": database, "claude_batch": _claude(settings, database)},
    )


def _claude(settings: Settings, database: DuckDBResource) -> ClaudeBatchResource:
    common: dict[str, Any] = {"database": database, "state_directory": str(settings.home), **_pace(settings)}
    if settings.offline:
        emulator = Emulator(home=settings.home)
        return OfflineClaudeBatchResource(
            home=str(settings.home), api_key=_NO_KEY, base_url=emulator.reserve(), **common
        )
    key = dg.EnvVar("ANTHROPIC_API_KEY") if settings.api_key_is_set else _NO_KEY
    return ClaudeBatchResource(api_key=key, base_url=settings.base_url, **common)


def _pace(settings: Settings) -> dict[str, Any]:
    """Return what the environment sets, else the resource's defaults; offline nobody waits for a service."""
    wanted = {
        "poll_interval_seconds": settings.poll_seconds,
        "max_poll_interval_seconds": settings.poll_seconds,
        "quiet_period_seconds": settings.quiet_period_seconds,
        "max_requests_per_batch": settings.max_requests_per_batch,
    }
    offline = {
        "poll_interval_seconds": _OFFLINE_POLL_SECONDS,
        "max_poll_interval_seconds": _OFFLINE_POLL_SECONDS,
        "quiet_period_seconds": _OFFLINE_QUIET_PERIOD_SECONDS,
        "max_requests_per_batch": _OFFLINE_MAX_REQUESTS_PER_BATCH,
    }
    chosen = {name: value for name, value in wanted.items() if value is not None}
    return offline | chosen if settings.offline else chosen
