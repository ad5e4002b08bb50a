"""What can happen at a site, one thing after another: runs, and what goes on around them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proof.simulation.runs import Order, Ran, run
from proof.simulation.side_by_side import run_side_by_side
from proof.simulation.site import Site


class Act(Protocol):
    """One thing that happens."""

    def do(self, site: Site) -> Sequence[Ran]:
        """Let it happen; return the runs that were part of it."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of the engine, which may die."""

    order: Order

    def do(self, site: Site) -> Sequence[Ran]:
        """Run to the end or to the death."""
        return [run(site, self.order)]


@dataclass(frozen=True, kw_only=True)
class TwoRuns:
    """Two runs at the same time, in processes of their own."""

    orders: tuple[Order, Order]
    seed: int
    """Says who goes on whenever both could."""

    def do(self, site: Site) -> Sequence[Ran]:
        """Let them take turns until both have ended."""
        return run_side_by_side(site, self.orders, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A fault of the emulator, a few times."""

    name: str
    options: Mapping[str, Any]

    def do(self, site: Site) -> Sequence[Ran]:
        """Put it in force."""
        site.emulator.faults.add(self.name, **self.options)
        return []


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Somebody changes the documents of a partition."""

    partition: str
    texts: Mapping[int, str]

    def do(self, site: Site) -> Sequence[Ran]:
        """Replace them all."""
        site.set_documents(self.partition, self.texts)
        return []


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Somebody cancels, in the Console, every batch that has not ended."""

    def do(self, site: Site) -> Sequence[Ran]:
        """Cancel ours."""
        site.cancel_open_batches()
        return []


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Time passes while nobody runs."""

    seconds: float

    def do(self, site: Site) -> Sequence[Ran]:
        """Let it pass."""
        site.pass_time(self.seconds)
        return []


@dataclass(frozen=True, kw_only=True)
class LoseTable:
    """Somebody drops the output table."""

    def do(self, site: Site) -> Sequence[Ran]:
        """Drop it."""
        site.lab.duckdb.execute("DROP TABLE IF EXISTS main.answers")
        return []


@dataclass(frozen=True, kw_only=True)
class LoseSpool:
    """Somebody deletes raw results whose answers are in the table, as they may."""

    def do(self, site: Site) -> Sequence[Ran]:
        """Delete them."""
        site.delete_landed_spools()
        return []


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """The ledger is closed, and opened by a process that brings its upgrades."""

    def do(self, site: Site) -> Sequence[Ran]:
        """Open it anew."""
        site.lab.reopen_ledger()
        return []
