"""The candidates of a trial, made of what an asset asks."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from claude_batch_dagster.assets.ask import Ask, Prompt
from claude_batch_dagster.assets.gold import check_named
from claude_batch_dagster.assets.registry import Declaration
from claude_batch_dagster.core.asking.code_version import code_version
from claude_batch_dagster.core.asking.question_hash import digest
from claude_batch_dagster.core.planning.budget import OWN, Budget
from claude_batch_dagster.core.planning.spending import Spending
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.runs.candidates import CURRENT, CandidateTask

SCHEMA = "claude_batch_trials"
"""The schema of the tables that the answers of candidates are in."""

LONGEST = 200
"""Characters of the readable part of a table's name: no more than 255 bytes can be a name."""

NO_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What candidates differ in; the first of each is that of the asset, unless others were asked for."""

    models: tuple[str, ...]
    prompts: Mapping[str, Prompt]
    """By name; the asset's own is `current`, and always among them."""
    efforts: tuple[str | None, ...]

    @classmethod
    def of(
        cls, ask: Ask, models: Sequence[str], prompts: Mapping[str, Prompt] | None, efforts: Sequence[str]
    ) -> "Choices":
        """Return what was asked for; raise `ConfigurationError` for what cannot be."""
        for option, given in (("models", models), ("efforts", efforts)):
            if isinstance(given, str):
                raise ConfigurationError(f"{option} takes a list, and got the text {given!r}. Write [{given!r}].")
        if CURRENT in (prompts or {}):
            raise ConfigurationError(
                f"a trial calls the prompt that the asset has {CURRENT!r}: give the other prompt another name."
            )
        return cls(
            models=tuple(dict.fromkeys(models)) or (ask.model,),
            prompts={CURRENT: ask.prompt, **(prompts or {})},
            efforts=tuple(dict.fromkeys(efforts)) or (ask.effort,),
        )

    def __iter__(self) -> Iterator[tuple[str, str, str | None]]:
        """Yield model, name of the prompt, and effort of each candidate."""
        return product(self.models, self.prompts, self.efforts)


def candidates_of(
    declared: Declaration, choices: Choices, budget: Budget | None, ending: str
) -> tuple[CandidateTask, ...]:
    """
    Return the candidates of an asset, its own definition among them.

    Raises `ConfigurationError` if two ask the same, or there is only one, and what `Ask` raises.
    """
    own = declared.ask
    wanted = list(choices)
    current = (own.model, CURRENT, own.effort)
    if current not in wanted:
        wanted.insert(0, current)
    if len(wanted) == 1:
        raise ConfigurationError(
            "a trial needs something to try beside what the asset has: give models, prompts or efforts."
        )
    spending = Spending(confirm_repay_usd=None, canary=0, caching="off", budget=_shared(budget, declared))
    differs = [len({one[at] for one in wanted}) > 1 for at in range(3)]
    found: dict[str, CandidateTask] = {}
    for model, prompt, effort in wanted:
        ask = replace(own, model=model, prompt=choices.prompts[prompt], effort=effort)
        _check(declared, ask)
        name, version = _name(model, prompt, effort, differs), code_version(ask.builder)
        if version in found:
            raise ConfigurationError(f"the candidates {found[version].name} and {name} ask the same. Leave one out.")
        found[version] = CandidateTask(
            name=name,
            model=model,
            prompt=prompt,
            effort=effort,
            is_current=(model, prompt, effort) == current,
            task=replace(
                declared.task,
                target=_table(declared, name, f"{version[:8]}{ending}"),
                builder=ask.builder,
                spending=spending,
            ),
        )
    return tuple(found.values())


def ending_of(declared: Declaration) -> str:
    """Return how the names of candidates' tables end, for this asset and what it has answered."""
    return digest(f"{declared.shown.target} {declared.ask.builder.parts['output']}")[:6]


def _name(model: str, prompt: str, effort: str | None, differs: Sequence[bool]) -> str:
    """Return what a candidate is called: by its model, and by that of which there are several."""
    parts = [model]
    if differs[1] and prompt != CURRENT:
        parts.append(f"prompt {prompt}")
    if differs[2] and effort is not None:
        parts.append(f"effort {effort}")
    return ", ".join(parts)


def _table(declared: Declaration, name: str, ending: str) -> TableName:
    """Return the table of a candidate's answers: another one for another question."""
    slug = NO_NAME.sub("_", name.lower()).strip("_")
    return TableName(SCHEMA, f"{declared.shown.target.table}__{slug}"[:LONGEST] + f"__{ending}")


def _check(declared: Declaration, ask: Ask) -> None:
    """Raise for a prompt that names columns which cannot be had, or are called as true values are."""
    check_named(ask.builder.columns, ask.schema)
    if declared.task.upstream.relation == declared.source.table.sql:  # of a query nobody knows the columns
        declared.source.check_columns(ask.builder, ())


def _shared(budget: Budget | None, declared: Declaration) -> Budget | None:
    """Return the budget as all candidates share it: each has a table of its own, and would have money of its own."""
    if budget is None or budget.scope != OWN:
        return budget
    return replace(budget, scope=f"{declared.shown.target}_trials")
