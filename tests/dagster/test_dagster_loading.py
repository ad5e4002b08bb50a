"""An asset may be given another key, group or metadata when it is loaded; what belongs to it finds it all the same."""

from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from claude_batch_dagster import (
    build_batch_job,
    build_batch_schedule,
    build_collect_sensor,
    build_new_documents_sensor,
    build_submission_asset,
)
from claude_batch_dagster.assets.registry import declaration_of
from claude_batch_dagster.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

Declare = Callable[..., dg.AssetsDefinition]

ANSWERS = dg.AssetKey(["gold", "answers"])
SUBMISSION = dg.AssetKey(["gold", "answers_submission"])
DOCUMENTS = dg.AssetKey(["gold", "documents"])


class Project:
    """A module with all that belongs to an asset, as a user writes it, loaded with a prefix."""

    def __init__(self, world: "DagsterWorld", asset: dg.AssetsDefinition) -> None:
        @dg.asset
        def documents() -> None:
            """Documents."""

        self.module = ModuleType("project")
        vars(self.module).update(documents=documents, answers=asset, submission=build_submission_asset(asset))
        self.collect = build_collect_sensor(asset)
        self.notice = build_new_documents_sensor(asset, settle_seconds=0)
        self.job = build_batch_job(asset)
        self.schedule = build_batch_schedule(asset, "0 6 * * *")
        self.world = world
        self.definitions = dg.Definitions(
            assets=dg.load_assets_from_modules([self.module], key_prefix="gold", group_name="letters"),
            sensors=[self.collect, self.notice],
            jobs=[self.job],
            schedules=[self.schedule],
            resources={"claude_batch": world.resource()},
        )

    def run(self, key: dg.AssetKey, **options: Any) -> dg.ExecuteInProcessResult:
        """Materialize one of the assets."""
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.world.instance, asset_selection=[key], **options
        )

    def tick(self, sensor: dg.SensorDefinition) -> list[dg.RunRequest]:
        """Let a sensor look, and return what it asks for."""
        repository = self.definitions.get_repository_def()
        with dg.build_sensor_context(
            instance=self.world.instance, repository_def=repository, resources={"claude_batch": self.world.resource()}
        ) as context:
            return list(sensor.evaluate_tick(context).run_requests or ())


@pytest.fixture
def project(world: "DagsterWorld", classification: Declare) -> Project:
    """Return a project whose documents are where IO managers put them: in the schema of the prefix."""
    world.write(
        "CREATE SCHEMA gold",
        "CREATE TABLE gold.documents AS FROM public.documents",
        "DROP TABLE public.documents",
    )
    return Project(world, classification(partitions_def=None))


def test_a_prefix_makes_no_second_asset(project: Project) -> None:
    """Jobs, schedules and sensors are for the asset as it is loaded, and bring no other one along."""
    repository = project.definitions.get_repository_def()

    assert set(repository.assets_defs_by_key) == {DOCUMENTS, ANSWERS, SUBMISSION}
    jobs = [project.job.name, project.collect.job_name, project.notice.job_name, project.schedule.job_name]
    for name in jobs:
        assert set(repository.get_job(name).asset_layer.executable_asset_keys) == {ANSWERS}


def test_it_reads_where_its_upstream_is(project: Project) -> None:
    """The table of documents is that of the upstream asset as it is loaded; the answers stay where they are."""
    project.run(ANSWERS)

    assert len(project.world.answers()) == 4
    assert project.world.n_posts == 1


@pytest.mark.verify
def test_its_sensors_see_it(project: Project) -> None:
    """What is new is noticed, what was submitted is collected: each run is for the asset as it is loaded."""
    assert [request.asset_selection for request in project.tick(project.notice)] == [[ANSWERS]]

    project.run(SUBMISSION)
    [request] = project.tick(project.collect)
    project.run(ANSWERS)

    assert (request.asset_selection, request.tags["claude_batch/collects"]) == ([ANSWERS], "gold__answers")
    assert project.tick(project.collect) == []
    assert project.world.n_posts == 1


def test_of_a_loaded_asset_the_same_can_be_made(project: Project) -> None:
    """Sensors, jobs and the submission asset can be declared of the asset as it is loaded, too."""
    loaded = project.definitions.get_repository_def().assets_defs_by_key[ANSWERS]

    assert build_submission_asset(loaded).key == SUBMISSION
    assert build_batch_job(loaded).name == "gold__answers_job"
    sensor = build_new_documents_sensor(loaded, settle_seconds=0)
    assert [request.asset_selection for request in project.tick(sensor)] == [[ANSWERS]]


@pytest.mark.verify
def test_a_changed_asset_is_still_ours(world: "DagsterWorld", classification: Declare) -> None:
    """An asset whose group or owners were changed runs, and jobs can be made of it."""
    [changed] = dg.map_asset_specs(
        lambda spec: spec.replace_attributes(group_name="letters"), [classification(partitions_def=None)]
    )

    world.run(changed)

    assert len(world.answers()) == 4
    assert build_batch_job(changed).name == "answers_job"


def test_two_assets_with_tables_of_one_name_are_two(world: "DagsterWorld", classification: Declare) -> None:
    """In two databases, say: each job is for its own."""
    there = [
        classification(partitions_def=None, key_prefix=[region, "crm"], resource_key=f"claude_{region}")
        for region in ("eu", "us")
    ]
    jobs = [build_batch_job(asset) for asset in there]
    resources = dict.fromkeys(("claude_eu", "claude_us"), world.resource())
    repository = dg.Definitions(assets=there, jobs=jobs, resources=resources).get_repository_def()

    for asset, job in zip(there, jobs, strict=True):
        assert repository.get_job(job.name).asset_layer.executable_asset_keys == {asset.key}


def test_tags_that_were_replaced_are_told(classification: Declare) -> None:
    """A job that would find nothing is refused, with what to write."""
    [changed] = dg.map_asset_specs(
        lambda spec: spec.replace_attributes(tags={"team": "letters"}), [classification(partitions_def=None)]
    )

    with pytest.raises(ConfigurationError, match=r"nothing can find it by its tag claude_batch/asset. Keep that one"):
        build_batch_job(changed)


def test_of_two_that_end_alike_the_nearer_is_upstream(world: "DagsterWorld", classification: Declare) -> None:
    """A dependency beside it may be called the same, further down."""
    asset = classification(partitions_def=None, deps=[dg.AssetKey(["raw", "documents"])])

    @dg.asset
    def documents() -> None:
        """Documents."""

    @dg.asset(key_prefix="raw", name="documents")
    def raw() -> None:
        """Raw ones."""

    module = ModuleType("project")
    vars(module).update(answers=asset, documents=documents, raw=raw)
    definitions = dg.Definitions(
        assets=dg.load_assets_from_modules([module], key_prefix="gold"), resources={"claude_batch": world.resource()}
    )
    loaded = definitions.get_repository_def()

    assert declaration_of(loaded.assets_defs_by_key[ANSWERS]).task.upstream.shown_as == "table gold.documents"


# --- what dg.asset takes ------------------------------------------------------------------------------


def test_what_an_asset_takes_ours_takes(classification: Declare) -> None:
    """Whatever `dg.asset` takes and makes sense reaches Dagster by the same name."""

    @dg.success_hook
    def cheer(_: dg.HookContext) -> None:
        """Cheer."""

    asset = classification(
        deps=["guidelines"],
        metadata={"team": "letters", "schema": "not ours"},
        kinds={"claude", "letters"},
        freshness_policy=dg.FreshnessPolicy.cron(deadline_cron="0 9 * * *", lower_bound_delta=timedelta(hours=1)),
        retry_policy=dg.RetryPolicy(max_retries=2),
        pool="duckdb",
        op_tags={"k8s": "small"},
        hooks={cheer},
    )

    spec = asset.get_asset_spec()
    assert [dep.asset_key.path for dep in spec.deps] == [["documents"], ["guidelines"]]
    assert (spec.metadata["team"], spec.metadata["schema"]) == ("letters", "public")
    assert [dep.asset_key for dep in build_submission_asset(asset).get_asset_spec().deps] == [
        dep.asset_key for dep in spec.deps
    ]
    assert spec.kinds == {"claude", "letters"}
    assert spec.freshness_policy is not None
    assert asset.hook_defs == {cheer}
    for op in (asset.op, build_submission_asset(asset).op):
        assert (op.retry_policy, op.pool, op.tags["k8s"]) == (dg.RetryPolicy(max_retries=2), "duckdb", "small")
