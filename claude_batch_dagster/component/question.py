"""What is asked of each row, in YAML."""

from typing import Annotated, Any, Literal, cast

import dagster as dg
from pydantic import Field

from claude_batch_dagster.assets.ask import Ask, Prompt, read_template
from claude_batch_dagster.assets.labels import CLASSIFICATION_SYSTEM, classification, label_model
from claude_batch_dagster.component.output_fields import EXAMPLES, Output, model_of
from claude_batch_dagster.component.texts import (
    Templated,
    Text,
    TextFile,
    check_kind,
    evaluated,
    filled,
    function_at,
    located,
    number,
    path_of,
    rendered,
    text_of,
    texts,
)
from claude_batch_dagster.core.asking.requests import DEFAULT_MODEL
from claude_batch_dagster.errors import ConfigurationError, TemplateError


class PromptFunction(dg.Model):
    """A Python function from a row to a message."""

    function: str = Field(
        description="Dotted path of a function from a row (a mapping by column) to a message, or to params.",
        examples=["my_project.prompts.render"],
    )


class AskModel(dg.Model):
    """What is asked of each row: `labels`, or `prompt` and `output`."""

    labels: dict[str, str] | None = Field(
        default=None,
        description="Labels, each with what belongs to it: each document gets one of them, in the column `label`.",
        examples=[{"billing": "invoices, payments, refunds", "other": "anything else"}],
    )
    text_column: str = Field(default="text", description="With labels: the upstream column with the text.")
    confidences: bool = Field(
        default=False,
        description="With labels: whether Claude also says how sure it is, from 0 to 1, and its second choice.",
    )
    prompt: Text | PromptFunction | None = Field(
        default=None,
        description="User message with upstream columns in braces. A brace itself needs a file (path:), where it is "
        "written twice.",
        examples=["Summarize:\n{text}", {"path": "prompt.md"}],
    )
    output: Output | None = Field(
        default=None,
        description="With a prompt: the fields of the answer with their types, or the dotted path of a pydantic model.",
        examples=EXAMPLES,
    )
    system: Text | None = Field(default=None, description="System prompt; with labels there is one.")
    model: str = Field(
        default=DEFAULT_MODEL,
        description="Model id; default the cheapest current model.",
        examples=["claude-sonnet-5-5"],
    )
    max_tokens: int | Templated | None = Field(
        default=None,
        description="Limit of an answer, in tokens; default 1,024, or 16,000 where thinking is not switched off.",
    )
    thinking: dict[str, Any] | None = Field(
        default=None,
        description="The `thinking` param; default: off for Haiku 5.5 and Opus 5, between tools for Sonnet 5.5.",
        examples=[{"type": "disabled"}],
    )
    effort: Literal["low", "medium", "high", "xhigh", "max"] | Templated | None = Field(
        default=None, description="`output_config.effort`; default the model's."
    )
    params: dict[str, Any] | None = Field(
        default=None, description="Further params of the Messages API for every request (no sampling parameters)."
    )
    max_attempts: int | Templated = Field(
        default=3, description="How often a row is asked in one run when its failures cost nothing."
    )


def resolve_ask(context: dg.ResolutionContext, said: AskModel | str) -> Ask:
    """Return the question that YAML describes; raise `ResolutionException`, with the line, for one that cannot be."""
    with located(context):
        if isinstance(said, str):
            ask = evaluated(context, said)
            check_kind(ask, Ask, "ask", "our_question")
            return cast("Ask", ask)
        return _ask(context, said)


def _ask(context: dg.ResolutionContext, said: AskModel) -> Ask:
    settings = {
        name: filled(context.at_path(name), getattr(said, name))
        for name in ("model", "max_tokens", "thinking", "effort", "params", "max_attempts")
        if name in said.model_fields_set
    }
    for name in settings.keys() & {"max_tokens", "max_attempts"}:
        settings[name] = number(settings[name], name)
    with located(context, "system"):
        system = None if said.system is None else text_of(context.at_path("system"), said.system)
    if said.labels is not None:
        if said.prompt is not None or said.output is not None:
            raise ConfigurationError(
                "ask has labels, which come with a prompt and an output. Leave out one or the other."
            )
        labels = texts(context.at_path("labels"), said.labels)
        column = texts(context.at_path("text_column"), said.text_column)
        with located(context, "labels"):
            label_model(labels)
        system = CLASSIFICATION_SYSTEM if system is None else system
        return classification(labels, column, system, confidences=said.confidences, **settings)
    if said.confidences:
        raise ConfigurationError(
            "ask has confidences, which come with labels. Give the output a field of its own: "
            "confidence: {type: number, description: From 0 to 1.}"
        )
    if said.prompt is None or said.output is None:
        raise ConfigurationError("ask needs labels, or a prompt and an output.")
    with located(context, "output"):
        output = model_of(context.at_path("output"), said.output)
    with located(context, "prompt"):
        prompt = prompt_of(context.at_path("prompt"), said.prompt)
    return Ask(prompt, output, system=system, **settings)


def _check(prompt: Prompt) -> None:
    """Raise for a template that is none; what to do about its braces is another thing in YAML than in Python."""
    try:
        read_template(prompt)
    except TemplateError as error:
        if isinstance(prompt, str) and "{" in prompt:
            raise TemplateError(
                f"{error} In YAML such a prompt goes to a file, prompt: {{path: prompt.md}}."
            ) from error
        raise


def prompt_of(context: dg.ResolutionContext, said: Text | PromptFunction) -> Prompt:
    """Return a prompt that YAML names; raise `ConfigurationError` for one that cannot be."""
    prompt = _prompt(context, said)
    _check(prompt)
    return prompt


def _prompt(context: dg.ResolutionContext, said: Text | PromptFunction) -> Prompt:
    match said:
        case PromptFunction():
            return function_at(context, rendered(context, said.function))
        case TextFile():
            return path_of(context, said)
        case _:
            try:
                return rendered(context, said)
            except ConfigurationError as error:
                raise ConfigurationError(
                    f"{error} A column stands in one pair of braces: {{body}}. Braces of the text itself need a file: "
                    "prompt: {path: prompt.md}."
                ) from error


ResolvedAsk = Annotated[
    Ask,
    dg.Resolver(
        resolve_ask,
        model_field_type=AskModel,
        description="What is asked of each row: `labels`, or `prompt` and `output`.",
        examples=[
            {"text_column": "body", "labels": {"billing": "invoices, payments", "other": "anything else"}},
            {"prompt": "Summarize:\n{text}", "output": {"summary": "string"}, "model": "claude-haiku-5-5"},
        ],
        inject_before_resolve=False,
    ),
]
