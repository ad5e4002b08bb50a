import inspect
import subprocess
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from typing import Any, Literal

import dagster as dg
import orjson
import pytest
from anthropic import transform_schema
from pydantic import BaseModel, Field, create_model

import claude_batch_dagster
from claude_batch_dagster import (
    Ask,
    ClaudeBatchError,
    build_batch_asset,
    build_classification_asset,
    build_submission_asset,
)
from claude_batch_dagster.assets.dagster_options import MOVED, DagsterOptions
from claude_batch_dagster.assets.registry import declaration_of
from claude_batch_dagster.errors import ConfigurationError, OutputModelError, TemplateError

Declare = Callable[..., dg.AssetsDefinition]


class Topic(BaseModel):
    """What a document is about."""

    topic: Literal["war", "economy"]


class OtherTopic(BaseModel):
    """What a document is about, in other words."""

    topic: Literal["war", "peace"]


# --- the public names ---------------------------------------------------------------------------------


def test_public_names_are_few_sorted_and_there() -> None:
    """What the package offers is a short, sorted list, and all of it exists."""
    names = claude_batch_dagster.__all__

    assert names == sorted(names, key=lambda name: (not name.isupper(), name))
    assert len(names) <= 18
    assert all(hasattr(claude_batch_dagster, name) for name in names)


def test_names_that_are_not_public_are_not_there() -> None:
    """A name that the package does not offer is an AttributeError, and `dir` lists those it offers."""
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        _ = claude_batch_dagster.nonesuch

    assert set(claude_batch_dagster.__all__) <= set(dir(claude_batch_dagster))


def test_everything_public_is_documented() -> None:
    """Each public name says what it is."""
    for name in claude_batch_dagster.__all__:
        if not name.isupper():
            assert inspect.getdoc(getattr(claude_batch_dagster, name)), name


def test_every_option_of_the_factory_is_documented() -> None:
    """The docstring of the factory names every option, and the default of those that are not None or empty."""
    documented = "\n".join(inspect.getdoc(one) or "" for one in (build_batch_asset, Ask))
    told = {*inspect.signature(build_batch_asset).parameters, *inspect.signature(Ask).parameters} - {"options"}

    for name in told:
        assert f"\n    {name}: " in documented, name
    assert all(f"`{name}`" in documented for name in DagsterOptions.__annotations__)
    assert "{text}" in documented
    assert "1,024" in documented


def test_the_classification_takes_what_the_factory_takes() -> None:
    """Options of the general factory pass through, and a misspelled one is refused."""
    with pytest.raises(TypeError, match="max_token"):
        build_classification_asset(name="a", upstream="b", labels={"x": "", "y": ""}, max_token=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("option", sorted(MOVED))
def test_what_is_written_otherwise_since_says_how(option: str) -> None:
    """An option of the first version is refused with what to write in its place, also where `ask` is missing yet."""
    declare: Any = build_batch_asset
    for given in ({}, {"ask": Ask("{text}", Topic)}):
        with pytest.raises(TypeError, match=rf"unexpected keyword argument '{option}'\. .*(ask=Ask\(|checks=\[)"):
            declare(name="a", upstream="b", **given, **{option: 1})


@pytest.mark.parametrize("option", ["ask", "prompt", "output"])
def test_a_classification_has_a_question_of_its_own(option: str) -> None:
    """Another one is for the other factory."""
    declare: Any = build_classification_asset
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{option}'\. A classification has its own"):
        declare(name="a", upstream="b", labels={"x": "", "y": ""}, **{option: 1})


def test_hooks_are_of_the_asset_and_not_of_its_submission() -> None:
    """One that says that labels are ready must not say so when rows were sent."""

    @dg.success_hook
    def ready(_: dg.HookContext) -> None:
        pass

    asset = build_classification_asset(name="a", upstream="b", labels={"x": "", "y": ""}, hooks={ready})

    assert {hook.name for hook in asset.hook_defs} == {"ready"}
    assert not build_submission_asset(asset).hook_defs


def test_lineage_of_ones_own_stays() -> None:
    """What the user says of the columns counts."""
    own = dg.TableColumnLineage({"label": []})
    metadata = {"dagster/column_lineage": own}
    asset = build_classification_asset(name="a", upstream="b", labels={"x": "", "y": ""}, metadata=metadata)

    [spec] = asset.specs
    assert spec.metadata["dagster/column_lineage"] == own


def test_a_question_can_be_kept_in_a_set() -> None:
    """Whatever its params."""
    assert len({Ask("{text}", Topic, params={"metadata": {}}), Ask("{text}", Topic)}) == 2


# --- what is passed on --------------------------------------------------------------------------------


def test_what_dagster_shows_is_passed_on(classification: Declare) -> None:
    """Group, owners, tags, description, kinds, condition and policy reach Dagster."""
    condition = dg.AutomationCondition.eager()
    policy = dg.BackfillPolicy.multi_run(7)
    asset = classification(
        key_prefix="silver",
        group_name="llm",
        owners=["team:nlp"],
        tags={"cost": "high"},
        description="What it is about.",
        automation_condition=condition,
        backfill_policy=policy,
    )

    spec = asset.get_asset_spec()
    assert (spec.group_name, spec.owners, spec.description) == ("llm", ["team:nlp"], "What it is about.")
    kinds = {"dagster/kind/claude": "", "dagster/kind/duckdb": ""}
    assert spec.tags == {"cost": "high", "claude_batch/asset": "silver.answers", **kinds}
    assert (spec.automation_condition, asset.backfill_policy) == (condition, policy)
    assert {check.name for check in asset.check_specs} == {
        "error_rate",
        "expiry_rate",
        "complete",
        "invalid_rate",
        "label_drift",
        "paid_once",
        "retention",
    }


def test_the_submission_asset_is_shown_beside_it(classification: Declare) -> None:
    """It has the group, owners, partitions and code version of the asset, and says what it is for."""
    asset = classification(key_prefix="silver", group_name="llm", owners=["team:nlp"])
    spec, submission = asset.get_asset_spec(), build_submission_asset(asset).get_asset_spec()

    assert submission.key == dg.AssetKey(["silver", "answers_submission"])
    assert (submission.group_name, submission.owners) == ("llm", ["team:nlp"])
    assert (submission.partitions_def, submission.code_version) == (spec.partitions_def, spec.code_version)
    assert submission.kinds == {"claude"}
    assert "`silver/answers`" in str(submission.description)


def test_f107_a_backfill_is_one_run_by_default(classification: Declare) -> None:
    """By default a backfill is one run, of this asset alone."""
    policy = classification().backfill_policy

    assert policy == dg.BackfillPolicy.multi_run(5000)


def test_the_description_tells_what_is_asked(classification: Declare, asking: Declare) -> None:
    """By default the description shows model, prompt and system prompt."""
    described = classification().get_asset_spec().description or ""
    by_function = asking(prompt=lambda row: str(row["text"]), output=Topic).get_asset_spec().description or ""

    assert "`claude-haiku-5-5`" in described
    assert "<document>\n{text}\n</document>" in described
    assert "You classify documents." in described
    assert "a Python function" in by_function
    assert "System prompt" not in by_function


def test_definitions_load_with_everything_at_once(classification: Declare, years: Any) -> None:
    """Assets, their checks and a downstream asset make one set of definitions."""

    @dg.asset(partitions_def=years, deps=["answers"])
    def after() -> None:
        pass

    defs = dg.Definitions(
        assets=[classification(), classification(name="more", upstream="answers", partition_expr="answered_at"), after],
        resources={"claude_batch": dg.ResourceDefinition.hardcoded_resource(None)},
    )

    dg.Definitions.validate_loadable(defs)
    assert len(list(defs.resolve_all_asset_keys())) == 4  # and their upstream


# --- what is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "match"),
    [
        ("{text!r}", r"\{text!r\}, which is not the plain name of a column"),
        ("{text:>10}", "not the plain name"),
        ("{row.text}", "not the plain name"),
        ("{0}", "not the plain name"),
        ("{}", "not the plain name"),
        ('Answer as {"label": ...}', "Write {{ and }} for braces"),
        ("a single } brace", "Write {{ and }} for braces"),
        ("a single { brace", "Write {{ and }} for braces"),
        ("What is it about?", "names no column, so it would ask the same about every row. .* for example {text}"),
    ],
)
def test_f13_f14_a_template_that_is_none_is_refused(asking: Declare, prompt: str, match: str) -> None:
    """A template with anything but names of columns is refused when the asset is declared, with the remedy."""
    with pytest.raises(TemplateError, match=match):
        asking(prompt=prompt, output=Topic)


@pytest.mark.parametrize(
    ("fields", "key", "match"),
    [
        ({"ID": (str, ...)}, "id", "output field 'ID' collides with the key"),
        ({"status": (str, ...)}, "id", "bookkeeping column 'status' collides with the output field"),
        ({"Batch_ID": (str, ...)}, "id", "bookkeeping column 'batch_id' collides"),
        ({"topic": (str, ...)}, "Error", "bookkeeping column 'error' collides with the key"),
        ({"topic": (str, ...)}, ["id", "ID"], "the key 'ID' collides with the key"),
        ({}, "id", "has no fields; add at least one"),
    ],
)
def test_f96_columns_that_collide_are_refused(
    asking: Declare, fields: dict[str, Any], key: str | list[str], match: str
) -> None:
    """Names that DuckDB cannot tell apart are refused when the asset is declared."""
    with pytest.raises(OutputModelError, match=match):
        asking(output=create_model("Answer", **fields), key=key)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ({"War": "", "war": ""}, "labels must differ in more than case"),
        ({"war": ""}, "at least two labels"),
        ({}, "at least two labels"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(
    classification: Declare, labels: dict[str, str], match: str
) -> None:
    """Labels that differ in case only, or fewer than two, are no classification."""
    with pytest.raises(ConfigurationError, match=match):
        classification(labels=labels)


class Described(BaseModel):
    """An output of which a field says more than its type does."""

    kind: "Kind" = Field(description="which one it is")


def test_answers_of_an_earlier_version_are_found_by_the_bytes_that_it_sent(classification: Declare) -> None:
    """Whatever is said in more words today."""
    asset = build_batch_asset(name="a", upstream="documents", ask=Ask("{text}", Described))
    builder = declaration_of(asset).task.builder
    before = {"type": "json_schema", "schema": transform_schema(Described)}
    sent = {**builder.base, "output_config": {"format": before}, "messages": [{"role": "user", "content": "a"}]}

    today = builder.build({"text": "a"}).params

    assert "which one it is" in today.decode()
    assert builder.as_before(today) == orjson.dumps(sent) != today


class Kind(Enum):
    """Labels of somebody's own."""

    WAR = "war"
    PEACE = "peace"


def test_labels_may_be_members_of_an_enumeration(classification: Declare) -> None:
    """They are known by their values, which must be texts."""
    asset = classification(labels={Kind.WAR: "army", Kind.PEACE: "treaty"})

    assert "- war: army" in str(asset.specs_by_key[asset.key].metadata)
    with pytest.raises(ConfigurationError, match=r"labels are texts; got 1\. Write '1'\."):
        classification(labels={1: "good", 2: "bad"})


@pytest.mark.parametrize("effort", ["hihg", "", "High"])
def test_an_effort_that_there_is_not_is_refused(classification: Declare, effort: str) -> None:
    """With those that there are."""
    with pytest.raises(ConfigurationError, match="effort is one of low, medium, high, xhigh, max; got"):
        classification(effort=effort)


def test_a_model_that_nobody_knows_is_told_when_it_is_declared() -> None:
    """It is no error, for a gateway may have it; the warning names the line where it is written."""
    doubted = r"nobody here knows the model 'claude-haiku-5\.5'\. Do you mean 'claude-haiku"
    labels = {"war": "army", "economy": "tax"}

    with pytest.warns(UserWarning, match=doubted) as of_the_factory:
        build_classification_asset(name="a", upstream="b", labels=labels, model="claude-haiku-5.5")
    with pytest.warns(UserWarning, match=doubted) as of_the_question:
        Ask("{text}", Topic, model="claude-haiku-5.5")

    assert [warning.filename for warning in (*of_the_factory, *of_the_question)] == [__file__, __file__]


def test_partitions_need_an_expression(classification: Declare, years: Any) -> None:
    """A partitioned asset must say which partition a row is of."""
    with pytest.raises(ConfigurationError, match=r"needs partition_expr.*such as partition_expr='published_on'"):
        classification(partitions_def=years)


@pytest.mark.parametrize("output", [dict, {"topic": "str"}, Topic(topic="war")], ids=["class", "dict", "instance"])
def test_an_output_that_is_no_model_is_refused(asking: Declare, output: Any) -> None:
    """The message says what belongs there."""
    with pytest.raises(OutputModelError, match=r"output= takes a pydantic model, a class"):
        asking(output=output)


def test_labels_without_descriptions_are_refused(classification: Declare) -> None:
    """A list of names is an easy mistake; the message shows a dict."""
    with pytest.raises(ConfigurationError, match="labels= takes a dict: each label with what belongs to it"):
        classification(labels=["war", "peace"])


def test_no_tokens_at_all_are_refused(asking: Declare) -> None:
    """Zero is no way to say the default."""
    with pytest.raises(ConfigurationError, match=r"max_tokens must be at least 1; got 0"):
        asking(output=Topic, max_tokens=0)


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k", "stream", "speed"])
def test_params_that_the_api_refuses_are_refused(asking: Declare, name: str) -> None:
    """What would come back as an error for every row, hours later, is refused when the asset is declared."""
    with pytest.raises(ConfigurationError, match=rf"must not hold '{name}'.*Remove it"):
        asking(output=Topic, params={name: 1})


def test_every_refusal_is_of_one_family() -> None:
    """Whoever catches ClaudeBatchError catches all of them, and ValueError those of definitions."""
    for kind in (ConfigurationError, TemplateError, OutputModelError):
        assert issubclass(kind, ClaudeBatchError)
        assert issubclass(kind, ValueError)


# --- the code version ---------------------------------------------------------------------------------


def version(asking: Declare, **options: Any) -> str | None:
    """Return the code version of an asset."""
    return asking(**{"output": Topic, **options}).get_asset_spec().code_version


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "{text}!"},
        {"model": "claude-sonnet-5-5"},
        {"system": "Be brief."},
        {"max_tokens": 5},
        {"effort": "low"},
        {"thinking": {"type": "adaptive"}},
        {"params": {"metadata": {"user_id": "u"}}},
        {"output": OtherTopic},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_code_version_changes_with_the_question(asking: Declare, change: dict[str, Any]) -> None:
    """Dagster shows an asset as changed when what is asked has changed."""
    assert version(asking, **change) != version(asking)


@pytest.mark.parametrize(
    "change",
    [
        {"description": "Other words."},
        {"group_name": "llm"},
        {"tags": {"a": "b"}},
        {"max_attempts": 1},
        {"sample_columns": ["text"]},
        {"name": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_code_version_stays_otherwise(asking: Declare, change: dict[str, Any]) -> None:
    """What does not change the question does not change its version."""
    assert version(asking, **change) == version(asking)


def test_the_order_of_params_is_no_change(asking: Declare) -> None:
    """Params written in another order ask the same."""
    assert version(asking, params={"a": 1, "b": 2}) == version(asking, params={"b": 2, "a": 1})


GREETING = "Hello"
END: dict[str, Any] = {"end": "!"}


def upper(row: Mapping[str, Any]) -> str:
    """Ask in capitals."""
    return str(row["text"]).upper()


def lower(row: Mapping[str, Any]) -> str:
    """Ask in small letters."""
    return str(row["text"]).lower()


def greeting(row: Mapping[str, Any]) -> str:
    """Ask with a constant of the module."""
    return f"{GREETING} {row['text']}"


def saying(words: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a prompt function around some words."""

    def prompt(row: Mapping[str, Any], end: str = ".") -> str:
        return f"{words} {row['text']}{end}"

    return prompt


class Asker:
    """A prompt function that is an object."""

    def __call__(self, row: Mapping[str, Any]) -> str:
        """Ask with the text."""
        return str(row["text"])


def test_the_code_version_follows_a_prompt_function(asking: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that does something else, or says something else, is another version."""
    versions = [
        version(asking, prompt=prompt)
        for prompt in (upper, lower, greeting, saying("a"), saying("b"), partial(saying("a"), **END), Asker())
    ]
    monkeypatch.setitem(globals(), "GREETING", "Good day")
    versions.append(version(asking, prompt=greeting))

    assert len(set(versions)) == len(versions)


VERSION_OF_A_FUNCTION = """
from claude_batch_dagster.core.asking.code_version import code_version
from claude_batch_dagster.core.asking.requests import RequestBuilder

def prompt(row):
    words = sorted({word for word in row["text"].split() if word not in {"a", "b", "c"}}, key=lambda word: -len(word))
    return " ".join(str(word) for word in words)

print(code_version(RequestBuilder(prompt=prompt, base={"model": "m"})))
"""


def test_the_code_version_of_a_function_is_the_same_in_every_process() -> None:
    """Loading the same code again is no change, whatever the process and its hash seed."""
    command = [sys.executable, "-c", VERSION_OF_A_FUNCTION]

    versions = {
        subprocess.run(command, check=True, capture_output=True, env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    }

    assert len(versions) == 1


def test_a_function_without_code_has_a_version(asking: Declare) -> None:
    """A function written in C has no code to look at; its kind is all there is."""
    assert version(asking, prompt="{}".format) == version(asking, prompt="{} ".format)
