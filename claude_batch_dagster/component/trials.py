"""Trials in YAML: `trials: {models: [claude-haiku-5-5, claude-sonnet-5-5], bar: 0.9}`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import Field

from claude_batch_dagster.component.budget import BudgetModel, resolve_budget
from claude_batch_dagster.component.question import PromptFunction, prompt_of
from claude_batch_dagster.component.texts import Templated, Text, filled, located, number, texts


class TrialsModel(dg.Model):
    """What is tried on the gold rows: all combinations of these, and what the asset has."""

    models: list[str] = Field(
        default=[],
        description="Models to try; default that of the asset.",
        examples=[["claude-haiku-5-5", "claude-sonnet-5-5"]],
    )
    prompts: dict[str, Text | PromptFunction] = Field(
        default={},
        description="Prompts to try, by name, beside that of the asset, which is called current.",
        examples=[{"short": {"path": "short.md"}}],
    )
    efforts: list[Literal["low", "medium", "high", "xhigh", "max"]] = Field(
        default=[], description="Values of `effort` to try; default that of the asset."
    )
    bar: float | Templated = Field(
        default=0.85, description="Share of right answers that has to be exceeded, 0 to 1.", examples=[0.9]
    )
    budget: BudgetModel | Templated | None = Field(
        default=None,
        description="US dollars that may be spent on all candidates together.",
        examples=[{"usd": 2, "per": "run"}],
    )


def resolve_trials(context: dg.ResolutionContext, said: Any) -> Mapping[str, Any] | None:
    """Return what `build_trials_asset` is to be told; raise `ResolutionException` for what cannot be."""
    if said is None:
        return None
    prompts = {}
    for name, prompt in said.prompts.items():
        at = context.at_path("prompts").at_path(name)
        with located(at):
            prompts[name] = prompt_of(at, prompt)
    with located(context, "bar"):
        bar = number(filled(context.at_path("bar"), said.bar), "bar")
    return {
        "models": texts(context.at_path("models"), said.models),
        "prompts": prompts,
        "efforts": said.efforts,
        "bar": bar,
        "budget": resolve_budget(context.at_path("budget"), said.budget),
    }


ResolvedTrials = Annotated[
    Mapping[str, Any] | None,
    dg.Resolver(
        resolve_trials,
        model_field_type=TrialsModel | None,
        description="Whether there is an asset <name>_trials, which finds out on the gold rows which model, prompt and "
        "effort is the cheapest that is right often enough. Default none.",
        examples=[{"models": ["claude-haiku-5-5", "claude-sonnet-5-5"], "bar": 0.9}],
        inject_before_resolve=False,
    ),
]
