"""What is asked of each row, and of which model."""

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

from pydantic import BaseModel

from claude_batch_dagster.client import MODELS, earlier_output_format, output_format
from claude_batch_dagster.core.asking.output_identity import meaning
from claude_batch_dagster.core.asking.requests import (
    DEFAULT_MODEL,
    PromptFunction,
    RequestBuilder,
    default_max_tokens,
    default_thinking,
)
from claude_batch_dagster.core.asking.templates import Template
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.models import EFFORTS
from claude_batch_dagster.errors import ConfigurationError, TemplateError

PACKAGE = __name__.partition(".")[0]

Prompt = str | Path | PromptFunction
"""A template with the names of columns in braces, a file of one, or a function from a row to a message or to params."""


class AskOptions(TypedDict, total=False):
    """Options of `Ask` beside prompt, system prompt and output."""

    model: str
    max_tokens: int | None
    thinking: Mapping[str, Any] | None
    effort: str | None
    params: Mapping[str, Any] | None
    max_attempts: int


@dataclass(frozen=True, eq=False)
class Ask:
    r"""
    What is asked of each row: a prompt, the type of the answer, and the model.

    A row that was asked is asked again when any of it changes, but for `max_attempts`.

    Args:
        prompt: User message with upstream columns in braces (`"Summarize:\\n{text}"`; `{{` is a brace), the path
            of a file with one, or a function that takes a row (a mapping by column) and returns a message, or params
            of the Messages API to lay over the others. It must make the same of the same row every time. An empty
            message leaves the row out, as `rejected`; what the function raises ends the run before anything is sent.
        output: A pydantic model. Its schema is sent as a structured output, answers are validated by it, and
            its fields become columns: scalars, dates, lists and nested models typed, the rest JSON.
        system: System prompt.
        model: Model id; default the cheapest current model.
        max_tokens: Limit of an answer, in tokens; default 1,024, or 16,000 where thinking is not switched off.
        thinking: The `thinking` param; default: off for Haiku 5.5 and Opus 5, so that the limit goes to the answer,
            between tools for Sonnet 5.5, else not sent.
        effort: `output_config.effort`: low, medium, high, xhigh or max; default the model's.
        params: Further params of the Messages API for every request (no sampling parameters).
        max_attempts: How often a row is asked in one run when its failures cost nothing (expired, canceled,
            overloaded). A truncated or invalid answer, which was paid for, is asked once more, ever.

    Raises:
        TemplateError: The prompt names no column, or something other than a plain one.
        OutputModelError: A field of `output` is of a type that a structured output cannot describe (a dict, a tuple,
            anything at all).
        ConfigurationError: Another setting cannot work; the message says which.

    """

    prompt: Prompt
    output: type[BaseModel]
    system: str | None = None
    model: str = DEFAULT_MODEL
    max_tokens: int | None = None
    thinking: Mapping[str, Any] | None = None
    effort: str | None = None
    params: Mapping[str, Any] | None = None
    max_attempts: int = 3

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ConfigurationError(
                f"max_tokens must be at least 1; got {self.max_tokens}. Leave it out for the default."
            )
        if self.max_attempts < 1:
            raise ConfigurationError(f"max_attempts must be at least 1; got {self.max_attempts}.")
        if self.effort is not None and self.effort not in EFFORTS:
            raise ConfigurationError(f"effort is one of {', '.join(EFFORTS)}; got {self.effort!r}.")
        _ = self.schema, self.builder  # raise where it is written rather than where it is used
        if doubt := MODELS.doubt_about(self.model, datetime.now(UTC).date()):
            warnings.warn(doubt, UserWarning, stacklevel=_callers_above())

    @cached_property
    def schema(self) -> OutputSchema:
        """The columns of the answers."""
        return OutputSchema(self.output)

    @cached_property
    def builder(self) -> RequestBuilder:
        """What makes requests of rows."""
        return RequestBuilder(
            prompt=read_template(self.prompt),
            base=self._base_params(),
            asked={
                "model": self.model,
                "max_tokens": self.max_tokens,
                "system": self.system,
                "thinking": self.thinking,
                "effort": self.effort,
                "params": self.params or {},
                "output": meaning(self.output),
            },
            earlier_format=earlier_output_format(self.output),
        )

    @property
    def description(self) -> str:
        """What is asked, in Markdown."""
        prompt = self.builder.prompt
        asked = f"```\n{prompt.source}\n```" if isinstance(prompt, Template) else "a Python function"
        lines = [
            f"One answer of `{self.model}` for each upstream row, through Message Batches.",
            f"**Prompt**\n\n{asked}",
        ]
        if self.system:
            lines.append(f"**System prompt**\n\n```\n{self.system}\n```")
        return "\n\n".join(lines)

    @property
    def code_reference(self) -> tuple[str, int] | None:
        """File and line of a prompt that is in a file of its own, or made by a function."""
        if isinstance(self.prompt, Path):
            return str(self.prompt.resolve()), 1
        if isinstance(self.prompt, str):
            return None
        try:
            return str(Path(inspect.getsourcefile(self.prompt) or "").resolve()), inspect.getsourcelines(self.prompt)[1]
        except (TypeError, OSError):  # a partial, an object that can be called, a line typed in a shell
            return None

    def _base_params(self) -> dict[str, Any]:
        """Return the params of every request, without its messages."""
        extra = dict(self.params or {})
        thinking = self.thinking or default_thinking(self.model)
        output_config = {"format": output_format(self.output), **({"effort": self.effort} if self.effort else {})}
        return {
            "model": self.model,
            "max_tokens": self.max_tokens or default_max_tokens(thinking),
            **({"system": self.system} if self.system else {}),
            **({"thinking": dict(thinking)} if thinking else {}),
            "output_config": {**output_config, **extra.pop("output_config", {})},
            **dict(sorted(extra.items())),  # so that their order in code is no other question
        }


def read_template(prompt: Prompt) -> Template | PromptFunction:
    """Return a prompt as it is used: out of its file, if it is in one, and taken apart, unless it is a function."""
    if isinstance(prompt, Path):
        try:
            text = prompt.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigurationError(f"the prompt {prompt} cannot be read: {reason}.") from error
    elif isinstance(prompt, str):
        text = prompt
    else:
        return prompt
    template = Template.parse(text)
    if not template.columns:
        raise TemplateError(
            "the prompt names no column, so it would ask the same about every row. "
            "Write the name of a column where its text belongs, for example {text}."
        )
    return template


def _callers_above() -> int:
    """Return how many calls above the caller's somebody else's code is, so that a warning names their line."""
    frame, n = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith(PACKAGE):
        frame, n = frame.f_back, n + 1
    return n
