"""From a row to the one question that is asked about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from claude_batch_dagster.core.asking.question_hash import canonical, digest, question_hash
from claude_batch_dagster.core.asking.shared_prefix import SharedPrefix
from claude_batch_dagster.core.asking.templates import Template, as_text
from claude_batch_dagster.errors import ConfigurationError

DEFAULT_MODEL = "claude-haiku-5-5"
"""The cheapest current model (November 2026)."""

REQUEST_BYTES = 32_000_000
"""The largest body of one Messages call, in bytes (Claude docs, "API errors": 32 MB)."""

PromptFunction = Callable[[Mapping[str, Any]], str | Mapping[str, Any]]
"""Takes a row by column name; returns the user message, or params to lay over the defaults."""

FORBIDDEN = {
    "stream": "results of a batch are never streamed",
    "speed": "fast mode is not offered in batches",
    "temperature": "current models accept no sampling parameters",
    "top_p": "current models accept no sampling parameters",
    "top_k": "current models accept no sampling parameters",
}
"""Params that the API refuses, hours later, for every row."""


NOT_ENCODABLE = "the text cannot be encoded as UTF-8 JSON"


class RejectedRowError(Exception):
    """The row cannot become a request; the message is the row's `error`."""


class Request(NamedTuple):
    """One question, encoded exactly as it will be sent."""

    params: bytes
    request_hash: str
    """What is asked, not for whom: the same question has the same hash in any run, however it is encoded."""


def default_thinking(model: str) -> dict[str, str] | None:
    """
    Return the `thinking` param under which a small `max_tokens` goes to the answer.

    Current models think by default, and thinking counts toward `max_tokens`. Haiku 5.5 and Opus 5 can
    switch it off; Sonnet 5.5 can confine it; the others always think or do not know the param, and
    get none (Claude docs, "Extended thinking" and "Effort").
    """
    if model.startswith("claude-haiku-5-5") or model == "claude-opus-5":
        return {"type": "disabled"}
    if model.startswith("claude-sonnet-5-5"):
        return {"type": "between_tools"}
    return None


def default_max_tokens(thinking: Mapping[str, Any] | None) -> int:
    """Return a limit that leaves room for an answer: more unless thinking is switched off."""
    return 1024 if thinking is not None and thinking.get("type") == "disabled" else 16_000


@dataclass(frozen=True, kw_only=True)
class RequestBuilder:
    """Renders rows; the part that all requests share is encoded once."""

    prompt: Template | PromptFunction
    base: Mapping[str, Any]
    """Params of every request, without `messages`."""
    asked: Mapping[str, Any] | None = None
    """What is asked of every row, as the user wrote it: what makes it another question. Default: `base`."""
    asked_of: str = ""
    """Who answers, if it is not Claude as everybody knows it: an emulator, or Claude with beta features."""
    earlier_format: Mapping[str, Any] | None = None
    """How the output was described when questions were known by the bytes that are sent; by default as it is today."""

    def __post_init__(self) -> None:
        _check_allowed(self.base)

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns needed of each row, or None for all of them."""
        return self.prompt.columns if isinstance(self.prompt, Template) else None

    def build(self, row: Mapping[str, Any]) -> Request:
        """
        Render one row.

        Raises `RejectedRowError` when the row cannot be asked: NULL, blank or not UTF-8.
        """
        try:
            message = self._from_template(row) if isinstance(self.prompt, Template) else self.prompt(row)
        except UnicodeError as error:
            raise RejectedRowError(f"{NOT_ENCODABLE} ({type(error).__name__}); clean it upstream") from error
        params = self._asking(message) if isinstance(message, str) else self._encoded(self._laid_over(message))
        values = self.prompt.values_of(row) if isinstance(self.prompt, Template) else [_as_text(message)]
        return Request(_within_limit(params), question_hash(self.definition, values))

    def build_known(self, values: Sequence[str], question: str) -> Request:
        """
        Render a row of which more is known: the values of the template's columns as text, one of them not blank.

        `question` is its hash. Raises `RejectedRowError` when the request is too large.
        """
        template = self.prompt
        assert isinstance(template, Template)  # noqa: S101  (of what a function makes nobody knows the question)
        return Request(_within_limit(self._asking(template.join(values))), question)

    @cached_property
    def definition(self) -> str:
        """A digest of what is asked of every row: with the row's values, it makes the question."""
        source = self.prompt.source if isinstance(self.prompt, Template) else None
        # What was not said stays out of it, so that a setting of a later version makes no other question.
        said = {name: value for name, value in (self.asked or self.base).items() if value is not None}
        return digest(canonical({"asked": _as_json(said), "asked_of": self.asked_of, "prompt": source}))

    @property
    def parts(self) -> dict[str, str]:
        """A digest of each thing that makes another question when it is changed, by its name."""
        said = {name: value for name, value in (self.asked or self.base).items() if value is not None}
        prompt = {"prompt": self.prompt.source} if isinstance(self.prompt, Template) else {}
        answerer = {"beta features or who answers": self.asked_of} if self.asked_of else {}
        return {name: digest(canonical(_as_json(value))) for name, value in {**said, **prompt, **answerer}.items()}

    @cached_property
    def around(self) -> tuple[bytes, bytes]:
        """What stands before and after the message in every request that is made of a template."""
        shared = {**self.base, "messages": [{"role": "user", "content": 0}]}
        before, _, after = orjson.dumps(shared).rpartition(b"0")
        return before, after

    @cached_property
    def shared_prefix(self) -> SharedPrefix:
        """What all requests begin with: how much of it there is, and how it is marked to be cached."""
        before, after = self.around
        literal = self.prompt.beginning if isinstance(self.prompt, Template) else None
        return SharedPrefix(base=self.base, before=before, after=after, literal=literal)

    def marked(self, params: bytes) -> bytes:
        """Return a request that was rendered as it is sent where caching pays: still the same question."""
        return self.shared_prefix.marked(params)

    def as_before(self, params: bytes) -> bytes:
        """Return a request as it was sent when questions were known by its bytes."""
        if self.earlier_format is None:
            return params
        today = self.base.get("output_config", {}).get("format")
        return params.replace(orjson.dumps(today), orjson.dumps(self.earlier_format))

    def _encoded(self, params: Mapping[str, Any] | str) -> bytes:
        try:
            return orjson.dumps(params, option=orjson.OPT_SERIALIZE_NUMPY)
        except orjson.JSONEncodeError as error:
            raise RejectedRowError(f"{NOT_ENCODABLE} ({error}); clean it upstream") from error

    def _from_template(self, row: Mapping[str, Any]) -> str:
        template = self.prompt
        assert isinstance(template, Template)  # noqa: S101  (the only caller has looked)
        for column in template.columns:
            if row[column] is None:
                raise RejectedRowError(f"column {column!r} is NULL; fill it upstream, or leave it out of the prompt")
        if template.columns and not any(as_text(row[column]).strip() for column in template.columns):
            named = ", ".join(repr(column) for column in template.columns)
            raise RejectedRowError(f"nothing to ask about: {named} empty or white space")
        return template.fill(row)

    def _asking(self, message: str) -> bytes:
        """Encode a request for one message: what all of them share was encoded once."""
        if not message.strip():
            raise RejectedRowError("nothing to ask about: the prompt is empty")
        before, after = self.around
        return b"%b%b%b" % (before, self._encoded(message), after)

    def _laid_over(self, message: object) -> dict[str, Any]:
        """Return the params of a request for which a function has made some."""
        if not isinstance(message, Mapping):
            raise ConfigurationError(
                f"the prompt function returned {type(message).__name__}; it must return text, or params as a dict."
            )
        params = {**self.base, **self._defaults_of(message), **message}
        _check_allowed(message)
        if "messages" not in params:
            raise ConfigurationError("the prompt function returned params without 'messages'")
        return {name: value for name, value in params.items() if value is not None}

    def _defaults_of(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults of the model that a row names, in place of those of another; what was said stays."""
        said = {**(self.asked or self.base), **((self.asked or {}).get("params") or {})}
        model = message.get("model", self.base.get("model"))
        if model == self.base.get("model") or said.get("thinking") is not None:
            return {}
        thinking = message.get("thinking", default_thinking(str(model)))
        limit = {} if said.get("max_tokens") is not None else {"max_tokens": default_max_tokens(thinking)}
        return {"thinking": thinking, **limit}


def _within_limit(params: bytes) -> bytes:
    if len(params) > REQUEST_BYTES:
        raise RejectedRowError(
            f"the request is {len(params):,} bytes, the limit is {REQUEST_BYTES:,}; split the document upstream"
        )
    return params


def _as_text(message: Any) -> str:
    """Return what a prompt function made, as text."""
    return message if isinstance(message, str) else canonical(_as_json(message))


def _as_json(params: Any) -> Any:
    """Return params as what JSON makes of them: of the library that encodes them, no byte is kept."""
    return orjson.loads(orjson.dumps(params, option=orjson.OPT_SERIALIZE_NUMPY))


def _check_allowed(params: Mapping[str, Any]) -> None:
    for name, reason in FORBIDDEN.items():
        if name in params:
            raise ConfigurationError(
                f"params must not hold {name!r}: {reason}, and every row would come back errored. Remove it."
            )


def widened(params: bytes, *, n_truncated: int, ceiling: int = 64_000) -> bytes:
    """Return the params with `max_tokens` four times as large for each earlier truncation, up to `ceiling`."""
    if n_truncated == 0:
        return params
    body = orjson.loads(params)
    body["max_tokens"] = max(body["max_tokens"], min(ceiling, body["max_tokens"] * 4**n_truncated))
    return orjson.dumps(body)
