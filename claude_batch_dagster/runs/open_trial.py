"""A trial that is opened: an engine for each candidate, over the rows that have a gold row."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Self

import dagster as dg

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.planning.forecast import Forecast
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.engine import Engine
from claude_batch_dagster.errors import ConfigurationError, GoldError
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.runs.candidates import CandidateTask, Trials
from claude_batch_dagster.runs.partitions import all_keys, partitions_of_keys
from claude_batch_dagster.trials import GoldRowsUpstream, TrialStore


@dataclass(frozen=True, kw_only=True)
class OpenTrial:
    """Everything of one trial, opened together."""

    trials: Trials
    store: TrialStore
    rows: GoldRowsUpstream
    engines: Sequence[Engine]
    """One for each candidate, in their order."""

    @classmethod
    @contextmanager
    def opened(
        cls,
        trials: Trials,
        resource: ClaudeBatchResource,
        open_engine: Callable[[Task], Engine],
        instance: dg.DagsterInstance,
    ) -> Iterator[Self]:
        """Open everything that the trial needs; raise before money is spent if something of it cannot work."""
        store = resource.trial_store(trials.gold.source)
        partitions_of = _partitions_of(trials.partitions_def, instance)
        rows = store.gold_rows_of(trials.own.upstream, trials.own.target, partitions_of)
        with ExitStack() as stack:
            engines: list[Engine] = []
            for candidate in trials.candidates:
                engine = open_engine(replace(candidate.task, upstream=rows.upstream))
                stack.callback(engine.close)
                engines.append(engine)
            yield cls(trials=trials, store=store, rows=rows, engines=engines)

    @property
    def candidates(self) -> Iterator[tuple[CandidateTask, Engine]]:
        """Each candidate with its engine."""
        return zip(self.trials.candidates, self.engines, strict=True)

    @property
    def partitions(self) -> Sequence[Partition]:
        """The partitions in which the rows are asked."""
        return self.rows.partitions

    def plan(self) -> Mapping[str, Forecast]:
        """
        Say of each candidate what would be sent, and do nothing of it.

        Raises `GoldError` if no gold row is upstream.
        """
        forecasts = {candidate.name: engine.plan(self.partitions) for candidate, engine in self.candidates}
        if not any(forecast.rows.total() for forecast in forecasts.values()):
            raise GoldError(
                f"of the gold rows, {self.store.source.shown_as}, none is among the rows of the upstream "
                f"{self.trials.own.upstream.shown_as}: no key of the one is a key of the other. Nothing was sent."
            )
        return forecasts

    def check(self) -> None:
        """
        Raise `ConfigurationError` if the table itself has on its way what a candidate would ask.

        One table does not see what another has on its way, so gold rows could be paid for twice.
        """
        own = self.trials.own.pipeline
        for candidate, engine in self.candidates:
            if n := engine.on_the_way_to(own):
                raise ConfigurationError(
                    f"table {own} has {n:,} requests on their way that ask what the candidate {candidate.name} asks, "
                    "and gold rows may be among them. Nothing was sent. Materialize the table first, so that its "
                    "answers land, and then the trial."
                )


def _partitions_of(
    partitions_def: dg.PartitionsDefinition[str] | None, instance: dg.DagsterInstance
) -> Callable[[Sequence[str]], Sequence[Partition]]:
    """Return what gives those of some partitions that there are."""

    def partitions_of(keys: Sequence[str]) -> Sequence[Partition]:
        wanted = set(keys)
        return partitions_of_keys(partitions_def, [key for key in all_keys(partitions_def, instance) if key in wanted])

    return partitions_of
