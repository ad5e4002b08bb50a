"""Answers fit the schema that was asked for."""

from collections.abc import Callable
from datetime import date, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

import anthropic
import httpx2
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_batch_dagster.emulator import Emulator, EmulatorTransport
from claude_batch_dagster.emulator.answers import answerer
from claude_batch_dagster.emulator.reading import Reading

Ask = Callable[..., Any]


def answer(schema: dict[str, Any], text: str = "the navy won a battle", system: str = "") -> Any:
    """Return the answer to a text."""
    return answerer(schema, system)(Reading(text))


def closed(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}
FORMATS: dict[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "date-time": datetime.fromisoformat,
    "email": lambda text: text.index("@"),
    "uuid": UUID,
    "ipv4": IPv4Address,
    "ipv6": IPv6Address,
}


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a value is valid, judged apart from the code that made it."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        return any(fits(value, branch, root) for branch in schema["anyOf"])
    if "format" in schema:
        FORMATS[schema["format"]](value)
    kinds = [schema.get("type", [])] if isinstance(schema.get("type"), str) else schema.get("type", [])
    return (
        (not kinds or type(value) in [kind for name in kinds for kind in KINDS[name]])
        and all(fits(value, part, root) for part in schema.get("allOf", []))
        and value in schema.get("enum", [value])
        and value == schema.get("const", value)
        and fits_inside(value, schema, root)
    )


def fits_inside(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether the parts of a value are valid."""
    if isinstance(value, list):
        return len(value) >= schema["minItems"] and all(fits(item, schema["items"], root) for item in value)
    if isinstance(value, dict):
        fields = schema["properties"]
        return value.keys() == fields.keys() and all(fits(value[name], fields[name], root) for name in fields)
    return True


def _schemas() -> st.SearchStrategy[dict[str, Any]]:
    scalars: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
        [
            {"type": "string"},
            {"type": "integer"},
            {"type": "number"},
            {"type": "boolean"},
            {"type": "null"},
            {"type": ["string", "null"]},
            {"enum": ["war", "trade", None]},
            {"enum": [1, 2]},
            {"const": "fixed"},
            {"const": 7},
            {"const": None},
            {"anyOf": [{"const": "war", "description": "battles"}, {"const": "peace"}]},
            {"anyOf": [{"type": "null"}, {"type": "integer"}]},
            {"$ref": "#/$defs/Topic"},
            {"allOf": [{"$ref": "#/$defs/Topic"}], "description": "of a part"},
            *({"type": "string", "format": name} for name in ("date", "date-time", "email", "uuid", "ipv4", "ipv6")),
        ]
    )
    names = st.text("abc", min_size=1, max_size=3)
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.dictionaries(names, inner, max_size=3).map(lambda fields: closed(**fields)),
            st.builds(lambda item, n: {"type": "array", "items": item, "minItems": n}, inner, st.integers(0, 1)),
            st.lists(inner, min_size=1, max_size=2).map(lambda branches: {"anyOf": branches}),
        ),
        max_leaves=6,
    )


@settings(max_examples=150, deadline=None)
@given(schema=_schemas(), text=st.text(max_size=40))
def test_answers_always_fit(schema: dict[str, Any], text: str) -> None:
    """Whatever the schema and the text, the answer is valid."""
    schema = {**schema, "$defs": {"Topic": {"enum": ["war", "peace"]}}}

    assert fits(answer(schema, text), schema, schema)


def test_descriptions_are_found_in_the_property() -> None:
    """Lines `- name: description` in the property's own description tell the labels apart."""
    schema = closed(topic={"enum": ["a", "b"], "description": "Topic.\n- a: money and banks\n- b: ships, the navy"})

    assert answer(schema) == {"topic": "b"}


def test_descriptions_are_found_in_branches() -> None:
    """Branches of constants describe themselves."""
    branches = [{"const": "a", "description": "money"}, {"const": "b", "description": "ships and the navy"}]

    assert answer(closed(topic={"anyOf": branches})) == {"topic": "b"}
    assert answer(closed(topic={"anyOf": [*branches, {"type": "null"}]})) == {"topic": "b"}


def test_descriptions_are_found_in_the_system_prompt() -> None:
    """Failing these, lines of the system prompt that begin with a label are taken."""
    system = "Choose a topic.\n- **a**: money and banks\n`b`: ships, the navy\nNote: be brief"

    assert answer(closed(topic={"enum": ["a", "b"]}), system=system) == {"topic": "b"}


def test_descriptions_of_optional_and_repeated_labels_are_found() -> None:
    """A description beside `anyOf` with null, `$ref` or `items` counts as the labels' own."""
    told = "- a: money\n- b: the navy"
    labels = {"type": "string", "enum": ["a", "b"]}
    schema = {
        **closed(
            optional={"anyOf": [labels, {"type": "null"}], "description": told},
            repeated={"type": "array", "items": labels, "description": told},
            referred={"$ref": "#/$defs/Label", "description": told},
        ),
        "$defs": {"Label": labels},
    }

    assert answer(schema) == {"optional": "b", "repeated": ["b"], "referred": "b"}


def test_required_properties_come_first() -> None:
    """Objects list what is required before what is not."""
    schema = {**closed(late={"type": "null"}, early={"type": "null"}), "required": ["early"]}

    assert list(answer(schema)) == ["early", "late"]


def test_strings_are_taken_from_the_text() -> None:
    """Free text quotes the beginning; formats are looked for, and invented if missing."""
    text = "Signed on 1998-03-04 at https://example.org/a by jo@example.org, one two three four five six seven."
    schema = closed(
        quote={"type": "string"},
        day={"type": "string", "format": "date"},
        link={"type": "string", "format": "uri"},
        mail={"type": "string", "format": "email"},
        length={"type": "string", "format": "duration"},
    )

    assert answer(schema, text) == {
        "quote": "Signed on 1998-03-04 at https://example.org/a by jo@example.org, one two three four five",
        "day": "1998-03-04",
        "link": "https://example.org/a",
        "mail": "jo@example.org",
        "length": "P1D",
    }


def test_the_last_user_message_is_what_is_answered(
    client: anthropic.Anthropic, ask: Ask, topic: dict[str, Any]
) -> None:
    """Earlier turns and other roles do not count; text and document blocks do."""
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "taxes on trade"}}
    messages = [
        {"role": "user", "content": "the navy"},
        {"role": "assistant", "content": "battles, armies"},
        {"role": "user", "content": [document, {"type": "text", "text": "?"}]},
    ]
    message = client.messages.create(**ask(messages=messages, output_config=topic)["params"])

    assert orjson.loads(message.content[0].text)["topic"] == "economy"


def test_answers_are_the_same_every_time(ask: Ask, topic: dict[str, Any]) -> None:
    """Two emulators of the same seed write the same bytes; results come in an order that the seed decides."""

    def download(seed: int) -> bytes:
        emulator = Emulator(seed=seed, batch_seconds=0)
        transport = EmulatorTransport(emulator)
        with anthropic.Anthropic(
            api_key="key", http_client=anthropic.DefaultHttpxClient(transport=transport)
        ) as client:
            rows = [ask(f"row-{n}", f"text {n}", output_config=topic) for n in range(20)]
            batch = client.messages.batches.create(requests=rows)
            path = f"/v1/messages/batches/{batch.id}/results"
            return client.get(path, cast_to=httpx2.Response).content

    assert download(1) == download(1) != download(2)
    order = [orjson.loads(line)["custom_id"] for line in download(1).splitlines()]
    assert order != sorted(order, key=lambda name: int(name[4:]))


@pytest.mark.parametrize(("max_tokens", "stop_reason"), [(100, "end_turn"), (3, "max_tokens")])
def test_max_tokens_is_honored(
    client: anthropic.Anthropic, ask: Ask, topic: dict[str, Any], max_tokens: int, stop_reason: str
) -> None:
    """An answer that is too long is cut and says so."""
    message = client.messages.create(**ask(max_tokens=max_tokens, output_config=topic)["params"])

    assert message.stop_reason == stop_reason
    assert message.usage.output_tokens <= max_tokens


def test_models_that_always_think_put_a_thought_first(client: anthropic.Anthropic, ask: Ask) -> None:
    """The text block comes after the thought, which counts as output; a tiny limit is eaten by it."""
    params = ask(model="claude-opus-5-5")["params"]
    message = client.messages.create(**params)
    eaten = client.messages.create(**{**params, "max_tokens": 5})

    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.usage.output_tokens_details is not None
    assert message.usage.output_tokens_details.thinking_tokens == 16
    assert [block.type for block in eaten.content] == ["thinking"]
    assert (eaten.stop_reason, eaten.usage.output_tokens) == ("max_tokens", 5)


def test_cached_prompts_are_billed_as_such(client: anthropic.Anthropic, ask: Ask) -> None:
    """A long system prompt marked for caching is read or written, never counted as plain input."""
    system = [{"type": "text", "text": "rule " * 1000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    usages = [client.messages.create(**ask(text=f"{n}", system=system)["params"]).usage for n in range(40)]
    short = client.messages.create(**ask(system=[{**system[0], "text": "rule"}])["params"]).usage

    assert {usage.input_tokens for usage in usages} == {8}
    assert {usage.cache_read_input_tokens for usage in usages} == {0, 1250}
    assert all(
        usage.cache_creation is not None
        and usage.cache_creation.ephemeral_1h_input_tokens == 1250 - (usage.cache_read_input_tokens or 0)
        for usage in usages
    )
    assert short.cache_read_input_tokens == short.cache_creation_input_tokens == 0


def test_aliases_answer_under_their_snapshot(client: anthropic.Anthropic, ask: Ask) -> None:
    """A message may carry the dated name of the model that was asked for."""
    assert client.messages.create(**ask(model="claude-haiku-4-5")["params"]).model == "claude-haiku-4-5-20251001"
