"""What Dagster takes for any asset, passed through by Dagster's own names."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypedDict

import dagster as dg

UpstreamDep = str | Sequence[str] | dg.AssetKey | dg.AssetSpec | dg.AssetsDefinition | dg.AssetDep
"""What names an asset that Dagster is to wait for."""

OF_THE_OP = ("retry_policy", "pool", "op_tags")
"""Options of what runs the asset, rather than of the asset."""


class DagsterOptions(TypedDict, total=False):
    """Options of `dagster.asset` that every factory of this package takes, under the same names."""

    key_prefix: str | Sequence[str]
    """Prefix of the asset key; its last part is the table's schema."""
    group_name: str | None
    """Asset group."""
    description: str | None
    """Description; default: what is asked, with the prompt."""
    owners: Sequence[str] | None
    """Asset owners."""
    tags: Mapping[str, str] | None
    """Asset tags."""
    kinds: Collection[str]
    """What is shown beside the asset's name; default claude and duckdb."""
    metadata: Mapping[str, Any] | None
    """Further metadata of the asset, such as code references; what is said here of the table itself is set over it."""
    deps: Iterable[UpstreamDep] | None
    """Further assets that Dagster waits for, beside `upstream`; their tables may be read with `sql`."""
    automation_condition: dg.AutomationCondition[dg.AssetKey] | None
    """When Dagster starts it by itself; default never, since it costs money."""
    freshness_policy: dg.FreshnessPolicy | None
    """When Dagster takes it for stale."""
    backfill_policy: dg.BackfillPolicy | None
    """
    How a backfill becomes runs; default one run for up to 5,000 partitions.

    In two dimensions Dagster takes a range for the rectangle between two corners, and a backfill becomes one run for
    each key of the dimension in which fewer are wanted; a range whose second corner is before its first in one of the
    dimensions holds no partition, and the run fails.
    """
    retry_policy: dg.RetryPolicy | None
    """
    How Dagster runs it again after an error.

    What was sent is not sent again; a run that failed because of the API, or of a check that blocks, is not retried.
    """
    pool: str | None
    """Concurrency pool of the op."""
    op_tags: Mapping[str, Any] | None
    """Tags of the op, such as those of an executor."""
    hooks: Collection[dg.HookDefinition] | None
    """Hooks of the op, for success or failure."""


ASKED = ("prompt", "output", "system", "model", "max_tokens", "thinking", "effort", "params", "max_attempts")

CHECKED = {
    "error_rate": "ErrorRate(warn=..., fail=...)",
    "expiry_rate": "ExpiryRate(warn=..., fail=...)",
    "complete": "Complete(warn=..., fail=...)",
    "invalid_rate": "InvalidRate(warn=..., fail=...)",
    "label_drift": "LabelDrift(warn=..., fail=...)",
    "paid_once": "PaidOnce(warn=..., fail=...)",
    "retention": "Retention(warn=..., fail=...)",
    "blocking_checks": "ErrorRate(blocking=True)",
}

MOVED = {
    **dict.fromkeys(ASKED, "It is a part of ask=Ask(prompt, output, model=...)."),
    **{name: f"Write checks=[{check}]." for name, check in CHECKED.items()},
}
"""What to write for options that `build_batch_asset` had before version 0.2."""

Arguments = ParamSpec("Arguments")


def refusing(
    known: Collection[str], moved: Mapping[str, str]
) -> Callable[[Callable[Arguments, dg.AssetsDefinition]], Callable[Arguments, dg.AssetsDefinition]]:
    """
    Let a factory refuse an option that there is not as Python would, and say what to write for one that there was.

    `known` are its options beside its parameters.
    """

    def decorate(factory: Callable[Arguments, dg.AssetsDefinition]) -> Callable[Arguments, dg.AssetsDefinition]:
        taken = {*inspect.signature(factory).parameters, *known} - {"options"}

        @wraps(factory)
        def declare(*args: Arguments.args, **kwargs: Arguments.kwargs) -> dg.AssetsDefinition:
            for name in kwargs:
                if name not in taken:
                    hint = f". {moved[name]}" if name in moved else ""
                    raise TypeError(f"{factory.__name__}() got an unexpected keyword argument {name!r}{hint}")
            return factory(*args, **kwargs)

        return declare

    return decorate


def execution_of(options: DagsterOptions) -> Mapping[str, Any]:
    """Return the options of the op, as `multi_asset` takes them."""
    return {name: value for name, value in options.items() if name in OF_THE_OP and value is not None}


def prefix_of(key_prefix: str | Sequence[str] | None) -> list[str]:
    """Return the parts of a prefix."""
    if key_prefix is None:
        return []
    return [key_prefix] if isinstance(key_prefix, str) else list(key_prefix)
