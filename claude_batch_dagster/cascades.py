"""Between the two models of a cascade: which rows go up, and what the asset shows in the end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.reporting.cascade import AgreementRule, Decided, Pairs
from claude_batch_dagster.core.reporting.report import Standing
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.engine import Engine
from claude_batch_dagster.quality.threshold import Threshold, choose_threshold, pairs_needed
from claude_batch_dagster.storage.duckdb.cascading import Cascading, escalated_of
from claude_batch_dagster.storage.duckdb.collecting.output_table import OutputTable
from claude_batch_dagster.storage.duckdb.statistics import standings
from claude_batch_dagster.storage.duckdb.warehouse import exists


@dataclass(frozen=True, kw_only=True)
class CascadeTask:
    """What a cascade is: two questions to two models, and the table that shows who has decided."""

    final: TableName
    first: Task
    """What the cheap model is asked, of all rows."""
    second: Task
    """What the strong model is asked, of those that go up."""
    vote: Task | None
    """What the cheap model is asked a second time, in other words, of all rows; None where it says how sure it is."""
    rule: AgreementRule
    agreement: float
    """Of all rows, how many shall have the strong model's answer."""
    delta: float
    """In how many cases that may be broken."""
    n_pairs: int
    """Rows that go up in any case, to choose the threshold."""
    models: tuple[str, str]
    """The cheap one first."""

    @property
    def description(self) -> str:
        """Who is asked what, in Markdown."""
        cheap, strong = self.models
        return f"Rows of which `{cheap}` is unsure are decided by `{strong}`; `decided_by` says which are."

    @property
    def pipelines(self) -> Sequence[str]:
        """The names under which the ledger keeps what was sent."""
        return [task.pipeline for task in (self.first, self.vote, self.second) if task is not None]

    def reading(self, upstream: Upstream) -> "CascadeTask":
        """Return it for another upstream table."""
        return replace(
            self,
            first=replace(self.first, upstream=upstream),
            second=replace(self.second, upstream=upstream),
            vote=None if self.vote is None else replace(self.vote, upstream=upstream),
        )

    def of_rows_that_went_up(self) -> Task:
        """Return what the strong model is asked, of the rows that have gone up by now."""
        return replace(self.second, upstream=replace(self.second.upstream, only=escalated_of(self.final).sql))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The threshold of a run, and what it was chosen by."""

    threshold: Threshold | None
    """None where nothing can be promised: all rows go up."""
    n_pairs: int
    waiting: Sequence[str | None] = ()
    """Partitions for which nothing is decided yet: their part of the sample, or that of others, is not answered."""

    @property
    def value(self) -> float | None:
        """How sure is sure enough; None if nothing is."""
        return None if self.threshold is None else self.threshold.value


def check_table(engine: Engine, cascade: CascadeTask) -> None:
    """Raise `OutputModelError` if the asset's table cannot hold the answers, before any is paid for."""
    with engine.warehouse.connect() as connection, engine.warehouse.writing():
        if exists(connection, cascade.final):
            OutputTable(target=cascade.final, key_types={}, schema=cascade.first.schema).prepare(connection)


def raise_sample(engine: Engine, cascade: CascadeTask, partitions: Sequence[Partition]) -> None:
    """Let the rows go up by which the threshold is chosen, once the first model's questions are written down."""
    with engine.warehouse.connect() as connection, engine.warehouse.writing():
        cascading = _cascading(connection, cascade)
        cascading.prepare()
        cascading.raise_sample(_keys(partitions), cascade.n_pairs)


def raise_unsure(engine: Engine, cascade: CascadeTask, partitions: Sequence[Partition]) -> Chosen:
    """Choose the threshold by the rows that both models have answered, and let the rows below it go up."""
    with engine.warehouse.connect() as connection, engine.warehouse.writing():
        cascading, keys = _cascading(connection, cascade), _keys(partitions)
        chosen = _chosen(cascading.pairs(cascade.n_pairs), cascade)
        too_few = chosen.n_pairs < pairs_needed(agreement=cascade.agreement, delta=cascade.delta)
        hasty = chosen.threshold is None and too_few and bool(cascading.waiting())
        waiting = keys if hasty else cascading.waiting(keys)
        decided = [key for key in keys if key not in waiting]
        if decided:
            cascading.raise_unsure(decided, chosen.value)
    return replace(chosen, waiting=waiting)


def show(
    engine: Engine, cascade: CascadeTask, partitions: Sequence[Partition]
) -> tuple[Decided, dict[str | None, Standing]]:
    """Bring the asset's table up to date; return who has decided how many rows, and what the table holds now."""
    schema, keys = cascade.first.schema, _keys(partitions)
    with engine.warehouse.connect() as connection, engine.warehouse.writing():
        cascading = _cascading(connection, cascade)
        gone = [key for key in cascading.partitions() if key not in keys and not engine.is_partition(key)]
        decided = cascading.show(keys, schema, cascade.models, gone)
        held = standings(
            connection,
            cascade.final,
            keys,
            label=schema.categorical,
            shown=[*cascade.rule.key, *schema.columns, "status"],
        )
    return decided, held


def _chosen(pairs: Pairs, cascade: CascadeTask) -> Chosen:
    confidences = [float("nan") if one is None else float(one) for one in pairs.confidences]
    threshold = choose_threshold(
        confidences, pairs.agrees, agreement=cascade.agreement, delta=cascade.delta, n_rows=pairs.n_rows
    )
    return Chosen(threshold=threshold, n_pairs=len(pairs.agrees))


def _cascading(connection: Any, cascade: CascadeTask) -> Cascading:
    return Cascading(
        connection=connection,
        first=cascade.first.target,
        second=cascade.second.target,
        vote=None if cascade.vote is None else cascade.vote.target,
        final=cascade.final,
        rule=cascade.rule,
    )


def _keys(partitions: Sequence[Partition]) -> list[str | None]:
    return [partition.key for partition in partitions]
