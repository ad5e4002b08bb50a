"""What is known about the models: their names, how much they may write, how they think."""

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Model:
    """Rules of one model that a request can break."""

    id: str
    max_tokens: int = 128_000
    thinks_always: bool = False
    takes_budget: bool = False
    """Whether `thinking: enabled` with a budget is accepted."""
    takes_adaptive: bool = True
    takes_prefill: bool = False
    takes_disabled: bool = True
    long_output: bool = False
    """Whether the 300k output beta applies."""
    smallest_prefix: int = 512
    """Tokens from which on a prompt is cached."""


_OLD = Model(id="4.5", max_tokens=64_000, takes_budget=True, takes_adaptive=False, takes_prefill=True)
_FAMILIES = (
    Model(id="claude-haiku-5-5", long_output=True),
    Model(id="claude-sonnet-5-5", takes_disabled=False, long_output=True),
    Model(id="claude-opus-5-5", thinks_always=True, takes_disabled=False, long_output=True),
    Model(id="claude-fable-5-2", thinks_always=True, takes_disabled=False),
    Model(id="claude-fable-5-1", thinks_always=True, takes_disabled=False),
    Model(id="claude-fable-5", thinks_always=True, takes_disabled=False),
    Model(id="claude-mythos-5-2", thinks_always=True, takes_disabled=False),
    Model(id="claude-mythos-5-1", thinks_always=True, takes_disabled=False),
    Model(id="claude-opus-5", long_output=True),
    Model(id="claude-opus-4-8", long_output=True, smallest_prefix=1024),
    Model(id="claude-opus-4-7", long_output=True, smallest_prefix=2048),
    Model(id="claude-opus-4-6", takes_budget=True, long_output=True, smallest_prefix=4096),
    replace(_OLD, id="claude-opus-4-5", smallest_prefix=4096),
    Model(id="claude-sonnet-5", long_output=True, smallest_prefix=1024),
    Model(id="claude-sonnet-4-6", takes_budget=True, long_output=True, smallest_prefix=1024),
    replace(_OLD, id="claude-sonnet-4-5", smallest_prefix=1024),
    replace(_OLD, id="claude-haiku-4-5", smallest_prefix=4096),
)
_BY_ID = {model.id: model for model in _FAMILIES}
# Most aliases are answered under their own name.
_SNAPSHOTS = {"claude-haiku-4-5": "claude-haiku-4-5-20251001"}


def find_model(name: str) -> Model | None:
    """Return the model of that name, with or without the date of a snapshot."""
    return _BY_ID.get(name) or _BY_ID.get(re.sub(r"-\d{8}$", "", name))


def snapshot(name: str) -> str:
    """Return the name that a message carries when this one was asked for."""
    return _SNAPSHOTS.get(name, name)
