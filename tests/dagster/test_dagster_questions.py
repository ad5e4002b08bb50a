from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
import pytest
from pydantic import BaseModel

from claude_batch_dagster import DEFAULT_MODEL
from claude_batch_dagster.client import output_format
from claude_batch_dagster.errors import ConfigurationError
from tests.canary import marked

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify

Declare = Callable[..., dg.AssetsDefinition]
Digest = Callable[[Mapping[str, Any]], str]


class Topic(BaseModel):
    """What a document is about."""

    topic: Literal["war", "economy", "other"]


def params(content: str, **others: Any) -> dict[str, Any]:
    """Return what one request is to be, unless something else is asked for."""
    return {
        "model": DEFAULT_MODEL,
        "max_tokens": 1024,
        "thinking": {"type": "disabled"},
        "output_config": {"format": output_format(Topic)},
        "messages": [{"role": "user", "content": content}],
        **others,
    }


DOCUMENT = 'def f(x): return f"{x!r:>{10}}" % {"a": "100%"}  # {text} {{id}} %s \\n \\u0000 \t "quoted" é ☃ 𝄞 \r\n  '


def test_f12_a_document_arrives_byte_identical(world: "DagsterWorld", asking: Declare, digest: Digest) -> None:
    """Braces, percent signs, code, escapes and white space of a document are sent as they are."""
    world.write_documents([("a", DOCUMENT, None)], canary=False)

    world.run(asking(prompt='Example: {{"a": 1}} 100%\n<doc>{text}</doc>{id}', output=Topic))

    assert world.sent == [digest(params(f'Example: {{"a": 1}} 100%\n<doc>{DOCUMENT}</doc>a'))]


def test_columns_of_any_type_stand_in_a_prompt(world: "DagsterWorld", asking: Declare, digest: Digest) -> None:
    """Numbers and dates are written as text; case does not matter in a column's name."""
    world.write_documents([(7, 1.5, "1790-01-05")], kinds="id INTEGER, score DOUBLE, Published_On DATE")

    world.run(asking(prompt="{id} {score} {published_on}", output=Topic))

    assert world.sent == [digest(params("7 1.5 1790-01-05"))]


def test_what_is_asked_for_is_sent(world: "DagsterWorld", asking: Declare, digest: Digest) -> None:
    """System prompt, model, limit, thinking, effort and further params go into every request."""
    world.write_documents([("a", "tax", None)])
    asset = asking(
        output=Topic,
        system="Be brief.",
        model="claude-sonnet-5-5",
        max_tokens=77,
        thinking={"type": "adaptive"},
        effort="low",
        params={"metadata": {"user_id": "u"}, "stop_sequences": ["END"]},
    )

    world.run(asset)

    assert world.sent == [
        digest(
            params(
                marked("tax"),
                model="claude-sonnet-5-5",
                system="Be brief.",
                max_tokens=77,
                thinking={"type": "adaptive"},
                output_config={"format": output_format(Topic), "effort": "low"},
                metadata={"user_id": "u"},
                stop_sequences=["END"],
            )
        )
    ]


@pytest.mark.parametrize(
    ("model", "defaults"),
    [
        ("claude-haiku-5-5", {"max_tokens": 1024, "thinking": {"type": "disabled"}}),
        ("claude-opus-5", {"max_tokens": 1024, "thinking": {"type": "disabled"}}),
        ("claude-sonnet-5-5", {"max_tokens": 16_000, "thinking": {"type": "between_tools"}}),
        ("claude-opus-5-5", {"max_tokens": 16_000}),
    ],
)
def test_thinking_leaves_room_for_the_answer(
    world: "DagsterWorld", asking: Declare, digest: Digest, model: str, defaults: dict[str, Any]
) -> None:
    """By default a model does not think, or its limit leaves room for thoughts and answer."""
    world.write_documents([("a", "tax", None)])
    expected = params(marked("tax"), model=model)
    del expected["thinking"]

    world.run(asking(output=Topic, model=model))

    assert world.sent == [digest({**expected, **defaults})]
    assert world.statuses() == {"succeeded": 1}


def test_params_are_laid_over_the_output_config(world: "DagsterWorld", asking: Declare, digest: Digest) -> None:
    """An `output_config` among `params` adds to ours and does not lose the format."""
    world.write_documents([("a", "tax", None)])

    world.run(asking(output=Topic, params={"output_config": {"effort": "high"}}))

    assert world.sent == [
        digest(params(marked("tax"), output_config={"format": output_format(Topic), "effort": "high"}))
    ]


def test_a_function_makes_the_message(world: "DagsterWorld", asking: Declare, digest: Digest) -> None:
    """A function sees every column of the row, and what it returns is the message."""
    world.write_documents([("a", "tax", "1790-01-05")])

    def prompt(row: Mapping[str, Any]) -> str:
        return f"{sorted(row)} {row['id']} {row['published_on'].year}"

    world.run(asking(prompt=prompt, output=Topic))

    assert world.sent == [digest(params("['id', 'published_on', 'text'] a 1790"))]


def test_a_function_makes_params(world: "DagsterWorld", asking: Declare, digest: Digest) -> None:
    """A function may return params: they are laid over those of every request, row by row."""
    world.write_documents([("a", "tax", None), ("b", "army and navy", None)])

    def prompt(row: Mapping[str, Any]) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": row["text"]}], "max_tokens": 10 if row["id"] == "a" else 20}

    world.run(asking(prompt=prompt, output=Topic))

    assert set(world.sent) == {
        digest(params(marked("tax"), max_tokens=10)),
        digest(params(marked("army and navy"), max_tokens=20)),
    }


def test_f16_a_function_that_is_not_the_same_twice_is_refused(world: "DagsterWorld", asking: Declare) -> None:
    """A prompt that changes by itself would be paid for at every materialization: refused, with the reason."""
    numbers = iter(range(1000))

    with pytest.raises(ConfigurationError, match=r"two different requests from one row.*Nothing was sent"):
        world.run(asking(prompt=lambda _: f"question {next(numbers)}", output=Topic))

    assert world.n_posts == 0


def test_a_function_without_messages_is_refused(world: "DagsterWorld", asking: Declare) -> None:
    """Params without messages are no question."""
    with pytest.raises(ConfigurationError, match="returned params without 'messages'"):
        world.run(asking(prompt=lambda _: {"max_tokens": 5}, output=Topic))


def test_a_function_that_fails_shows_its_own_error(world: "DagsterWorld", asking: Declare) -> None:
    """What a prompt function raises is its author's to see; nothing was sent."""
    with pytest.raises(KeyError, match="body"):
        world.run(asking(prompt=lambda row: str(row["body"]), output=Topic))

    assert world.n_posts == 0


def test_labels_with_hostile_names(world: "DagsterWorld", classification: Declare) -> None:
    """Quotes, pipes, commas, accents and signs in labels come back as they were given."""
    labels = {
        'say "hello"': "greeting hello",
        "it's | piped": "pipe tube",
        "naïve, ☃ & <b>": "snow winter",
        "back\\slash {brace} 100%": "code program",
    }
    world.write_documents(
        [("1", "greeting hello", None), ("2", "a pipe, a tube", None), ("3", "snow in winter", None),
         ("4", "code of a program", None)]
    )  # fmt: skip

    result = world.run(classification(labels=labels, partitions_def=None))

    assert [row[1:] for row in world.answers()] == [(label, "succeeded") for label in labels]
    table = result.asset_materializations_for_node("answers")[0].metadata["claude_batch/labels"]
    assert isinstance(table, dg.TableMetadataValue)
    assert {record.data["label"] for record in table.records} == set(labels)


def test_a_label_in_the_wrong_case_is_tolerated(world: "DagsterWorld", classification: Declare) -> None:
    """The API does not guarantee capitalization, so a label is spelled as it was declared."""
    world.emulator.faults.add("wrong_case")

    world.run(classification(), partition="1790")

    assert world.answers() == [("a", "economy", "succeeded")]


@pytest.mark.parametrize("options", [{"name": "renamed"}, {"key_prefix": ["silver"]}, {"schema": "gold"}])
def test_an_asset_of_another_name_takes_the_answers_along(
    world: "DagsterWorld", classification: Declare, options: dict[str, Any]
) -> None:
    """They belong to the questions, whichever table asks: nothing is paid again."""
    world.run(classification(), span=("1790", "1793"))

    result = world.run(classification(**options), span=("1790", "1793"))

    told = result.asset_materializations_for_node(result.all_node_events[0].node_name)
    assert (result.success, world.n_posts, len(told)) == (True, 1, 4)
    schema, name = options.get("schema", options.get("key_prefix", ["public"])[-1]), options.get("name", "answers")
    assert world.read(f"SELECT count(*) FROM {schema}.{name} WHERE status = 'succeeded'") == [(4,)]  # noqa: S608
