"""The component: an asset, and what belongs to it, out of a YAML file."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import dagster as dg
from dagster.components.resolved.core_models import (
    MultiRunBackfillPolicyModel,
    OpSpec,
    SingleRunBackfillPolicyModel,
    resolve_backfill_policy,
)
from dagster.components.utils.translation import TranslationFn

from claude_batch_dagster.assets.dagster_options import execution_of, prefix_of
from claude_batch_dagster.assets.declaring import Op, Rows, declare, described
from claude_batch_dagster.assets.jobs import build_batch_job, build_batch_schedule
from claude_batch_dagster.assets.review import build_review_asset
from claude_batch_dagster.assets.sources import Source
from claude_batch_dagster.assets.submission import build_submission_asset
from claude_batch_dagster.assets.trials import build_trials_asset
from claude_batch_dagster.component.attributes import (
    ON,
    Switch,
    amount,
    described_as,
    query,
    switch,
    template,
    text,
    translated,
    values,
)
from claude_batch_dagster.component.budget import ResolvedBudget
from claude_batch_dagster.component.cascade import ResolvedCascade
from claude_batch_dagster.component.checks import ResolvedChecks
from claude_batch_dagster.component.dagster_fields import (
    CollectSensor,
    NewDocumentsSensor,
    ResolvedPartitions,
    ResolvedUpstream,
    Schedule,
    schedule_of,
)
from claude_batch_dagster.component.deadline import ResolvedDeadline
from claude_batch_dagster.component.gold import ResolvedGold
from claude_batch_dagster.component.question import ResolvedAsk
from claude_batch_dagster.component.resource_fields import ResolvedResource
from claude_batch_dagster.component.review import ResolvedReview
from claude_batch_dagster.component.scaffolder import ClaudeBatchScaffolder
from claude_batch_dagster.component.texts import Text
from claude_batch_dagster.component.trials import ResolvedTrials
from claude_batch_dagster.core.planning.spending import Spending
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.runs.materialization import Materialization
from claude_batch_dagster.sensors.collect import build_collect_sensor
from claude_batch_dagster.sensors.new_documents import build_new_documents_sensor


@dg.scaffold_with(ClaudeBatchScaffolder)
@dataclass(kw_only=True)
class ClaudeBatchComponent(dg.Component, dg.Resolvable):
    """
    An asset that asks Claude one question about each row of a table, in Message Batches.

    A table of documents goes in, a table of typed answers comes out, at half the price of the live API. A document is
    paid for once, and no answer that was paid for is lost. To change what it does, make a subclass of it and override
    `get_asset_spec` or `execute`.
    """

    name: Annotated[str, text("Name of the asset and of its table.", "classified_tickets")]
    upstream: ResolvedUpstream
    ask: ResolvedAsk
    key: Annotated[
        str | list[str], text("Upstream column, or columns, that tell rows apart within a partition.", "id")
    ] = "id"
    key_prefix: Annotated[
        str | list[str] | None, text("Prefix of the asset key; its last part is the table's schema.", "silver")
    ] = None
    partitions_def: ResolvedPartitions = None
    partition_expr: Annotated[
        str | dict[str, str] | None,
        text(
            "SQL over upstream columns that says which partition a row is of: a time for time windows, else the "
            "partition key; in two dimensions one for each, by name.",
            "created_at",
        ),
    ] = None
    sql: Annotated[
        str | None,
        dg.Resolver(
            query,
            model_field_type=Text | None,
            description="A query to read in place of the upstream table, such as a join, or the path of a file of it.",
            examples=["FROM tickets JOIN customers USING (customer_id)", {"path": "documents.sql"}],
            inject_before_resolve=False,
        ),
    ] = None
    checks: ResolvedChecks = ()
    gold: ResolvedGold = None
    escalate_to: ResolvedCascade = None
    confirm_repay_usd: Annotated[
        float | None,
        amount(
            float,
            "US dollars above which a run stops that would ask again rows that have an answer; null for no limit.",
            20,
        ),
    ] = 5.0
    canary: Annotated[
        int,
        amount(int, "Rows of a large plan that go alone first; 0 for none.", 50),
    ] = 20
    budget: ResolvedBudget = None
    caching: Annotated[
        Literal["auto", "off"],
        described_as("Whether the shared beginning of requests is cached where that pays.", "off"),
    ] = "auto"
    deadline: ResolvedDeadline = None
    small_batches: Annotated[
        Literal["batch", "live"],
        described_as("How a plan of fewer than `small_batches_below` requests is asked.", "live"),
    ] = "batch"
    small_batches_below: Annotated[
        int, amount(int, "Requests from which on a plan is worth a batch where small_batches is live.", 50)
    ] = 20
    sample_columns: Annotated[
        list[str], text("Upstream columns to show beside sample answers in the UI; none by default.", ["subject"])
    ] = field(default_factory=list)
    table_schema: Annotated[
        str | None, text("Schema of the output table; default: by the key prefix, else public.", "labels")
    ] = None  # a field called schema would hide one of pydantic's
    resource_key: Annotated[str, text("Key of the ClaudeBatchResource of the project.", "claude_batch")] = (
        "claude_batch"
    )
    resource: ResolvedResource = None

    group_name: Annotated[str | None, text("Asset group.", "support")] = None
    description: Annotated[str | None, text("Description; default: what is asked, with the prompt.", "Triage.")] = None
    owners: Annotated[list[str] | None, text("Asset owners.", ["team:support"])] = None
    tags: Annotated[dict[str, str] | None, text("Asset tags.", {"tier": "prod"})] = None
    kinds: Annotated[list[str] | None, text("Kinds; default claude and duckdb.", ["claude", "duckdb"])] = None
    metadata: Annotated[dict[str, Any] | None, values("Further metadata of the asset.", {"page": "wiki"})] = None
    deps: Annotated[
        list[str] | None, text("Further assets that Dagster waits for, beside upstream.", ["customers"])
    ] = None
    automation_condition: Annotated[
        dg.AutomationCondition[dg.AssetKey] | None,
        template(
            dg.AutomationCondition,
            "When Dagster starts it by itself; default never, since it costs money.",
            "dg.AutomationCondition.eager()",
        ),
    ] = None
    freshness_policy: Annotated[
        dg.FreshnessPolicy | None,
        template(dg.FreshnessPolicy, "When Dagster takes it for stale.", "fresh_each_day"),
    ] = None
    retry_policy: Annotated[
        dg.RetryPolicy | None,
        template(dg.RetryPolicy, "How Dagster runs it again after an error.", "three_times"),
    ] = None
    hooks: Annotated[
        list[Any] | None, template(list, "Hooks of the op, for success or failure.", "[tell_us_of_failures]")
    ] = None
    backfill_policy: Annotated[
        dg.BackfillPolicy | None,
        dg.Resolver(
            resolve_backfill_policy,
            model_field_type=SingleRunBackfillPolicyModel | MultiRunBackfillPolicyModel | None,
            description="How a backfill becomes runs; default one run for up to 5,000 partitions.",
            examples=[{"type": "single_run"}],
        ),
    ] = None
    op: Annotated[
        OpSpec | None, described_as("The op that runs the asset: its name, tags, pool.", {"pool": "claude"})
    ] = None
    translation: Annotated[TranslationFn["ClaudeBatchComponent"] | None, translated()] = None

    submission: Annotated[
        bool, described_as("Whether there is an asset <name>_submission, which sends rows and does not wait.", ON)
    ] = False
    review: ResolvedReview = None
    trials: ResolvedTrials = None
    collect_sensor: Annotated[
        Switch, switch("Whether a sensor starts the asset when its batches have ended.", bool | CollectSensor, ON)
    ] = None
    new_documents_sensor: Annotated[
        Switch,
        switch(
            "Whether a sensor starts it where documents are new or changed.",
            bool | NewDocumentsSensor,
            ON,
            {"settle_seconds": 300},
        ),
    ] = None
    schedule: Annotated[
        Switch,
        dg.Resolver(
            schedule_of,
            model_field_type=str | Schedule | None,
            description="Whether a schedule materializes what is current of it: cron's words.",
            examples=["0 6 * * *", {"cron_schedule": "0 6 * * *", "timezone": "Europe/Berlin"}],
            inject_before_resolve=False,
        ),
    ] = None
    job: Annotated[bool, described_as("Whether there is a job that materializes it alone.", ON)] = False

    def __post_init__(self) -> None:
        if self.resource is not None and self.resource_key != "claude_batch":
            raise ConfigurationError(
                "resource and resource_key contradict each other: a resource for this asset alone has a key of its "
                "own. Leave one out."
            )

    def get_asset_spec(self) -> dg.AssetSpec:
        """
        Return what Dagster knows of the asset, before `translation`. Override it to change that.

        What it says of key, dependencies and partitions is where the answers go and which there are.
        """
        options: Any = {
            "deps": [dg.AssetKey.from_user_string(dep) for dep in self.deps or ()],
            "group_name": self.group_name,
            "description": self.description,
            "owners": self.owners,
            "tags": self.tags,
            "metadata": self.metadata,
            "automation_condition": self.automation_condition,
            "freshness_policy": self.freshness_policy,
            **({} if self.kinds is None else {"kinds": self.kinds}),
        }
        key = dg.AssetKey([*prefix_of(self.key_prefix), self.name])
        return described(key, Source.of(self.upstream), self.ask, options, self.partitions_def)

    def execute(self, context: dg.AssetExecutionContext, materialization: Materialization) -> Iterator[Any]:
        """Yield what a run of the asset yields. Override it to do something before or after."""
        del context
        yield from materialization.run()

    def build_asset(self) -> dg.AssetsDefinition:
        """Return the asset."""
        spec = self.get_asset_spec()
        if self.translation is not None:
            spec = self.translation(spec, self)
        rows = Rows(
            source=Source.of(self.upstream),
            key=self.key,
            partition_expr=self.partition_expr,
            sql=self.sql,
            sample_columns=self.sample_columns,
            schema=self.table_schema,
        )
        said = self.op or OpSpec()
        op = Op(
            execution=execution_of({"retry_policy": self.retry_policy, "pool": said.pool, "op_tags": said.tags}),
            hooks=frozenset(self.hooks or ()),
            backfill_policy=self.backfill_policy or said.backfill_policy,
            name=said.name,
            description=said.description,
            execute=self.execute,
        )
        return declare(
            spec,
            self.ask,
            rows,
            checks=self.checks,
            gold=self.gold,
            escalate_to=self.escalate_to,
            spending=Spending(
                confirm_repay_usd=self.confirm_repay_usd,
                canary=self.canary,
                budget=self.budget,
                caching=self.caching,
                deadline=self.deadline,
                small_batches=self.small_batches,
                small_batches_below=self.small_batches_below,
            ),
            resource_key=self._resource_key(spec),
            op=op,
            keeps_key=True,
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the asset, and what was switched on beside it."""
        del context
        asset = self.build_asset()
        sensors: list[dg.SensorDefinition] = []
        if self.collect_sensor is not None:
            sensors.append(build_collect_sensor(asset, **self.collect_sensor))
        if self.new_documents_sensor is not None:
            sensors.append(build_new_documents_sensor(asset, **self.new_documents_sensor))
        assets = [asset]
        if self.submission:
            assets.append(build_submission_asset(asset))
        if self.review is not None:
            assets.append(build_review_asset(asset, **self.review))
        if self.trials is not None:
            assets.append(build_trials_asset(asset, **self.trials))
        [spec] = asset.specs
        return dg.Definitions(
            assets=assets,
            sensors=sensors,
            jobs=[build_batch_job(asset)] if self.job else [],
            schedules=[] if self.schedule is None else [build_batch_schedule(asset, **self.schedule)],
            resources={} if self.resource is None else {self._resource_key(spec): self.resource},
        )

    def _resource_key(self, spec: dg.AssetSpec) -> str:
        """Return a key that no other component has, if the resource is for this asset alone."""
        return self.resource_key if self.resource is None else f"{spec.key.to_python_identifier()}__claude_batch"
