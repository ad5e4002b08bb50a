"""One run of a trial, as Dagster sees it: the plan with its dollars, all candidates asked, and which one is named."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from claude_batch_dagster.amounts import counted
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.engine import Engine, RunReport
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.runs.candidates import Trials
from claude_batch_dagster.runs.open_trial import OpenTrial
from claude_batch_dagster.runs.opening import open_engine
from claude_batch_dagster.runs.run_config import SubmissionConfig, TrialConfig
from claude_batch_dagster.runs.termination import INTERRUPTIONS, stop
from claude_batch_dagster.runs.trial_judging import Tried, judge
from claude_batch_dagster.runs.trial_plans import tell_plans
from claude_batch_dagster.runs.trial_results import lines_of, sentences, trial_metadata

NO_PRICE = "the price of its model is not listed, so nobody knows whether it is the cheapest"


@dataclass
class TrialRun:
    """Asks every candidate about the gold rows, and tells Dagster what came of it."""

    context: dg.AssetExecutionContext
    resource: ClaudeBatchResource
    trials: Trials
    config: TrialConfig = field(default_factory=TrialConfig)

    def run(self) -> Iterator[dg.MaterializeResult[Any]]:
        """Yield what a Dagster asset body yields."""
        with OpenTrial.opened(self.trials, self.resource, self._open_engine, self.context.instance) as trial:
            try:
                tell_plans(self.context, trial.plan(), is_dry_run=self.config.dry_run)
                if self.config.dry_run:
                    return
                trial.check()
                tried = self._ask(trial)
            except INTERRUPTIONS as interruption:
                self._stop(trial)
                raise dg.DagsterExecutionInterruptedError from interruption
            yield self._result(trial, tried)

    def _open_engine(self, task: Task) -> Engine:
        engine = open_engine(self.context, self.resource, task, SubmissionConfig())
        engine.on_plan = lambda _: None  # it is told of all candidates together
        engine.on_asked = lambda _: None  # as above
        return engine

    # --- asking -------------------------------------------------------------------------------------

    def _ask(self, trial: OpenTrial) -> list[Tried]:
        """
        Bring the answers of all candidates home: what all are asked is sent before the first is waited for.

        But for a prompt function beside another one: of some rows both may make the same, which is paid for once if
        the first has landed by then.
        """
        sent = set[str]()
        for candidate, engine in trial.candidates:
            definition = candidate.task.builder.definition
            if definition not in sent:
                sent.add(definition)
                self.context.log.info("Candidate %s:", candidate.name)
                engine.submit(trial.partitions)
        reports: list[RunReport] = []
        for candidate, engine in trial.candidates:
            self.context.log.info("Waiting for candidate %s", candidate.name)
            reports.append(engine.run(trial.partitions))
        self._raise_if_unfinished(trial, reports)
        return [
            self._tried(trial, n, sum(report.left_out.values()), next(iter(report.left_out), None))
            for n, report in enumerate(reports)
        ]

    def _raise_if_unfinished(self, trial: OpenTrial, reports: list[RunReport]) -> None:
        """Raise `Failure` unless every row of every candidate has its verdict; what was sent is taken up again."""
        failures = {
            candidate.name: report.failure
            for (candidate, _), report in zip(trial.candidates, reports, strict=True)
            if report.failure is not None
        }
        if failures:
            told = "; ".join(f"{name}: {failure}" for name, failure in failures.items())
            raise dg.Failure(
                f"{counted(len(failures), 'candidate has', 'candidates have')} rows without an answer: {told}. What "
                "was sent is taken up by the next materialization, and paid for once.",
                allow_retries=False,
            ) from next(iter(failures.values()))

    def _tried(self, trial: OpenTrial, n: int, n_blocked: int, reason: str | None) -> Tried:
        candidate = self.trials.candidates[n]
        rows = trial.store.tried(candidate.task.target, is_by_partition=trial.rows.is_by_partition)
        problem = NO_PRICE if rows.usd is None else None
        if n_blocked:
            problem = f"{counted(n_blocked, 'gold row was', 'gold rows were')} {reason}"
        return Tried(candidate=candidate, rows=rows, problem=problem)

    def _stop(self, trial: OpenTrial) -> None:
        """Cancel the batches of every candidate, if a person stopped the run."""
        for engine in trial.engines:
            if engine.pipeline is not None:
                stop(self.context, engine, on_terminate=self.resource.on_terminate)

    # --- judging ------------------------------------------------------------------------------------

    def _result(self, trial: OpenTrial, tried: list[Tried]) -> dg.MaterializeResult[Any]:
        """Judge the candidates, write down what came of it, and tell it."""
        n_tried = trial.store.n_tables(self.trials.schema, self.trials.ending)
        judgement = judge(tried, self.trials, n_tried=n_tried)
        lines = lines_of(judgement, tried, run_id=self.context.run.run_id, now=datetime.now(UTC))
        trial.store.keep(self.trials.table, lines)
        told = list(sentences(judgement, tried, answerer=trial.engines[0].api.answerer))
        self.context.log.info("\n  ".join(f"{sentence}." for sentence in told))
        return dg.MaterializeResult(
            asset_key=self.context.asset_key, metadata=trial_metadata(self.trials.table, judgement, told, lines)
        )
