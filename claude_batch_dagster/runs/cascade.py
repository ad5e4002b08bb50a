"""One run of an asset that two models answer: the cheap one all rows, the strong one those it is unsure of."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.cascades import CascadeTask, Chosen, check_table, raise_sample, raise_unsure, show
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.planning.wording import of_total
from claude_batch_dagster.core.reporting.cascade import Decided, joined
from claude_batch_dagster.core.reporting.report import Standing
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.engine import Engine, RunReport
from claude_batch_dagster.quality.field_quality import TableQuality
from claude_batch_dagster.quality.intervals import percent
from claude_batch_dagster.quality.threshold import pairs_needed
from claude_batch_dagster.runs.asking import Asker
from claude_batch_dagster.runs.plan import tell_plan


@dataclass(kw_only=True)
class CascadeRun:
    """
    Asks both models, each by an engine of its own: what is paid once, kept and taken up again is so for both.

    Which rows go up is written down before any of them is sent, and stays so until a row asks something else.
    """

    asker: Asker
    cascade: CascadeTask
    quality: TableQuality | None = field(default=None, init=False)
    """How right the table is, once it has run."""
    decided: Decided = field(default_factory=Decided, init=False)
    """How many rows were decided by whom, in the end."""
    chosen: Chosen | None = field(default=None, init=False)
    """The threshold."""

    def run(self) -> RunReport:
        """Bring every row to its verdict by one model or the other, and the asset's table up to date."""
        partitions, cascade = self.asker.partitions, self.cascade
        with ExitStack() as stack:  # engines stay open: whoever stops the run stops what all of them have sent
            first, second = (stack.enter_context(self.asker.engine(task)) for task in (cascade.first, self._up))
            vote = None if cascade.vote is None else stack.enter_context(self.asker.engine(cascade.vote))
            sent = self._send(first, vote, second, partitions)
            reports = [self._answered(first, partitions)]
            if not reports[0].failure and vote is not None:
                reports.append(self._answered(vote, partitions))
            if not reports[-1].failure:
                reports += self._escalate(first, second, partitions)
            self.decided, held = show(first, cascade, partitions)
            self.quality = self.asker.measured(first, cascade.final)
        if self.decided.n_waiting:
            waiting = counted(self.decided.n_waiting, "row that went up has", "rows that went up have")
            self._log.warning("%s no usable answer of %s; the next run asks again", waiting, cascade.models[1])
        return _joined(reports, held, sent)

    def _send(
        self, first: Engine, vote: Engine | None, second: Engine, partitions: list[Partition]
    ) -> Counter[str | None]:
        """Send what is known to be needed, to all models at the same time; return how many requests, by partition."""
        sent = Counter[str | None]()
        check_table(first, self.cascade)
        for engine in (first, vote, second):
            if engine is second:
                raise_sample(first, self.cascade, partitions)
            if engine is not None:
                self.asker.limit(engine)
                n_asked = Counter(engine.submit(partitions).n_asked)
                self.asker.n_sent += n_asked.total()
                sent.update(n_asked)
        return sent

    def _answered(self, engine: Engine, partitions: list[Partition]) -> RunReport:
        """Have one model answer what it has been sent, and what is still to be sent to it."""
        self.asker.limit(engine)
        report = engine.run(partitions)
        self.asker.n_sent += report.n_sent
        return report

    @property
    def _up(self) -> Task:
        return self.cascade.of_rows_that_went_up()

    def tell_plan(self) -> None:
        """Say what a run would do, and what it would cost at most, and do nothing of it."""
        partitions, (cheap, strong) = self.asker.partitions, self.cascade.models
        with self.asker.engine(self.cascade.first) as first:
            tell_plan(self.asker.context, first.plan(partitions))
        if self.cascade.vote is not None:
            with self.asker.engine(self.cascade.vote) as vote:
                self._log.info("DRY RUN: the second vote: %s", of_total(vote.plan(partitions)))
        with self.asker.engine(self.cascade.second) as second:
            most = of_total(second.plan(partitions))
        self._log.info(
            "DRY RUN: of these rows go up to %s: %s of the table to choose the threshold by, and those of which %s is "
            "less sure. If all of them did: %s.",
            *(strong, f"{self.cascade.n_pairs:,}", cheap, most),
        )

    def metadata(self, partition_key: str | None) -> dict[str, Any]:
        """Return what a partition shows of who has decided."""
        metadata: dict[str, Any] = {"claude_batch/rows_escalated": self.decided.by_partition.get(partition_key, 0)}
        if self.chosen is not None and self.chosen.threshold is not None:
            metadata["claude_batch/escalated_below"] = self.chosen.threshold.value
        return metadata

    def _escalate(self, first: Engine, second: Engine, partitions: list[Partition]) -> list[RunReport]:
        """Have the sample answered, choose the threshold, and have the rest answered that is below it."""
        sampled = self._answered(second, partitions)
        if sampled.failure:
            return [sampled]
        self.chosen = raise_unsure(first, self.cascade, partitions)
        self._tell_chosen(self.chosen)
        return [sampled, self._answered(second, partitions)]

    def _tell_chosen(self, chosen: Chosen) -> None:
        """Say which rows go up, and what is promised of that."""
        cheap, strong = self.cascade.models
        goal = f"at least {percent(self.cascade.agreement)} of all rows have the answer of {strong}"
        by = f"by {counted(chosen.n_pairs, 'row')} that both have answered"
        if chosen.waiting:
            parts = counted(len(chosen.waiting), "partition waits", "partitions wait")
            self._log.warning(
                "%s: which rows are unsure cannot be said before %s has answered the sample of these and other "
                "partitions. Their rows keep the answers of %s until the next run.",
                *(parts, strong, cheap),
            )
        if chosen.waiting or not chosen.n_pairs:
            return
        if chosen.threshold is None:
            fewest = pairs_needed(agreement=self.cascade.agreement, delta=self.cascade.delta)
            self._log.warning(
                "All rows go up to %s: %s it cannot be promised that %s otherwise. It takes %d such rows at least, and "
                "a model that agrees more often where it is sure.",
                *(strong, by, goal, fewest),
            )
            return
        self._log.info(
            "Rows of which %s is less sure than %g go up to %s: %s, that keeps the promise that %s; about %s go up.",
            *(cheap, chosen.threshold.value, strong, by, goal, percent(1 - chosen.threshold.kept)),
        )

    @property
    def _log(self) -> Any:
        return self.asker.context.log


def _joined(reports: Sequence[RunReport], held: Mapping[str | None, Standing], sent: Counter[str | None]) -> RunReport:
    """Return one report of all passes; `sent` are the requests of before, by partition."""
    first, others = reports[0], reports[1:]
    latest: dict[str, RunReport] = {report.pipeline: report for report in reports}  # of two by one model the later one
    for report in (one for one in others if latest[one.pipeline] is not one):
        sent.update({part.partition_key: part.n_asked for part in report.partitions})
    parts = {part.partition_key: part for part in first.partitions}
    for report in (one for one in latest.values() if one is not first):
        of_other = {part.partition_key: part for part in report.partitions}
        parts = {key: joined(part, of_other.get(key)) for key, part in parts.items()}
    return RunReport(
        pipeline=first.pipeline,
        partitions=[replace(part, standing=held[key], n_asked=part.n_asked + sent[key]) for key, part in parts.items()],
        n_sent=sum(report.n_sent for report in reports) + sent.total(),
        failure=reports[-1].failure,
        left_out=sum((Counter(report.left_out) for report in latest.values()), Counter()),
        unfinished=frozenset[str | None]().union(*(report.unfinished for report in latest.values())),
    )
