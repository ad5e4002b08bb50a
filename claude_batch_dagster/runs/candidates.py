"""What a trial tries: the question of an asset with other models, prompts and efforts."""

from dataclasses import dataclass

import dagster as dg

from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.runs.gold import GoldRows

CURRENT = "current"
"""How the prompt of the asset itself is called."""


@dataclass(frozen=True, kw_only=True)
class CandidateTask:
    """A candidate, as a task of its own: the same rows, asked otherwise, with answers in another table."""

    name: str
    model: str
    prompt: str
    effort: str | None
    is_current: bool
    """Whether it is the definition that the asset has."""
    task: Task
    """Of all rows of the asset: a trial asks those only that have a gold row."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What the trials of one asset are."""

    table: TableName
    """Where it is written down what came of the last one."""
    own: Task
    """The task of the asset."""
    partitions_def: dg.PartitionsDefinition[str] | None
    """The partitions of the asset."""
    gold: GoldRows
    candidates: tuple[CandidateTask, ...]
    bar: float
    ending: str
    """How the names of the tables end of all candidates that were ever tried for this asset and these output fields."""

    @property
    def schema(self) -> str:
        """The schema that the answers of candidates are in."""
        return self.candidates[0].task.target.schema

    @property
    def n_prompts(self) -> int:
        """How many prompts are tried."""
        return len({candidate.prompt for candidate in self.candidates})
