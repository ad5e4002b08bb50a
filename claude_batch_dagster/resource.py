"""The resource that assets share: the client, the database, and how patiently to work."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import Field

from claude_batch_dagster.client import Anthropic, AnthropicBatches, HurriedBatches, check_base_url, new_client
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.ledger import Ledger
from claude_batch_dagster.core.ports import OpenUpstream
from claude_batch_dagster.core.reporting.gold import GoldSource
from claude_batch_dagster.core.reviewing import Drawn
from claude_batch_dagster.core.sending.chunks import Limits
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.engine import Engine, Pacing, open_upstream, warehouse_of
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.review import Reviewing, draw_review
from claude_batch_dagster.stores import Stores
from claude_batch_dagster.trials import TrialStore

PATIENCE_SECONDS = 15.0
"""How long a sensor waits for a file, the ledger or the API: Dagster ends a tick that takes 60 seconds."""

HAS_PASSWORD = re.compile(r"[^/]+://[^/@]*:[^/@]+@")
LOOKS_LIKE_A_KEY = re.compile(r"sk-.+|[A-Za-z0-9_-]{40,}")

SECRET_NAME = re.compile(r"auth|cookie|key|token|secret|password", re.IGNORECASE)
"""What the name of a header says that holds a secret."""

BETA = "anthropic-beta"

OURS = {"x-api-key": "api_key", "anthropic-workspace-id": "workspace_id"}
"""Headers that have a setting of their own."""


class ClaudeBatchResource(dg.ConfigurableResource[None]):
    """
    Claude's Message Batches API, the DuckDB database of documents and answers, and a ledger of both.

    Example:
        ```python
        ClaudeBatchResource(
            api_key=dg.EnvVar("ANTHROPIC_API_KEY"),
            database=DuckDBResource(database="warehouse.duckdb"),
        )
        ```

    """

    api_key: str = Field(
        description="The API key, as dg.EnvVar('ANTHROPIC_API_KEY'). A key written out here would be shown in "
        "the Dagster UI and is refused.",
        repr=False,
    )
    base_url: str | None = Field(
        default=None,
        description="Base URL of the API; default https://api.anthropic.com. https, or loopback.",
    )
    workspace_id: str | None = Field(
        default=None,
        description="Workspace to run in, for keys that may act in several. A pipeline of real weight deserves "
        "a workspace of its own: then every batch listed there is its.",
    )
    default_headers: dict[str, str] = Field(
        default={},
        description="Headers for every call, such as those of a gateway; secrets as dg.EnvVar.",
        repr=False,
    )
    betas: list[str] = Field(
        default=[],
        description="Beta features for every call (the header anthropic-beta). They may change answers, so rows "
        "that were answered with others are asked again.",
    )
    database: dg.ResourceDependency[DuckDBResource]
    state_directory: str | None = Field(
        default=None,
        description="Folder for the ledger, raw results and locks; default .claude_batch beside the DuckDB file. What "
        "is in it only its owner can read. Keep it: it is the memory of what was paid for.",
    )
    ledger_url: str | None = Field(
        default=None,
        description="SQLAlchemy URL of the ledger; default ledger.sqlite in the state directory. With Postgres the "
        "locks are the server's as well. Raw results are in the state directory in any case, so runs of an asset that "
        "share it find each other's; others download them again.",
    )
    poll_interval_seconds: float = Field(default=10.0, gt=0, description="Seconds until a batch is first asked after.")
    max_poll_interval_seconds: float = Field(
        default=60.0, gt=0, description="Seconds between two looks at most, once nothing changes."
    )
    poll_interval_growth: float = Field(
        default=1.5, ge=1, description="Factor by which the interval grows while nothing changes."
    )
    max_requests_per_batch: int = Field(
        default=10_000, ge=1, le=100_000, description="Requests in one batch at most. The API takes 100,000."
    )
    max_bytes_per_batch: int = Field(
        default=64_000_000,
        ge=1_000,
        le=240_000_000,
        description="Bytes of one batch at most. The API takes 256 MB.",
    )
    max_unconfirmed_usd: float | None = Field(
        default=None,
        gt=0,
        description="US dollars that one batch can cost at most, by an upper bound: what the one case that can pay "
        "twice pays at a time. A document that can cost more travels alone. Default: no limit but requests and bytes.",
    )
    max_requests_in_flight: int = Field(
        default=100_000,
        ge=1,
        description="Requests waiting at the API at most, for one asset. The lowest usage tier queues 200,000 in all.",
    )
    max_live_requests: int = Field(
        default=8,
        ge=1,
        le=100,
        description="Requests that are asked at the same time where rows do not wait for a batch (deadline, "
        "small_batches).",
    )
    quiet_period_seconds: float = Field(
        default=900.0,
        ge=0,
        description="How long a batch whose acceptance is not known must be absent from the API's list, in "
        "seconds, before on_unconfirmed decides.",
    )
    on_unconfirmed: Literal["resubmit", "hold"] = Field(
        default="resubmit",
        description="After the quiet period: 'resubmit' sends the rows again (the one case that can pay twice, "
        "one batch at a time), 'hold' waits for a person.",
    )
    on_terminate: Literal["cancel", "leave"] = Field(
        default="cancel",
        description="When a person terminates the run: 'cancel' the batches at the API, or 'leave' them running. "
        "Either way the next run lands what was answered.",
    )
    lock_timeout_seconds: float = Field(
        default=120.0,
        ge=0,
        description="How long to wait for another process to let go of the DuckDB file, in seconds.",
    )

    def get_resource_definition(self) -> Any:
        """Refuse a key or a password written out in code: Dagster would store it and show it."""
        key = self.api_key
        if not isinstance(key, dg.EnvVar) and LOOKS_LIKE_A_KEY.fullmatch(key):
            raise ConfigurationError(
                "api_key is written out in code (or read with os.environ at load time), so Dagster would store it and "
                "show it in its UI. Write api_key=dg.EnvVar('ANTHROPIC_API_KEY') instead."
            )
        if self.base_url is not None and not isinstance(self.base_url, dg.EnvVar):
            check_base_url(self.base_url)
        if (
            self.ledger_url is not None
            and not isinstance(self.ledger_url, dg.EnvVar)
            and HAS_PASSWORD.match(self.ledger_url)
        ):
            raise ConfigurationError(
                "ledger_url holds a password written out in code, so Dagster would store it and show it in its UI. "
                "Write ledger_url=dg.EnvVar('LEDGER_URL') instead."
            )
        for name, value in self.default_headers.items():
            _check_header(name, value)
        return super().get_resource_definition()

    def get_client(self) -> Anthropic:
        """
        Return the SDK's client for this key, workspace and base URL.

        It does not retry and follows no redirect; see `claude_batch_dagster.client.new_client`.
        """
        key = self.api_key
        if not key or not key.isascii() or not key.isprintable() or key != key.strip():
            raise ConfigurationError(
                "api_key is empty, or holds white space or characters that no key has. Nothing was sent. Check the "
                "environment variable it comes from."
            )
        headers = {**self.default_headers}
        if self.betas:
            named = [value for name, value in headers.items() if name.lower() == BETA]
            headers = {name: value for name, value in headers.items() if name.lower() != BETA}
            headers[BETA] = ",".join([*named, *self.betas])
        return new_client(api_key=key, base_url=self.base_url, workspace_id=self.workspace_id, headers=headers)

    def open_engine(self, task: Task, *, run_id: str) -> Engine:
        """Open everything one run needs; raise before money is spent if something of it cannot work."""

        def open_api() -> AnthropicBatches:
            return AnthropicBatches(self.get_client(), workspace_id=self.workspace_id)

        return Engine.opened(self._stores(), task, open_api=open_api, pacing=self._pacing(), run_id=run_id)

    def open_upstream(self, upstream: Upstream) -> AbstractContextManager[OpenUpstream]:
        """Open the database for a sensor's look at the upstream table."""
        return open_upstream(self._stores(hurried=True), upstream)

    def draw_review(self, reviewing: Reviewing) -> Drawn:
        """Write the rows of a review into the database, and files of them if they are wanted."""
        return draw_review(self._stores(), reviewing)

    def trial_store(self, source: GoldSource) -> TrialStore:
        """Return what a trial with these gold rows reads and writes; nothing is opened yet."""
        return TrialStore(warehouse=warehouse_of(self._stores()), source=source)

    def open_ledger(self, *, hurried: bool = False) -> AbstractContextManager[Ledger]:
        """Open the ledger alone: for a look at what is on its way, while anything else may be in use."""
        return self._stores(hurried=hurried).ledger()

    @contextmanager
    def open_api(self, *, hurried: bool = False) -> Iterator[AnthropicBatches]:
        """Open the batch API alone."""
        client, workspace_id = self.get_client(), self.workspace_id
        api = (
            HurriedBatches(client, workspace_id=workspace_id, patience_seconds=PATIENCE_SECONDS)
            if hurried
            else AnthropicBatches(client, workspace_id=workspace_id)
        )
        try:
            yield api
        finally:
            api.close()

    def _stores(self, *, hurried: bool = False) -> Stores:
        stores = Stores(
            database=self.database.database,
            database_config=self.database.connection_config,
            connect=self.database.get_connection if _opens_otherwise(self.database) else None,
            state_directory=self.state_directory,
            ledger_url=self.ledger_url,
            lock_timeout_seconds=self.lock_timeout_seconds,
        )
        if not hurried:
            return stores
        wait = min(PATIENCE_SECONDS, self.lock_timeout_seconds)
        return replace(stores, lock_timeout_seconds=wait, busy_seconds=PATIENCE_SECONDS)

    def _pacing(self) -> Pacing:
        return Pacing(
            limits=Limits(
                max_requests=self.max_requests_per_batch,
                max_bytes=self.max_bytes_per_batch,
                max_usd=self.max_unconfirmed_usd,
            ),
            max_requests_in_flight=self.max_requests_in_flight,
            poll_seconds=self.poll_interval_seconds,
            max_poll_seconds=max(self.poll_interval_seconds, self.max_poll_interval_seconds),
            poll_growth=self.poll_interval_growth,
            quiet_period=timedelta(seconds=self.quiet_period_seconds),
            on_unconfirmed=self.on_unconfirmed,
            max_live_requests=self.max_live_requests,
        )


def _opens_otherwise(database: DuckDBResource) -> bool:
    """Whether it is of a class of the user's, which attaches databases, loads extensions, sets secrets."""
    return type(database).get_connection is not DuckDBResource.get_connection


def _check_header(name: str, value: str) -> None:
    if setting := OURS.get(name.lower()):
        raise ConfigurationError(f"default_headers must not hold {name}: set {setting} instead.")
    if not isinstance(value, dg.EnvVar) and (SECRET_NAME.search(name) or LOOKS_LIKE_A_KEY.fullmatch(value)):
        raise ConfigurationError(
            f"default_headers holds what looks like a secret in {name}, written out in code, so Dagster would store it "
            f"and show it in its UI. Write {{{name!r}: dg.EnvVar('GATEWAY_TOKEN')}} instead."
        )
