"""Fields beside a label say how sure it is: `confidence`, `runner_up`, `runner_up_confidence`."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import anthropic
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.emulator.answers import answerer
from claude_batch_dagster.emulator.lexicon import Scorer, stems
from claude_batch_dagster.emulator.reading import Reading

Ask = Callable[..., Any]

TOLD = "- war: army, navy, battle, siege\n- economy: money, tax, trade, bank\n- other: the rest"
TOPICS = {"type": "string", "enum": ["war", "economy", "other"], "description": TOLD}
NULLABLE = {"anyOf": [TOPICS, {"type": "null"}]}
NUMBER = {"type": "number"}
SURE = {"topic": TOPICS, "confidence": NUMBER, "runner_up": NULLABLE, "runner_up_confidence": NUMBER}


def closed(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def answer(text: str, schema: dict[str, Any] | None = None, **reading: Any) -> dict[str, Any]:
    """Return the answer to a text."""
    found: dict[str, Any] = answerer(schema or closed(**SURE), "")(Reading(text, **reading))
    return found


def test_the_two_best_labels_are_answered() -> None:
    """Each with its confidence; the best is the one that is answered without these fields as well."""
    found = answer("the army, the navy and a tax")

    assert (found["topic"], found["runner_up"]) == ("war", "economy")
    assert found["confidence"] > found["runner_up_confidence"] > 0
    assert answer("the army, the navy and a tax", closed(topic=TOPICS)) == {"topic": "war"}


def test_confidence_grows_with_what_speaks_for_a_label() -> None:
    """And shrinks with what speaks against it; one word is thin evidence."""
    texts = ["army and money", "army, navy and money", "army", "army, navy"]
    confidences = [answer(text)["confidence"] for text in texts]

    assert confidences == sorted(set(confidences))
    assert confidences[0] <= 0.5
    assert confidences[-1] > 0.98


def test_a_tie_is_no_more_than_a_guess() -> None:
    """The first of equals is answered, and the other has the same confidence."""
    found = answer("army and money")

    assert (found["topic"], found["runner_up"]) == ("war", "economy")
    assert found["confidence"] == found["runner_up_confidence"]


def test_where_no_word_matches_other_is_likely_but_not_sure() -> None:
    """Without a label that means other, any is as likely as the next; nothing is next best."""
    pair = {"type": "string", "enum": ["war", "economy"], "description": TOLD}

    assert answer("xyzzy") == {"topic": "other", "confidence": 0.6, "runner_up": None, "runner_up_confidence": 0.0}
    assert answer("xyzzy", closed(topic=pair, confidence=NUMBER)) == {"topic": "war", "confidence": 0.5}


def test_a_runner_up_that_nothing_speaks_for_is_null_if_it_may_be() -> None:
    """Else it is another label of no confidence, and its confidence is null where that may be."""
    found = answer("army, navy")
    must = answer("army, navy", closed(**{**SURE, "runner_up": TOPICS}))
    both = answer("army, navy", closed(**{**SURE, "runner_up_confidence": {"type": ["number", "null"]}}))

    assert (found["runner_up"], found["runner_up_confidence"]) == (None, 0.0)
    assert (must["runner_up"], must["runner_up_confidence"]) == ("economy", 0.0)
    assert (both["runner_up"], both["runner_up_confidence"]) == (None, None)
    assert answer("army and tax", closed(**{**SURE, "runner_up": TOPICS}))["runner_up"] == "economy"


@pytest.mark.parametrize(
    "nullable",
    [
        NULLABLE,
        {"anyOf": [{"type": "null"}, TOPICS]},
        {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/Topic"}]},
        {"enum": ["other", "economy", "war", None]},
        {"type": ["string", "null"], "enum": ["war", "economy", "other"]},
        {"anyOf": [{"const": "war"}, {"const": "economy"}, {"const": "other"}, {"type": "null"}]},
    ],
)
def test_every_way_to_be_nullable_is_understood(nullable: dict[str, Any]) -> None:
    """Also where the list stands in another order; descriptions are those of the label."""
    schema = {**closed(**{**SURE, "runner_up": nullable}), "$defs": {"Topic": TOPICS}}

    assert answer("army", schema)["runner_up"] is None
    assert answer("army, navy, money", schema)["runner_up"] == "economy"


def test_the_label_may_be_nullable_or_referred_to() -> None:
    """A label that may be null is answered, and judged, as any other."""
    expected = answer("army, navy, money")

    assert answer("army, navy, money", closed(**{**SURE, "topic": NULLABLE})) == expected
    referred = {**closed(**{**SURE, "topic": {"$ref": "#/$defs/Topic"}}), "$defs": {"Topic": TOPICS}}
    assert answer("army, navy, money", referred) == expected


def test_the_order_of_the_schema_changes_nothing_but_the_order() -> None:
    """A runner-up that comes first is still not the label."""
    expected = answer("army, navy, money")
    found = [answer("army, navy, money", closed(**dict(order))) for order in permutations(SURE.items())]

    assert all(one == expected for one in found)
    assert {tuple(one) for one in found} == set(permutations(SURE))


def test_the_first_choice_is_judged() -> None:
    """Of several; a list of one label is no choice, and a list of others is no runner-up."""
    kind = {"type": "string", "enum": ["note"]}
    tone = {"type": "string", "enum": ["calm", "angry"]}
    found = answer("army, navy, money", closed(kind=kind, topic=TOPICS, tone=tone, confidence=NUMBER))
    foreign = answer("army, navy, money", closed(topic=TOPICS, runner_up=tone))

    assert found["confidence"] == answer("army, navy, money")["confidence"]
    assert foreign == {"topic": "war", "runner_up": "calm"}


def test_each_object_is_judged_by_itself() -> None:
    """Parts that are objects have labels and confidences of their own."""
    found = answer("army, navy, money", closed(part=closed(**SURE), confidence=NUMBER))

    assert found["part"] == answer("army, navy, money")
    written = answer("army, navy, money", closed(part=closed(**SURE), topic=TOPICS), written={"topic": "economy"})
    assert written["part"] == found["part"]
    assert found["confidence"] == answer("army, navy, money", closed(confidence=NUMBER))["confidence"]


@pytest.mark.parametrize(
    "field",
    [
        {"type": "integer"},
        {"type": "string"},
        {"type": "number", "enum": [7.5]},
        {"type": "string", "enum": ["a", "b"]},
    ],
)
def test_fields_of_another_kind_are_filled_as_ever(field: dict[str, Any]) -> None:
    """Only a number is a confidence."""
    fits = closed(topic=TOPICS, confidence=field)

    assert answer("army", fits)["confidence"] == answer("army", closed(confidence=field))["confidence"]


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(
        st.sampled_from(["army", "navy", "battle", "money", "tax", "trade", "war", "economy", "calm"]), max_size=12
    ),
    ability=st.sampled_from([1.0, 0.77, 0.5]),
)
def test_confidences_are_shares(words: list[str], ability: float) -> None:
    """Of two digits, the label's the larger, both together no more than 1; the runner-up is another label."""
    found = answer(" ".join(words), closed(**{**SURE, "runner_up": TOPICS}), ability=ability)
    first, second = found["confidence"], found["runner_up_confidence"]

    assert found["topic"] != found["runner_up"]
    assert 0 <= second <= first <= 1
    assert first + second <= 1
    assert (first, second) == (round(first, 2), round(second, 2))


def test_shares_add_up_and_are_in_the_order_of_scores() -> None:
    """All labels are ranked, equals in their order."""
    ranked = Scorer({"left": "shared word", "right": "shared word", "far": "army"}).ranked(stems("a shared word"))

    assert [one.label for one in ranked] == ["left", "right", "far"]
    assert [one.score > 0 for one in ranked] == [True, True, False]
    assert sum(one.share for one in ranked) == pytest.approx(1)
    assert ranked[0].share == ranked[1].share > ranked[2].share


def test_labels_that_nothing_is_known_of_are_ranked_too() -> None:
    """Names without a stem match no text."""
    alone = Scorer({"a": ""}).ranked(stems("army"))
    none = Scorer({"a": "", "none": ""}).ranked(stems("army"))

    assert [(one.label, one.share) for one in alone] == [("a", 1.0)]
    assert [(one.label, one.share) for one in none] == [("none", 0.6), ("a", 0.4)]


def test_wrong_capitals_are_the_faults_of_both_labels() -> None:
    """The runner-up is bent as the label is."""
    found = answer("army, navy, money", flip_case=True)

    assert (found["topic"], found["runner_up"]) == ("WAR", "ECONOMY")


@pytest.mark.parametrize("label", [None, 7, "", "peace"])
def test_what_is_no_label_makes_nothing_sure(label: object) -> None:
    """Whatever was written down in the place of the label, and whatever the labels are called."""
    schema = closed(topic={"enum": ["army", "navy", "none"]}, confidence=NUMBER, runner_up_confidence=NUMBER)

    assert answer("army, navy", schema, written={"topic": label}) == answer("army, navy", schema)


def test_a_label_that_was_written_down_is_sure(emulator: Emulator, client: anthropic.Anthropic, ask: Ask) -> None:
    """Unless the confidence was, too; the runner-up is another label."""
    output = {"format": {"type": "json_schema", "schema": closed(**SURE)}}
    emulator.answers.add("navy", {"topic": "economy"})
    emulator.answers.add("siege", {"topic": "Economy", "confidence": 0.4})

    def asked(text: str) -> dict[str, Any]:
        message: Any = client.messages.create(**ask(text=text, output_config=output)["params"])
        found: dict[str, Any] = orjson.loads(message.content[0].text)
        return found

    assert asked("army, navy, money") == {
        "topic": "economy",
        "confidence": 1.0,
        "runner_up": "war",
        "runner_up_confidence": 0.0,
    }
    assert asked("army, siege, money") == {
        "topic": "Economy",
        "confidence": 0.4,
        "runner_up": "war",
        "runner_up_confidence": 0.0,
    }
