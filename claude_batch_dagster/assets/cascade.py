"""A cascade: a cheap model asks all rows, and a strong one those that it is unsure of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from claude_batch_dagster.assets.ask import Ask
from claude_batch_dagster.cascades import CascadeTask
from claude_batch_dagster.core.planning.budget import OWN
from claude_batch_dagster.core.planning.spending import Spending
from claude_batch_dagster.core.reporting.cascade import AgreementRule
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.threshold import AGREEMENT, DELTA, pairs_needed

FIRST, SECOND, VOTE = "first_pass", "escalated", "second_vote"
"""What follows the name of the asset in the names of the tables of each model."""


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """
    Which rows a strong model decides: those of which the cheap one says that it is unsure.

    How sure is sure enough is found out: a random sample of rows goes up in any case, and the threshold is the lowest
    at which, by these, the promise of `agreement` is kept. Where it cannot be promised, all rows go up.

    Args:
        to: The strong model; or an `Ask` of the same output, to ask it otherwise.
        agreement: Of all rows, how many shall have the answer that the strong model would give, 0 to 1.
        delta: In how many cases that promise may be broken, 0 to 1.
        pairs: Rows that go up in any case. The more there are, the fewer others have to.
        confidence: The output field that says how sure an answer is: `confidences=True` of a classification adds it.
        vote: In place of a confidence: the same question in other words, which the cheap model (or another one) is
            asked too, of all rows. It is unsure where both answers differ.
        compared: Output fields in which both models have to agree; default the first with a closed list of values.

    Raises:
        ConfigurationError: One of these cannot be.

    """

    to: str | Ask
    agreement: float = AGREEMENT
    delta: float = DELTA
    pairs: int = 400
    confidence: str = "confidence"
    vote: Ask | None = None
    compared: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, share in (("agreement", self.agreement), ("delta", self.delta)):
            if not 0 < share < 1:
                raise ConfigurationError(f"{name} of a cascade is a share between 0 and 1; got {share!r}.")
        fewest = pairs_needed(agreement=self.agreement, delta=self.delta)
        if self.pairs < fewest:
            raise ConfigurationError(
                f"a cascade with {self.pairs} pairs can promise nothing: {fewest} are the fewest for "
                f"agreement={self.agreement:g} and delta={self.delta:g}."
            )


def cascade_task(given: str | Ask | Cascade, ask: Ask, task: Task, *, reads_frames: bool) -> CascadeTask:
    """
    Return the two tasks of a cascade; `task` is that of the asset itself.

    Raises `ConfigurationError` for what cannot work.
    """
    cascade = given if isinstance(given, Cascade) else Cascade(to=given)
    if find_spec("scipy") is None:
        raise ConfigurationError(
            "escalate_to= needs scipy: pip install 'claude-batch-dagster[quality]' brings what it takes."
        )
    if reads_frames:
        raise ConfigurationError(
            "escalate_to= and upstream=AssetIn(...) contradict each other: which rows go up is asked of the database. "
            "Name the upstream asset itself, so that its table is read."
        )
    if task.spending.deadline is not None:
        raise ConfigurationError("escalate_to= and deadline= contradict each other: the second pass has to wait.")
    strong = cascade.to if isinstance(cascade.to, Ask) else replace(ask, model=cascade.to)
    closed = [name for name in ask.schema.columns if ask.schema.is_closed(name)]
    rule = AgreementRule(
        key=task.upstream.key,
        compared=(cascade.compared,) if isinstance(cascade.compared, str) else cascade.compared or closed[:1],
        confidence=None if cascade.vote else cascade.confidence,
    )
    _check(rule, ask, [one for one in (strong, cascade.vote) if one is not None])

    def asked(other: Ask, what: str) -> Task:
        return replace(
            task,
            target=_beside(task.target, what),
            builder=other.builder,
            schema=other.schema,
            max_attempts=other.max_attempts,
            spending=_shared(task.spending, task.target),
        )

    return CascadeTask(
        final=task.target,
        first=asked(ask, FIRST),
        second=asked(strong, SECOND),
        vote=None if cascade.vote is None else asked(cascade.vote, VOTE),
        rule=rule,
        agreement=cascade.agreement,
        delta=cascade.delta,
        n_pairs=cascade.pairs,
        models=(ask.model, strong.model),
    )


def _check(rule: AgreementRule, ask: Ask, others: Sequence[Ask]) -> None:
    """Raise for fields that there are not, and for two models that are asked for different things."""
    columns = ask.schema.columns
    if rule.confidence is not None and columns.get(rule.confidence) != "DOUBLE":
        raise ConfigurationError(
            f"escalate_to= needs an output field {rule.confidence!r} that is a number (a float): how sure the model "
            "is, from 0 to 1. A classification has it with confidences=True; of another question name it: "
            "Cascade(to=..., confidence='sure'); or let a second vote say it: Cascade(to=..., vote=Ask(...))."
        )
    for name in (*rule.key, *columns):
        if name.lower() == "decided_by":
            raise ConfigurationError(
                "a cascade writes who has decided into decided_by: call the key or field otherwise."
            )
    for name in rule.compared:
        if name not in columns:
            raise ConfigurationError(
                f"a cascade compares {name!r}, which is no output field. They are: {', '.join(columns)}."
            )
    if not rule.compared:
        raise ConfigurationError(
            "a cascade needs an output field in which both models can agree: none has a closed list of values. Name "
            "one: Cascade(to=..., compared=['total'])."
        )
    if any(other.schema.columns != columns for other in others):
        raise ConfigurationError("all models of a cascade have to be asked for the same output; got several of them.")
    if any(other.builder.definition == ask.builder.definition for other in others):
        raise ConfigurationError(
            f"a cascade from {ask.model} to itself pays twice for one answer. Name another model, or other words."
        )


def _beside(target: TableName, what: str) -> TableName:
    return TableName(target.schema, f"{target.table}_{what}")


def _shared(spending: Spending, target: TableName) -> Spending:
    """Return what both models may spend together: a budget of the asset is one of both."""
    budget = spending.budget
    if budget is None or budget.scope != OWN:
        return spending
    return replace(spending, budget=replace(budget, scope=str(target)))
