"""What is to be asked, and in what surroundings: the work of one schedule."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import BaseModel

from claude_batch_dagster.client import output_format
from claude_batch_dagster.core.asking.partitions import PartitionRule
from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.planning.spending import Spending
from claude_batch_dagster.core.sending.chunks import OpenRow
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.task import Task
from proof.canary import DOCUMENT

LONGEST_LAG = 600
"""Seconds by which the API's list may lag without a batch being missed; the quiet period is 900."""

LABELS = ("war", "peace")


class Label(BaseModel):
    """The output model."""

    label: Literal["war", "peace"]


BASE: Mapping[str, Any] = {
    "model": "claude-haiku-5-5",
    "max_tokens": 100,
    "thinking": {"type": "disabled"},
    "output_config": {"format": output_format(Label)},
}

TASK = Task(
    target=TableName("main", "answers"),
    upstream=Upstream(relation='"main"."docs"', shown_as="table docs", key=("id",), rule=PartitionRule(expr="part")),
    builder=RequestBuilder(prompt=Template.parse("Label: {text}"), base=BASE),
    schema=OutputSchema(Label),
)


GUIDE = "Read the whole of the text before you answer, and say what it is about, not what you think of it. " * 300
"""Some 7,000 tokens: of three requests and more, one goes ahead to write it to the cache."""

GUIDED = replace(
    TASK,
    builder=RequestBuilder(
        prompt=Template.parse("Label: {text}"), base={**BASE, "model": "claude-opus-5", "system": GUIDE}
    ),
)
"""The same question behind a guide that is worth caching."""

BRIEF = replace(TASK, builder=RequestBuilder(prompt=Template.parse("Label: {text}"), base={**BASE, "max_tokens": 20}))
"""The same question with hardly more room than a label takes, so that it costs a sixth of what it can cost."""


def text_of(number: int) -> str:
    """Return a document; its label can be read off it, and equal numbers ask the same question."""
    return f"a text of {LABELS[number % 2]}, number {number}, {DOCUMENT}"


def most_usd(task: Task) -> float:
    """Return what a request can cost at most, as it is sent."""
    params = task.builder.build({"text": text_of(0)}).params
    return OpenRow("p", "1", "", task.builder.marked(params) if task is GUIDED else params).max_cost_usd


def label_of(text: str) -> str:
    """Return the label that belongs to a document."""
    return next(label for label in LABELS if f"of {label}," in text)


@dataclass(frozen=True, kw_only=True)
class EmulatorFault:
    """A fault of the emulator that is in force while faults last."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Documents, the size of a chunk, and what the API is like."""

    documents: Mapping[str, Mapping[int, str]]
    """Texts by key, by partition."""
    task: Task = field(default=TASK, repr=False)
    """What is asked: `TASK`, `BRIEF` or `GUIDED`; too long to be printed."""
    chunk_size: int = 2
    facts: tuple[EmulatorFault, ...] = ()
    """How the API is, for good."""
    n_foreign: int = 0
    """Batches that somebody else sends to the same workspace, of the size of ours."""
    batch_seconds: float = 45.0
    """How long a batch takes."""
    max_poll_seconds: float = 480.0
    """Few looks, so that schedules are short."""
    expected: frozenset[str] = frozenset({"succeeded"})
    """Verdicts that rows may have in the end."""
    spending: Spending = field(default_factory=lambda: Spending(canary=0))
    """The budget, and how many rows go first, as long as there are troubles."""
    repeats: bool = False
    """Whether all runs repeat the first one, as when somebody re-executes what has failed."""
    begins: float = 0.0
    """Seconds that pass before anything happens: so that midnight is near."""

    @property
    def hides(self) -> bool:
        """Whether the API may keep a batch out of its list for the whole quiet period: then it can be paid twice."""
        return any(fact.name == "list_lag" and fact.options["seconds"] > LONGEST_LAG for fact in self.facts)


_TWO_CHUNKS = Job(documents={"p": {number: text_of(number) for number in range(4)}})

JOBS: Mapping[str, Job] = {
    "2 chunks": _TWO_CHUNKS,
    "2 chunks and a foreign batch": replace(_TWO_CHUNKS, n_foreign=1),
    "2 chunks, list lag": replace(_TWO_CHUNKS, facts=(EmulatorFault(name="list_lag", options={"seconds": 120}),)),
    "2 chunks, list lag beyond the quiet period": replace(
        _TWO_CHUNKS, facts=(EmulatorFault(name="list_lag", options={"seconds": 2_400}),)
    ),
    "2 chunks, 404 after create": replace(
        _TWO_CHUNKS, facts=(EmulatorFault(name="404_after_create", options={"seconds": 120}),)
    ),
    "2 chunks, 404 after end": replace(
        _TWO_CHUNKS, facts=(EmulatorFault(name="404_after_end", options={"seconds": 1_200}),)
    ),
}
"""Jobs by the names that schedules give them."""
