"""What is known about the models: their names, how much they may write, how they think, how able they are."""

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Model:
    """Rules of one model that a request can break, and how able it is."""

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
    ability: float = 1.0
    """How much it makes of the words of a text, where models are unlike: 1 for all that is in them, 0 for little."""


_OLD = Model(id="4.5", max_tokens=64_000, takes_budget=True, takes_adaptive=False, takes_prefill=True)
_FAMILIES = (
    Model(id="claude-haiku-5-5", ability=0.77, long_output=True),
    Model(id="claude-sonnet-5-5", ability=0.9, takes_disabled=False, long_output=True),
    Model(id="claude-opus-5-5", thinks_always=True, takes_disabled=False, long_output=True),
    Model(id="claude-fable-5-2", thinks_always=True, takes_disabled=False),
    Model(id="claude-fable-5-1", ability=0.99, thinks_always=True, takes_disabled=False),
    Model(id="claude-fable-5", ability=0.98, thinks_always=True, takes_disabled=False),
    Model(id="claude-mythos-5-2", thinks_always=True, takes_disabled=False),
    Model(id="claude-mythos-5-1", ability=0.99, thinks_always=True, takes_disabled=False),
    Model(id="claude-opus-5", ability=0.98, long_output=True),
    Model(id="claude-opus-4-8", ability=0.97, long_output=True, smallest_prefix=1024),
    Model(id="claude-opus-4-7", ability=0.96, long_output=True, smallest_prefix=2048),
    Model(id="claude-opus-4-6", ability=0.95, takes_budget=True, long_output=True, smallest_prefix=4096),
    replace(_OLD, id="claude-opus-4-5", ability=0.94, smallest_prefix=4096),
    Model(id="claude-sonnet-5", ability=0.88, long_output=True, smallest_prefix=1024),
    Model(id="claude-sonnet-4-6", ability=0.86, takes_budget=True, long_output=True, smallest_prefix=1024),
    replace(_OLD, id="claude-sonnet-4-5", ability=0.84, smallest_prefix=1024),
    replace(_OLD, id="claude-haiku-4-5", ability=0.6, smallest_prefix=4096),
)
_BY_ID = {model.id: model for model in _FAMILIES}
# Most aliases are answered under their own name.
_SNAPSHOTS = {"claude-haiku-4-5": "claude-haiku-4-5-20251001"}


def find_model(name: str) -> Model | None:
    """Return the model of that name, with or without the date of a snapshot."""
    return _BY_ID.get(name) or _BY_ID.get(re.sub(r"-\d{8}$", "", name))


def ability_of(name: str, *, unlike_models: bool) -> float:
    """Return how able a model is: as able as any other, unless models are unlike."""
    model = find_model(name) if unlike_models else None
    return model.ability if model else 1.0


def snapshot(name: str) -> str:
    """Return the name that a message carries when this one was asked for."""
    return _SNAPSHOTS.get(name, name)
