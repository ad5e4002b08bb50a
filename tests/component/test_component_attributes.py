"""All that the factories take can be said in YAML, and means the same there."""

import dataclasses
import inspect
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import pytest
import yaml
from dagster_duckdb import DuckDBResource
from pydantic import BaseModel, Field

from claude_batch_dagster import (
    Ask,
    Budget,
    ClaudeBatchComponent,
    ClaudeBatchResource,
    build_batch_asset,
    build_classification_asset,
)
from claude_batch_dagster.assets.factories import BatchOptions
from claude_batch_dagster.assets.registry import declaration_of
from claude_batch_dagster.assets.trials import trials_of
from claude_batch_dagster.checks import Complete, ErrorRate, PaidOnce
from claude_batch_dagster.checks.usual import USUAL
from claude_batch_dagster.component.question import AskModel
from claude_batch_dagster.component.resource_fields import ResourceModel
from tests.component.conftest import ATTRIBUTES, LABELS, Load, asset_of

MODULE = '''
import dagster as dg
from pydantic import BaseModel

class Ticket(BaseModel):
    """What is found in a ticket."""
    severity: str

def render(row):
    return "about " + row["subject"]

@dg.failure_hook
def tell(context):
    pass

@dg.template_var
def retries():
    return dg.RetryPolicy(max_retries=2)

@dg.template_var
def hooks():
    return [tell]

@dg.template_var
def product():
    return "the pump"
'''


def test_everything_that_the_factories_take_is_an_attribute() -> None:
    """Whoever adds an option to a factory adds it to the component."""
    attributes = {field.name for field in dataclasses.fields(ClaudeBatchComponent)}
    options = {*inspect.signature(build_batch_asset).parameters, *BatchOptions.__annotations__} - {"options"}
    of_the_op = {"pool", "op_tags"}

    assert (options - of_the_op - {"schema"}) | {"table_schema", "op"} <= attributes
    assert {field.name for field in dataclasses.fields(Ask)} <= AskModel.model_fields.keys()
    assert ResourceModel.model_fields.keys() == ClaudeBatchResource.model_fields.keys()


@pytest.mark.parametrize("confidences", [False, True])
def test_labels_in_yaml_are_the_question_of_the_factory(load: Load, confidences: bool) -> None:  # noqa: FBT001  (a case)
    """The same labels ask the same: whoever moves from Python to YAML pays for nothing again."""
    said: dict[str, Any] = {"confidences": True} if confidences else {}
    _, defs = load(ask={**LABELS, **said, "text_column": "body", "model": "claude-sonnet-5-5", "max_tokens": 200})

    python = build_classification_asset(
        name="answers",
        upstream="tickets",
        labels=LABELS["labels"],
        text_column="body",
        confidences=confidences,
        model="claude-sonnet-5-5",
        max_tokens=200,
    )
    of_yaml, of_python = (declaration_of(asset) for asset in (asset_of(defs), python))
    assert of_yaml.task.builder.definition == of_python.task.builder.definition
    assert of_yaml.spec.code_version == of_python.spec.code_version
    assert of_yaml.task.target == of_python.task.target
    assert of_yaml.task.upstream == of_python.task.upstream


class Answer(BaseModel):
    """What the fields in YAML below are in Python."""

    severity: Literal["low", "high"] = Field(description="How bad.\nOne of:\n- low: can wait\n- high: today")
    product: str | None = Field(None, description="The product, if any.")
    deadline: date
    seen: datetime
    count: int
    score: float
    angry: bool
    topics: list[str]
    moods: list[Literal["happy", "sad"]]


Answer.__doc__ = None  # Claude would be told

FIELDS: dict[str, Any] = {
    "severity": {"description": "How bad.", "choices": {"low": "can wait", "high": "today"}},
    "product": {"type": "string", "optional": True, "description": "The product, if any."},
    "deadline": "date",
    "seen": "datetime",
    "count": "integer",
    "score": {"type": "number"},
    "angry": "boolean",
    "topics": {"type": "list"},
    "moods": {"type": "list", "choices": ["happy", "sad"]},
}


def test_fields_in_yaml_are_the_columns_and_the_question_of_a_model(load: Load) -> None:
    """Types, descriptions, choices and what may be null: as the pydantic model that one would write."""
    _, defs = load(ask={"prompt": "About: {body}", "output": FIELDS, "system": "Be brief."})

    of_yaml = declaration_of(asset_of(defs)).task
    ask = Ask("About: {body}", Answer, system="Be brief.")
    assert of_yaml.schema.columns == ask.schema.columns
    assert of_yaml.builder.definition == ask.builder.definition


class Spelled(BaseModel):
    """What the page about the component says of Python."""

    topic: str
    note: str | None = None
    about: str = Field(description="Of what.")
    mood: Literal["a", "b"]
    how: Literal["a", "b"] = Field(description="How.\nOne of:\n- a: one\n- b: two")
    topics: list[str]
    sizes: list[int]


Spelled.__doc__ = None  # Claude would be told


def test_the_same_question_in_python_is_the_same(load: Load) -> None:
    """As the table of the page has it: who moves from YAML to Python pays for nothing again."""
    output = {
        "topic": "string",
        "note": {"type": "string", "optional": True},
        "about": {"description": "Of what."},
        "mood": {"choices": ["a", "b"]},
        "how": {"description": "How.", "choices": {"a": "one", "b": "two"}},
        "topics": "list",
        "sizes": {"type": "list", "items": "integer"},
    }
    _, defs = load(ask={"prompt": "{body}", "output": output})
    python = build_batch_asset(name="answers", upstream="tickets", ask=Ask("{body}", Spelled))

    [of_yaml], [of_python] = asset_of(defs).specs, python.specs
    assert of_yaml.code_version == of_python.code_version


def test_objects_and_lists_of_them_can_be_said(load: Load) -> None:
    """An object has fields of its own, as deep as one likes."""
    place = {"type": "object", "fields": {"town": "string", "floors": {"type": "list", "items": "integer"}}}
    _, defs = load(ask={"prompt": "{body}", "output": {"home": place, "others": {"type": "list", "items": place}}})

    columns = declaration_of(asset_of(defs)).task.schema.columns
    shown = {column.name: column.type for column in _schema(defs).columns}
    assert list(columns) == ["home", "others"]
    assert shown["home"] == 'STRUCT("town" VARCHAR, "floors" BIGINT[])'
    assert shown["others"] == 'STRUCT("town" VARCHAR, "floors" BIGINT[])[]'


def _schema(defs: dg.Definitions) -> dg.TableSchema:
    [spec] = asset_of(defs).specs
    return spec.metadata["dagster/column_schema"]  # type: ignore[no-any-return]


def test_a_model_and_a_function_are_named_by_their_path(load: Load) -> None:
    """From the folder of the YAML file on, with a dot before it, or from anywhere."""
    _, defs = load(
        {"models.py": MODULE, "__init__.py": ""},
        ask={"prompt": {"function": ".models.render"}, "output": ".models.Ticket"},
    )

    builder = declaration_of(asset_of(defs)).task.builder
    assert list(declaration_of(asset_of(defs)).task.schema.columns) == ["severity"]
    assert b"about the pump" in builder.build({"subject": "the pump"}).params
    [spec] = asset_of(defs).specs
    links = {link.label: link for link in spec.metadata["dagster/code_references"].code_references}
    assert Path(links["prompt"].file_path).name == "models.py"
    assert links["prompt"].line_number == MODULE[: MODULE.index("def render")].count("\n") + 1


def test_a_prompt_in_a_file_is_taken_as_it_is_and_linked_to(load: Load) -> None:
    """Braces are those of our templates there, not those of template variables."""
    _, defs = load(
        {"prompt.md": 'Answer as {{"a": 1}}.\n{body}\n', "system.md": "Be brief.\n"},
        ask={"prompt": {"path": "prompt.md"}, "system": {"path": "system.md"}, "output": {"summary": "string"}},
    )

    request = declaration_of(asset_of(defs)).task.builder.build({"body": "Hello."})
    assert rb'"Answer as {\"a\": 1}.\nHello.\n"' in request.params
    assert rb'"system":"Be brief.\n"' in request.params
    [spec] = asset_of(defs).specs
    links = spec.metadata["dagster/code_references"].code_references
    assert {Path(link.file_path).name for link in links} == {"defs.yaml", "prompt.md"}


@pytest.mark.parametrize("text", ["1", "True", "1_000", "[1, 2]", "two\n", "{a: 1}", " kept "])
def test_a_text_stays_the_text_that_is_written(load: Load, text: str) -> None:
    """Dagster would take a text that reads as a number for one, and the last end of a line away."""
    _, defs = load(ask={"labels": {"billing": text, "other": "the rest"}, "system": text})

    params = declaration_of(asset_of(defs)).task.builder.base
    assert params["system"] == text
    assert f"- billing: {text}\n" in str(params["output_config"]["format"]["schema"]["properties"]["label"]).replace(
        "\\n", "\n"
    )


def test_template_variables_work_in_every_text(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """In labels, prompts, descriptions and settings."""
    monkeypatch.setenv("TEAM", "support")
    _, defs = load(
        name="answers_{{ env.TEAM }}",
        upstream="{{ env.TEAM }}/tickets",
        group_name="{{ env.TEAM }}",
        ask={
            "prompt": "For {{ env.TEAM }}:\n{body}\n",
            "system": "You are {{ env.TEAM }}.",
            "output": {"topic": {"description": "Of {{ env.TEAM }}.", "choices": {"a": "{{ env.TEAM }} a", "b": "b"}}},
            "max_tokens": "{{ 100 + 1 }}",
        },
        checks={"error_rate": {"warn": "{{ 0.01 * 2 }}"}},
    )

    asset = asset_of(defs, "answers_support")
    task, [spec] = declaration_of(asset).task, asset.specs
    request = task.builder.build({"body": "Hello."}).params.decode()
    assert 'For support:\\nHello.\\n"' in request
    assert "You are support." in request
    assert "Of support." in request
    assert "- a: support a" in request
    assert '"max_tokens":101' in request
    assert spec.group_name == "support"
    assert [dep.asset_key.path for dep in spec.deps] == [["support", "tickets"]]


def test_what_the_environment_says_stays_a_text_where_it_is_one(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """And becomes a number where one is needed: a version is no number, an end of line is kept."""
    monkeypatch.setenv("VERSION", "1.10")
    monkeypatch.setenv("N", "7")
    _, defs = load(
        group_name="2024",
        partitions_def={"type": "static", "partition_keys": ["{{ env.VERSION }}", "b"]},
        partition_expr='"Order Region"',
        metadata={"page": "1.0", "n": "{{ env.N | int }}"},
        checks={"error_rate": {"warn": "{{ env.N | float / 100 }}", "fail": 0.2}},
        ask={
            **LABELS,
            "system": "v {{ env.VERSION }}\n\n",
            "max_tokens": "{{ env.N }}",
            "params": {"metadata": {"user_id": "{{ env.VERSION }}"}},
        },
        resource={"api_key": "{{ env.K }}", "database": "w.duckdb", "poll_interval_seconds": "{{ env.N }}"},
        new_documents_sensor={"settle_seconds": 1},
    )

    asset = asset_of(defs)
    [spec], base = asset.specs, declaration_of(asset).task.builder.base
    assert spec.group_name == "2024"
    assert spec.metadata["page"] == "1.0"
    assert spec.metadata["n"] == 7
    assert base["system"] == "v 1.10\n\n"
    assert base["max_tokens"] == 7
    assert base["metadata"] == {"user_id": "1.10"}
    assert asset.partitions_def is not None
    assert asset.partitions_def.get_partition_keys() == ["1.10", "b"]
    [resource] = (defs.resources or {}).values()
    assert resource.poll_interval_seconds == 7.0


def test_objects_may_stand_for_what_is_asked(load_text: Any) -> None:
    """A question, checks, a model, a resource and switches may be template variables."""
    module = """
import os
import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import BaseModel
from claude_batch_dagster import Ask, ClaudeBatchResource
from claude_batch_dagster.checks import ErrorRate

class Ticket(BaseModel):
    topic: str

@dg.template_var
def question():
    return Ask("{text}", Ticket)

@dg.template_var
def strict():
    return [ErrorRate(warn=0.0)]

@dg.template_var
def shared():
    return ClaudeBatchResource(api_key=dg.EnvVar("K"), database=DuckDBResource(database="w.duckdb"))

@dg.template_var
def production():
    return True
"""
    text = yaml.safe_dump(
        {
            "type": "claude_batch_dagster.ClaudeBatchComponent",
            "template_vars_module": ".variables",
            "attributes": {
                "name": "answers",
                "upstream": "tickets",
                "ask": "{{ question }}",
                "checks": "{{ strict }}",
                "resource": "{{ shared }}",
                "submission": "{{ production }}",
                "collect_sensor": "{{ production }}",
                "new_documents_sensor": "{{ not production }}",
            },
        }
    )

    component, defs = load_text(text, {"variables.py": module, "__init__.py": ""})

    assert list(component.ask.schema.columns) == ["topic"]
    assert component.checks == [ErrorRate(warn=0.0)]
    assert [sensor.name for sensor in defs.sensors or ()] == ["answers_collect"]
    assert len(list(defs.assets or ())) == 2


@pytest.mark.parametrize(
    "nothing",
    ["sql", "checks", "partitions_def", "resource", "schedule", "hooks", "automation_condition", "backfill_policy"],
)
def test_null_is_nothing(load: Load, nothing: str) -> None:
    """An attribute that is switched off with `null` is as if it were not there."""
    _, defs = load(**{nothing: None})

    assert asset_of(defs).keys


def test_what_is_said_of_items_reaches_claude(load: Load) -> None:
    """The description of what a list is made of, and of its choices."""
    items = {"description": "One topic.", "choices": {"a": "the first", "b": "the second"}}
    _, defs = load(ask={"prompt": "{body}", "output": {"topics": {"type": "list", "items": items}}})

    format_ = declaration_of(asset_of(defs)).task.builder.base["output_config"]["format"]
    told = str(format_["schema"])
    for part in ("One topic.", "- a: the first", "- b: the second"):
        assert part in told


@pytest.mark.parametrize(
    ("said", "expr", "kind", "n"),
    [
        (
            {"type": "daily", "start_date": "2026-01-01", "end_date": "2026-01-08"},
            "day",
            dg.DailyPartitionsDefinition,
            7,
        ),
        (
            {"type": "monthly", "start_date": "2026-01-01", "end_date": "2026-05-01"},
            "day",
            dg.MonthlyPartitionsDefinition,
            4,
        ),
        ({"type": "static", "partition_keys": ["a", "b"]}, "part", dg.StaticPartitionsDefinition, 2),
        ({"type": "dynamic", "name": "customers"}, "customer", dg.DynamicPartitionsDefinition, 0),
        (
            {
                "type": "multi",
                "partitions": {
                    "day": {"type": "daily", "start_date": "2026-01-01", "end_date": "2026-01-08"},
                    "part": "{{ dg.StaticPartitionsDefinition(['a', 'b']) }}",
                },
            },
            {"day": "day", "part": "part"},
            dg.MultiPartitionsDefinition,
            14,
        ),
        (
            "{{ dg.WeeklyPartitionsDefinition(start_date='2026-01-04', end_date='2026-01-18') }}",
            "day",
            dg.WeeklyPartitionsDefinition,
            2,
        ),
    ],
    ids=["daily", "monthly", "static", "dynamic", "multi", "template"],
)
def test_partitions_are_said_as_dagster_says_them(load: Load, said: Any, expr: Any, kind: type, n: int) -> None:
    """And monthly, dynamic and two-dimensional ones, of which Dagster has no form."""
    _, defs = load(partitions_def=said, partition_expr=expr)

    found = asset_of(defs).partitions_def
    assert found is not None
    assert isinstance(found, kind)
    with dg.DagsterInstance.ephemeral() as instance:
        assert len(found.get_partition_keys(dynamic_partitions_store=instance)) == n


def test_what_dagster_takes_reaches_the_asset(load_text: Any) -> None:
    """Group, owners, tags, kinds, metadata, dependencies, conditions, the op."""
    text = yaml.safe_dump(
        {
            "type": "claude_batch_dagster.ClaudeBatchComponent",
            "template_vars_module": ".variables",
            "attributes": {
                **ATTRIBUTES,
                "key_prefix": ["silver", "support"],
                "group_name": "support",
                "description": "What tickets are about.",
                "owners": ["team:support"],
                "tags": {"tier": "prod"},
                "kinds": ["claude"],
                "metadata": {"page": "wiki"},
                "deps": ["customers"],
                "automation_condition": "{{ dg.AutomationCondition.eager() }}",
                "retry_policy": "{{ retries }}",
                "hooks": "{{ hooks }}",
                "backfill_policy": {"type": "multi_run", "max_partitions_per_run": 7},
                "op": {"name": "ask_claude", "tags": {"size": "small"}, "pool": "claude"},
                "table_schema": "labels",
                "key": ["tenant", "id"],
                "sample_columns": ["subject"],
                "sql": "FROM silver.tickets",
                "checks": {"error_rate": {"warn": 0.0, "blocking": True}, "complete": {"fail": 0.5}},
            },
        },
    )
    _, defs = load_text(text, {"variables.py": MODULE, "__init__.py": ""})

    asset = asset_of(defs)
    [spec], declared = asset.specs, declaration_of(asset)
    assert spec.key.path == ["silver", "support", "answers"]
    assert (spec.group_name, spec.description, spec.owners) == ("support", "What tickets are about.", ["team:support"])
    assert spec.kinds == {"claude"}
    assert spec.tags["tier"] == "prod"
    assert spec.metadata["page"] == "wiki"
    assert {dep.asset_key.path[-1] for dep in spec.deps} == {"tickets", "customers"}
    assert spec.automation_condition == dg.AutomationCondition.eager()
    assert asset.backfill_policy == dg.BackfillPolicy.multi_run(7)
    assert (asset.op.name, asset.op.pool, asset.op.tags["size"]) == ("ask_claude", "claude", "small")
    assert asset.op.retry_policy == dg.RetryPolicy(max_retries=2)
    assert {hook.name for hook in asset.hook_defs} == {"tell"}
    assert str(declared.task.target) == "labels.answers"
    assert declared.task.upstream.key == ("tenant", "id")
    assert declared.task.upstream.relation == "(FROM silver.tickets\n)"
    assert [check.name for check in asset.check_specs if check.blocking] == ["error_rate"]


@pytest.mark.parametrize("kind", USUAL)
def test_thresholds_are_named_by_their_check(load: Load, kind: Any) -> None:
    """Each of them, and what is not said stays as it is."""
    component, _ = load(checks={kind.name: {"blocking": True}}, budget={"usd": 5}, gold="labelled")

    assert component.checks == [kind(blocking=True)]


def test_thresholds_mean_what_they_mean_in_python(load: Load) -> None:
    """The same classes stand behind them."""
    component, _ = load(
        checks={"error_rate": {"warn": 0.01, "fail": 0.05}, "complete": {"warn": 1}, "paid_once": {"fail": 9}}
    )

    assert component.checks == [ErrorRate(warn=0.01, fail=0.05), Complete(warn=1), PaidOnce(fail=9)]


def test_sensors_and_schedules_are_switched_on(load: Load) -> None:
    """With a word, or with settings of their own."""
    _, defs = load(
        partitions_def={"type": "daily", "start_date": "2026-01-01"},
        partition_expr="day",
        submission=True,
        collect_sensor=True,
        new_documents_sensor={"settle_seconds": 300, "minimum_interval_seconds": 30},
        schedule={"cron_schedule": "0 6 * * *", "timezone": "Europe/Berlin"},
        job=True,
    )

    assert {sensor.name: sensor.minimum_interval_seconds for sensor in defs.sensors or ()} == {
        "answers_collect": 60,
        "answers_new_documents": 30,
    }
    assert asset_of(defs, "answers_submission").partitions_def == asset_of(defs).partitions_def
    schedules: Any = defs.schedules
    [schedule], [job] = schedules, defs.jobs or ()
    assert (schedule.name, schedule.cron_schedule, schedule.execution_timezone) == (
        "answers_schedule",
        "0 6 * * *",
        "Europe/Berlin",
    )
    assert job.name == "answers_job"


def test_nothing_is_switched_on_unless_it_is_said(load: Load) -> None:
    """Sensors cost money: `false` and nothing at all mean none."""
    for switches in ({}, {"submission": False, "collect_sensor": False, "new_documents_sensor": False, "job": False}):
        _, defs = load(**switches)

        assert len(list(defs.assets or ())) == 1
        assert not [*(defs.sensors or ()), *(defs.schedules or ()), *(defs.jobs or ())]


def test_a_resource_of_its_own_keeps_its_secrets_in_the_environment(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables of the environment are read when a run begins: Dagster stores their names alone."""
    monkeypatch.setenv("OUR_KEY", "sk-ant-hush")
    _, defs = load(
        resource={
            "api_key": "{{ env.OUR_KEY }}",
            "ledger_url": "{{ env('LEDGER_URL') }}",
            "default_headers": {"x-token": "{{ env.OUR_KEY }}"},
            "database": {"database": "{{ context.project_root }}/w.duckdb", "connection_config": {"threads": 2}},
            "poll_interval_seconds": "{{ 2 + 3 }}",
            "on_unconfirmed": "hold",
        }
    )

    [(key, resource)] = (defs.resources or {}).items()
    assert key == "answers__claude_batch"
    assert isinstance(resource, ClaudeBatchResource)
    assert resource.api_key == dg.EnvVar("OUR_KEY")
    assert resource.ledger_url == dg.EnvVar("LEDGER_URL")
    assert resource.default_headers == {"x-token": dg.EnvVar("OUR_KEY")}
    assert (resource.poll_interval_seconds, resource.on_unconfirmed) == (5.0, "hold")
    assert isinstance(resource.database, DuckDBResource)
    assert resource.database.database.endswith("/w.duckdb")
    assert Path(resource.database.database).is_absolute()
    assert declaration_of(asset_of(defs)).resource_key == key
    assert "hush" not in repr(resource)


def test_two_assets_with_a_resource_each_stand_beside_each_other(load_text: Any) -> None:
    """Dagster refuses two resources of one key, so each has its own."""
    resource = {"api_key": "{{ env.K }}", "database": "w.duckdb"}
    documents = [
        {
            "type": "claude_batch_dagster.ClaudeBatchComponent",
            "attributes": {**ATTRIBUTES, "name": name, "resource": resource},
        }
        for name in ("first", "second")
    ]

    _, defs = load_text(yaml.safe_dump_all(documents))

    assert set(defs.resources or ()) == {"first__claude_batch", "second__claude_batch"}


def test_upstream_may_be_handed_over_by_its_io_manager(load: Load) -> None:
    """Or mapped: what Dagster waits for is a template variable."""
    _, defs = load(upstream={"key": "silver/tickets", "io_manager": True})

    declared = declaration_of(asset_of(defs))
    assert declared.source.key.path == ["silver", "tickets"]
    assert declared.source.ins


def test_columns_are_made_of_what_the_prompt_names(load: Load) -> None:
    """The UI shows that an answer depends on the columns in the prompt, and the key on the key."""
    _, defs = load(ask={"prompt": "{subject}: {body}", "output": {"summary": "string", "topic": "string"}})

    [spec] = asset_of(defs).specs
    lineage = spec.metadata["dagster/column_lineage"].deps_by_column
    found = {column: {(dep.asset_key.path[-1], dep.column_name) for dep in deps} for column, deps in lineage.items()}
    named = {("tickets", "subject"), ("tickets", "body")}
    assert found == {"id": {("tickets", "id")}, "summary": named, "topic": named}


@pytest.mark.parametrize(
    ("said", "budget"),
    [
        ({"usd": 10}, Budget(usd=10)),
        ({"usd": 0.5, "per": "month", "scope": "support"}, Budget(usd=0.5, per="month", scope="support")),
        ({"usd": "{{ env.DAILY_USD }}", "per": "day"}, Budget(usd=7.5)),
    ],
)
def test_a_budget(load: Load, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], budget: Budget) -> None:
    """Dollars by time and scope, as in Python; amounts may come out of the environment."""
    monkeypatch.setenv("DAILY_USD", "7.5")

    component, defs = load(budget=said, canary=50, caching="off", confirm_repay_usd=None)

    assert (component.budget, component.canary, component.caching) == (budget, 50, "off")
    assert component.confirm_repay_usd is None
    spending = declaration_of(asset_of(defs)).task.spending
    assert (spending.budget, spending.canary, spending.caching) == (budget, 50, "off")


@pytest.mark.parametrize(
    ("said", "deadline"),
    [
        ({"hours": 6}, timedelta(hours=6)),
        ({"days": 1, "hours": 2, "minutes": 30}, timedelta(days=1, hours=2, minutes=30)),
        ({"minutes": "{{ env.MINUTES }}"}, timedelta(minutes=90)),
    ],
)
def test_a_deadline(load: Load, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], deadline: timedelta) -> None:
    """A time from the start of a run; and how plans of a few rows are asked."""
    monkeypatch.setenv("MINUTES", "90")

    component, defs = load(deadline=said, small_batches="live", small_batches_below=5)

    assert component.deadline == deadline
    spending = declaration_of(asset_of(defs)).task.spending
    assert (spending.deadline, spending.small_batches, spending.small_batches_below) == (deadline, "live", 5)


def test_trials_can_be_said(load: Load) -> None:
    """As in Python: models, prompts by name, from files or functions, efforts, the bar, and what may be spent."""
    _, defs = load(
        {"short.md": "{text}\n", "models.py": MODULE, "__init__.py": ""},
        gold="labelled",
        trials={
            "models": ["claude-haiku-5-5", "{{ 'claude-sonnet-5-5' }}"],
            "prompts": {"short": {"path": "short.md"}, "plain": "Of:\n{text}", "made": {"function": ".models.render"}},
            "efforts": ["low"],
            "bar": "{{ 0.45 * 2 }}",
            "budget": {"usd": 2, "per": "run"},
        },
    )

    declared = trials_of(asset_of(defs, "answers_trials"))
    assert declared is not None
    trials = declared.trials
    assert {(one.model, one.prompt, one.effort) for one in trials.candidates if not one.is_current} == {
        (model, prompt, "low")
        for model in ("claude-haiku-5-5", "claude-sonnet-5-5")
        for prompt in ("current", "short", "plain", "made")
    }
    assert trials.bar == 0.9
    [budget] = {one.task.spending.budget for one in trials.candidates}
    assert budget == Budget(usd=2, per="run", scope="public.answers_trials")
    short = next(one for one in trials.candidates if one.prompt == "short")
    assert b'"Hello.\\n"' in short.task.builder.build({"text": "Hello."}).params
