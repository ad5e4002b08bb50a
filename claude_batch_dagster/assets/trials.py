"""Trials: `<name>_trials` finds out on gold rows which model, prompt and effort is the cheapest that is good enough."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg

from claude_batch_dagster.assets.ask import Prompt
from claude_batch_dagster.assets.candidates import Choices, candidates_of, ending_of
from claude_batch_dagster.assets.registry import Declaration, declaration_of
from claude_batch_dagster.core.asking.code_version import code_version
from claude_batch_dagster.core.asking.question_hash import digest
from claude_batch_dagster.core.planning.budget import Budget
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.runs.candidates import Trials
from claude_batch_dagster.runs.dagster_internals import previews
from claude_batch_dagster.runs.gold import GoldRows
from claude_batch_dagster.runs.run_config import TrialConfig
from claude_batch_dagster.runs.trials import TrialRun

BAR = 0.85
"""Share of right answers that a candidate has to be shown to exceed, unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class DeclaredTrials:
    """The trials of one asset."""

    declared: Declaration
    trials: Trials

    def of(self, spec: dg.AssetSpec) -> Trials:
        """Return it with the tables that upstream and gold rows have among what the loaded asset waits for."""
        today = self.declared.waiting_for(spec.deps)
        return replace(self.trials, own=today.task, gold=today.gold or self.trials.gold)


_DECLARED: WeakKeyDictionary[object, DeclaredTrials] = WeakKeyDictionary()
"""By what runs them."""


def build_trials_asset(  # noqa: PLR0913  (a declaration has as many parts as it has)
    classified: dg.AssetsDefinition,
    *,
    models: Sequence[str] = (),
    prompts: Mapping[str, Prompt] | None = None,
    efforts: Sequence[str] = (),
    bar: float = BAR,
    budget: Budget | None = None,
) -> dg.AssetsDefinition:
    """
    Declare `<name>_trials`: which model, prompt and effort is the cheapest that is right often enough.

    Materializing it asks every candidate about the gold rows of the asset, and no other row, in Message Batches, and
    names the cheapest candidate of which the gold rows show that it is right more often than `bar` says. However many
    are tried, one that is not is named in at most 5 % of cases. What came of it is the table `<name>_trials`, a row for
    each candidate; nothing is changed by itself. What a candidate has answered, the asset need not ask again.

    Candidates are all combinations of `models`, `prompts` and `efforts`, and what the asset has. Where there are
    several prompts, they are compared on one half of the gold rows, and how right the named one is, is told by the
    other.

    Args:
        classified: What `build_batch_asset` or `build_classification_asset` returned; it has gold rows (`gold=`).
        models: Models to try; default that of the asset.
        prompts: Prompts to try, by name, beside that of the asset, which is called `current`.
        efforts: Values of `effort` to try; default that of the asset.
        bar: Share of right answers that has to be exceeded, 0 to 1.
        budget: US dollars that may be spent on all candidates together. One that it cannot pay for is not judged.

    Raises:
        ConfigurationError: `classified` is another asset, or has no gold rows, or there is nothing to try; or what
            `Ask` raises for a candidate.

    """
    declared = declaration_of(classified)
    if declared.gold is None:
        raise ConfigurationError(
            f"{declared.spec.key.to_user_string()} has no gold rows, so nobody could say which candidate is right. "
            "Name them: gold='labelled_tickets', or gold='gold.csv'."
        )
    if declared.source.ins:
        raise ConfigurationError(
            "a trial reads the rows that it asks from DuckDB: name the upstream asset itself in place of an AssetIn."
        )
    share: Any = bar  # not everybody checks types
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise ConfigurationError(f"the bar of a trial is a share of right answers, between 0 and 1; got {bar!r}.")
    choices = Choices.of(declared.ask, models, prompts, efforts)
    return _declare(declared, _trials(declared, declared.gold, choices, bar, budget))


def trials_of(asset: Any) -> DeclaredTrials | None:
    """Return the trials that an asset runs; None for one that runs none."""
    is_ours = isinstance(asset, dg.AssetsDefinition) and asset.is_executable
    return _DECLARED.get(asset.node_def) if is_ours else None


def trials_key(declared: Declaration) -> dg.AssetKey:
    """Return the key of the trials asset: beside the asset, `_trials` behind its name."""
    *prefix, name = declared.spec.key.path
    return dg.AssetKey([*prefix, f"{name}_trials"])


def _trials(declared: Declaration, gold: GoldRows, choices: Choices, bar: float, budget: Budget | None) -> Trials:
    target, ending = declared.shown.target, ending_of(declared)
    return Trials(
        table=TableName(target.schema, f"{target.table}_trials"),
        own=declared.task,
        partitions_def=declared.spec.partitions_def,
        gold=gold,
        candidates=candidates_of(declared, choices, budget, ending),
        bar=bar,
        ending=ending,
    )


def _declare(declared: Declaration, trials: Trials) -> dg.AssetsDefinition:
    # After the asset itself in a run of both: what one has on its way the other would pay for again.
    deps = dict.fromkeys([declared.spec.key, *(dep.asset_key for dep in declared.spec.deps)])
    name = declared.spec.key.to_user_string()
    spec = dg.AssetSpec(
        trials_key(declared),
        deps=[*deps],
        description=f"Which candidate for `{name}` is the cheapest that is right often enough, found out on its gold "
        f"rows: {'; '.join(candidate.name for candidate in trials.candidates)}. Nothing is changed by itself.",
        group_name=declared.spec.group_name,
        code_version=digest(" ".join(code_version(one.task.builder) for one in trials.candidates))[:16],
        skippable=True,
        owners=declared.spec.owners,
        kinds={"claude", "duckdb"},
        metadata={"dagster/table_name": str(trials.table)},
    )
    known = DeclaredTrials(declared=declared, trials=trials)

    def body(context: dg.AssetExecutionContext, config: TrialConfig) -> Iterator[dg.MaterializeResult[Any]]:
        [loaded] = context.assets_def.specs
        resource = getattr(context.resources, declared.resource_key)
        yield from TrialRun(context, resource, known.of(loaded), config).run()

    with previews():
        asset = dg.multi_asset(
            name=spec.key.to_python_identifier(),
            specs=[spec],
            required_resource_keys={declared.resource_key},
            **declared.execution,
        )(body)
    _DECLARED[asset.node_def] = known
    return asset
