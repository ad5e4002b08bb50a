"""One family of assets as a test sees it: its database, its runs, and its share of what the emulator was sent."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from claude_batch_dagster.emulator import Emulator
from tests.live.documents import write_years
from tests.live.live_dev import LiveDev

LONG = 3_600.0
"""Seconds that a batch takes if the test wants to see it wait; the emulator's clock is pushed on when it has."""


@dataclass(kw_only=True)
class LiveWorld:
    """A family in a running `dagster dev`."""

    family: str
    home: Path
    emulator: Emulator
    dev: LiveDev
    n_posts_before: int = field(init=False)
    n_requests_before: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_posts_before = self.emulator.audit.n_posts()
        self.n_requests_before = len(list(self.emulator.audit.requests()))

    @property
    def answers(self) -> str:
        """The asset of answers."""
        return f"{self.family}/answers"

    # --- the API -----------------------------------------------------------------------------------

    def hold(self) -> None:
        """Let batches that are accepted from now on run until `release`."""
        self.emulator.pace.batch_seconds = LONG

    def release(self) -> None:
        """Let all batches end, those that run and those to come."""
        self.emulator.pace.batch_seconds = 0
        self.emulator.advance(seconds=LONG)

    @property
    def n_posts(self) -> int:
        """How often this test has tried to create a batch."""
        return self.emulator.audit.n_posts() - self.n_posts_before

    @property
    def n_sent(self) -> int:
        """Requests accepted in this test."""
        return len(self._requests())

    @property
    def paid_twice(self) -> list[str]:
        """Digests of params that were answered, and so paid for, more than once."""
        paid = Counter(request.params_sha256 for request in self._requests() if request.billed)
        return [digest for digest, n in paid.items() if n > 1]

    @property
    def n_paid(self) -> int:
        """Requests of this test that were answered, and so paid for."""
        return sum(request.billed for request in self._requests())

    def standings(self) -> list[str]:
        """Return what the API says of each batch of this test, oldest first."""
        batches = list(dict.fromkeys(request.batch_id for request in self._requests()))
        headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
        replies = [self.emulator.handle("GET", f"/v1/messages/batches/{batch}", headers, b"") for batch in batches]
        return [str(reply.json()["processing_status"]) for reply in replies]

    def _requests(self) -> list[Any]:
        return list(self.emulator.audit.requests())[self.n_requests_before :]

    # --- the database ------------------------------------------------------------------------------

    def write(self, *years: str, per_year: int = 2) -> None:
        """Write documents of these years, as somebody may do outside of Dagster."""
        with self.database() as connection:
            write_years(connection, self.family, list(years), per_year)

    def statuses(self) -> dict[str, int]:
        """Count the answers by verdict."""
        with self.database() as connection:
            query = f'SELECT status, count(*)::INT FROM "{self.family}".answers GROUP BY ALL'  # noqa: S608  (names of our own)
            return dict(connection.execute(query).fetchall())

    def answered(self, *years: str) -> int:
        """Count the usable answers of these years."""
        with self.database() as connection:
            query = f"SELECT partition_key FROM \"{self.family}\".answers WHERE status = 'succeeded'"  # noqa: S608  (as above)
            return sum(year in years for (year,) in connection.execute(query).fetchall())

    @contextmanager
    def database(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the database once nobody else has it open."""
        with closing(self._connect(deadline=time.monotonic() + 60)) as connection:
            yield connection

    def _connect(self, *, deadline: float) -> duckdb.DuckDBPyConnection:
        while True:
            try:
                return duckdb.connect(str(self.home / f"{self.family}_warehouse.duckdb"))
            except duckdb.IOException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


WorldOf = Callable[[str], LiveWorld]
"""Gives the world of a family in the `dagster dev` that tests share."""
