"""Which rows of a table of answers a person is to read, and for how many rows each of them stands."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.errors import ConfigurationError

AUDIT, UNSURE, VOTES_DIFFER = "audit", "unsure", "votes differ"
"""Why a row is in the queue: by chance; Claude was least sure of it; two votes differ on it."""

REASON, CONFIDENCE, WEIGHT = "reason", "confidence", "weight"
PARTITION_KEY = "partition_key"

NUMBERS = frozenset({"DOUBLE", "BIGINT", "DECIMAL(38,10)"})
"""Types of output columns that rows can be ordered by."""

USUAL_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A table of rows that have their true values already."""

    relation: str
    """SQL that can stand behind FROM."""
    shown_as: str
    """What messages call it."""


@dataclass(frozen=True, kw_only=True)
class Review:
    """
    Which rows of a table of answers a person is to read, and what they see of them.

    Raises `ConfigurationError` for what cannot be.
    """

    task: Task
    rows: int = 200
    unsure_share: float | None = None
    confidence: str | None = CONFIDENCE
    votes: Sequence[str] | None = None
    fields: Sequence[str] | None = None
    columns: Sequence[str] | None = None
    labelled: Labelled | None = None
    seed: str = "review"
    show_answers: bool = False
    folder: Path | None = None

    def __post_init__(self) -> None:
        n: Any = self.rows  # not everybody checks types
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ConfigurationError(f"rows is a number of rows to be read, from 1 on; got {n!r}.")
        share: Any = self.unsure_share
        if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1):
            raise ConfigurationError(
                f"unsure_share is a share from 0 to below 1; got {share!r}. Some rows have to be drawn at random, or "
                "the labels would say nothing of the rows that nobody reads."
            )
        self._check_fields()
        if share and not self.doubt and not self.votes:
            raise ConfigurationError(
                f"unsure_share={share!r} needs something that tells unsure rows: an output field confidence= with "
                "numbers, or two output fields votes=."
            )
        self._check_names()

    @property
    def schema(self) -> OutputSchema:
        """The columns of the answers."""
        return self.task.schema

    @property
    def target(self) -> TableName:
        """The table of the queue, beside that of the answers."""
        return TableName(self.task.target.schema, f"{self.task.target.table}_review")

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that tell rows apart."""
        upstream = self.task.upstream
        return (*upstream.key, PARTITION_KEY) if upstream.rule.exprs else upstream.key

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """The upstream columns that a reviewer sees, beside the key."""
        prompt = self.task.builder.prompt
        named = prompt.columns if self.columns is None and isinstance(prompt, Template) else self.columns
        if not named:
            raise ConfigurationError(
                "columns= has to say which upstream columns a reviewer sees: the prompt does not, or none was named."
            )
        keys = {key.lower() for key in self.task.upstream.key}
        return tuple(name for name in dict.fromkeys(named) if name.lower() not in keys)

    @cached_property
    def doubt(self) -> str | None:
        """The output field that says how sure an answer is."""
        known = self.confidence is not None and self.confidence in self.schema.columns
        return self.confidence if known else None

    @cached_property
    def true_fields(self) -> tuple[str, ...]:
        """The output fields that a reviewer fills in: those with a closed list, else all; never a second vote."""
        if self.fields is not None:
            return tuple(self.fields)
        others = {self.doubt, *(self.votes or ())[1:]}
        for names in (self.schema.closed, tuple(self.schema.columns)):
            if found := tuple(name for name in names if name not in others):
                return found
        return ()

    @cached_property
    def answered(self) -> dict[str, str]:
        """What the output fields are called in the queue, by their names."""
        return {name: f"answered_{name}" for name in self.schema.columns if name != self.doubt}

    @property
    def own(self) -> tuple[str, ...]:
        """The columns that say why a row is in the queue, and for how many it stands."""
        return (REASON, CONFIDENCE, WEIGHT) if self.doubt else (REASON, WEIGHT)

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns of the file that a person fills in: without answers, unless these were asked for."""
        told = (*self.answered.values(), *self.own[:-1]) if self.show_answers else ()
        return (*self.keys, *self.documents, *told, *self.true_fields, WEIGHT)

    @property
    def n_certain(self) -> int:
        """Rows at most that are in the queue for certain; one at least is left to chance."""
        share = self.unsure_share
        if share is None:
            share = USUAL_SHARE if self.doubt or self.votes else 0.0
        return min(round(self.rows * share), self.rows - 1)

    @property
    def n_least_sure(self) -> int:
        """Those of them that are the least sure rows; with votes one half, before rows on which these differ."""
        if not self.doubt:
            return 0
        return -(-self.n_certain // 2) if self.votes else self.n_certain

    def _check_fields(self) -> None:
        columns = self.schema.columns
        votes: Any = self.votes
        if votes is not None and (isinstance(votes, str) or len({*votes}) != 2):  # noqa: PLR2004  (a pair)
            raise ConfigurationError(f"votes takes two output fields: ('label', 'second_label'); got {votes!r}.")
        other = self.confidence if self.confidence != CONFIDENCE else None
        for option, names in (("confidence", [other]), ("votes", votes or ()), ("fields", self.fields or ())):
            for name in names:
                if name is not None and name not in columns:
                    raise ConfigurationError(
                        f"{option}= names {name!r}, which is no field of the output. Its fields are: "
                        f"{', '.join(columns)}."
                    )
        if self.doubt and columns[self.doubt] not in NUMBERS:
            raise ConfigurationError(
                f"confidence={self.doubt!r} is a field of the output that is no number, so rows cannot be ordered by "
                "it. Name another, or say confidence=None."
            )
        if not self.true_fields:
            raise ConfigurationError("fields= has to name the output fields that a reviewer fills in.")

    def _check_names(self) -> None:
        """Raise if two columns of the queue have one name."""
        seen: dict[str, str] = {}
        for what, name in self._names():
            if other := seen.get(name.lower()):
                raise ConfigurationError(
                    f"the review queue would have two columns {name!r}: {other} and {what}. Say which upstream columns "
                    "are shown with columns=, which fields are filled in with fields=, or rename one."
                )
            seen[name.lower()] = what

    def _names(self) -> Iterator[tuple[str, str]]:
        yield from (("a key", name) for name in self.keys)
        yield from (("a column of the documents", name) for name in self.documents)
        yield from (("an answer", name) for name in self.answered.values())
        yield from (("what says why a row is there", name) for name in self.own)
        yield from (("a field to be filled in", name) for name in self.true_fields)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What became of a draw: numbers, and where the files are."""

    n_table: int
    """Rows of the table of answers."""
    n_by_reason: Counter[str]
    """Rows of the queue, by why they are there."""
    sum_of_weights: float
    """The rows that could be drawn, as the weights have it: those that were answered and are not labelled yet."""
    files: Sequence[Path] = field(default=())

    @property
    def n_rows(self) -> int:
        """Rows of the queue."""
        return self.n_by_reason.total()
