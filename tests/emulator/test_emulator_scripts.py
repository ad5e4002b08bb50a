"""Answers that are written down, faults that are aimed at texts, and the fixture that users have of both."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import orjson
import pytest
from pydantic import BaseModel

from claude_batch_dagster.emulator import Emulator
from claude_batch_dagster.testing import EmulatedClaude
from tests.emulator.conftest import SCHEMA, Ask

FORMAT = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
Answers = dict[str, Any]


@pytest.fixture
def answers(emulator: Emulator, client: anthropic.Anthropic, ask: Ask) -> Callable[..., Answers]:
    """Return a function that asks about texts in one batch, and returns what came back: answers, or result types."""

    def answers(*texts: str, **params: Any) -> Answers:
        requests = [ask(f"row-{n}", text, **params) for n, text in enumerate(texts)]
        batch = client.messages.batches.create(requests=requests)
        emulator.advance(seconds=100)
        found = {}
        for line in client.messages.batches.results(batch.id):
            result: Any = line.result
            block = result.message.content[0] if result.type == "succeeded" and result.message.content else None
            found[texts[int(line.custom_id.removeprefix("row-"))]] = block.text if block else result.type
        return found

    return answers


def test_fields_that_are_written_down_are_answered(emulator: Emulator, answers: Callable[..., Answers]) -> None:
    """Over what would have been made up; other rows are left alone."""
    emulator.answers.add("navy", {"topic": "economy"})

    found = {text: orjson.loads(answer) for text, answer in answers("the navy", "a tax", **FORMAT).items()}

    assert found["the navy"]["topic"] == "economy"
    assert isinstance(found["the navy"]["confidence"], float)
    assert found["a tax"]["topic"] == "economy"
    emulator.answers.clear()
    assert orjson.loads(answers("the navy", **FORMAT)["the navy"])["topic"] == "war"


def test_the_last_that_fits_counts(emulator: Emulator, answers: Callable[..., Answers]) -> None:
    """General answers come first; a function of the text may say where it fits."""
    emulator.answers.add(lambda _: True, {"topic": "other", "confidence": 1.0})
    emulator.answers.add("navy", {"topic": "war"})

    found = {text: orjson.loads(answer)["topic"] for text, answer in answers("the navy", "a tax", **FORMAT).items()}

    assert found == {"the navy": "war", "a tax": "other"}


def test_an_answer_may_be_that_of_one_model(emulator: Emulator, answers: Callable[..., Answers]) -> None:
    """Others answer as they would: so that models can be told apart."""
    emulator.answers.add("navy", {"topic": "economy"}, model="claude-haiku-5-5")

    models = ("claude-haiku-5-5", "claude-opus-5")
    found = [answers("the navy", model=model, thinking={"type": "disabled"}, **FORMAT) for model in models]

    assert [orjson.loads(one["the navy"])["topic"] for one in found] == ["economy", "war"]


def test_a_whole_text_can_be_written_down(emulator: Emulator, answers: Callable[..., Answers]) -> None:
    """Such as one that is no JSON; without a schema fields are an answer in JSON."""
    emulator.answers.add("navy", "Ahoy!")
    emulator.answers.add("tax", {"topic": "economy"})

    assert answers("the navy", **FORMAT) == {"the navy": "Ahoy!"}
    assert answers("the navy", "a tax") == {"the navy": "Ahoy!", "a tax": '{"topic":"economy"}'}


class Person(BaseModel):
    """A part of an answer."""

    name: str


def test_models_may_be_parts_of_an_answer(emulator: Emulator, answers: Callable[..., Answers]) -> None:
    """They are answered as their fields."""
    emulator.answers.add("navy", {"people": [Person(name="Nelson")]})

    assert orjson.loads(answers("the navy")["the navy"]) == {"people": [{"name": "Nelson"}]}


def test_a_script_that_is_wrong_is_noted_and_the_batch_goes_on(
    emulator: Emulator, answers: Callable[..., Answers]
) -> None:
    """A function that raises fits nothing; a field that the schema does not have would be made up."""
    emulator.answers.add(lambda text: text.index("zzz") > 0, {"topic": "war"})
    emulator.answers.add("navy", {"topik": "economy"})

    found = answers("the navy", "a tax", **FORMAT)

    assert orjson.loads(found["a tax"])["topic"] == "economy"
    told = " ".join(str(problem) for problem in emulator.answers.problems)
    assert "substring not found" in told
    assert "the answer written down has topik, and the schema only topic, confidence" in told


def test_live_messages_are_answered_alike(emulator: Emulator, client: anthropic.Anthropic, ask: Ask) -> None:
    """One script for both endpoints."""
    emulator.answers.add("navy", "Ahoy!")

    message = client.messages.create(**ask(text="the navy")["params"])

    assert message.content[0].text == "Ahoy!"


def test_a_fault_is_aimed_at_a_text(emulator: Emulator, answers: Callable[..., Answers]) -> None:
    """It strikes the rows that contain it, and leaves the others."""
    emulator.faults.add("errored", text="navy")

    assert answers("the navy", "a tax")["the navy"] == "errored"
    assert answers("the navy", "a tax")["a tax"].startswith("In short")
    with pytest.raises(ValueError, match="429 strikes calls, not requests"):
        emulator.faults.add("429", text="navy")


def test_the_server_remembers_what_was_asked(
    emulator: Emulator, client: anthropic.Anthropic, answers: Callable[..., Answers]
) -> None:
    """All params, until their batch is deleted."""
    answers("the navy", "a tax")

    assert sorted(params["messages"][0]["content"] for params in emulator.audit.asked()) == ["a tax", "the navy"]
    [batch] = emulator.audit.accepted()
    client.messages.batches.delete(batch.id)
    assert list(emulator.audit.asked()) == []


# --- the fixture --------------------------------------------------------------------------------------


def sent(claude: EmulatedClaude, ask: Ask, *texts: str) -> list[str]:
    """Send texts with the SDK as the environment sets it up; return result types in their order."""
    with anthropic.Anthropic() as client:
        requests = [ask(f"row-{n}", text) for n, text in enumerate(texts)]
        batch = client.messages.batches.create(requests=requests)
        lines = {line.custom_id: line.result for line in client.messages.batches.results(batch.id)}
    assert claude.base_url in str(client.base_url)
    return [lines[f"row-{n}"].type for n in range(len(texts))]


def test_the_fixture_stands_in_for_claude(claude: EmulatedClaude, ask: Ask) -> None:
    """The environment names it, batches end at once, and it counts what would have been billed."""
    claude.fault("expired", text="slow")

    assert sent(claude, ask, "one", "one", "slow") == ["succeeded", "succeeded", "expired"]

    assert (claude.n_batches, claude.n_requests, claude.n_billed, claude.billed_twice) == (1, 3, 2, 1)
    assert claude.messages == ["one", "one", "slow"]
    claude.nothing_is_wrong()
    assert sent(claude, ask, "slow") == ["succeeded"]


def test_the_fixture_says_what_it_cannot_do(claude: EmulatedClaude) -> None:
    """An answer without anything in it, and a fault that there is not."""
    with pytest.raises(TypeError, match=r"takes the fields of an answer; for a whole text there is answers_text\(\)"):
        claude.answers("navy")
    with pytest.raises(TypeError, match="cannot be an answer: object cannot be a part of an answer"):
        claude.answers("navy", topic=object())
    with pytest.raises(ValueError, match="there is no fault named 'earthquake'; there are"):
        claude.fault("earthquake")


MISTYPED = """
import anthropic

SCHEMA = {"type": "object", "properties": {"topic": {"type": "string"}}, "additionalProperties": False}

def test_a_mistyped_field(claude):
    claude.answers("navy", topik="war")
    params = {
        "model": "claude-haiku-5-5",
        "max_tokens": 99,
        "messages": [{"role": "user", "content": "the navy"}],
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    with anthropic.Anthropic() as client:
        client.messages.batches.create(requests=[{"custom_id": "a", "params": params}])
"""


@pytest.mark.verify
def test_a_script_that_is_wrong_fails_the_test_in_which_it_is(tmp_path: Path) -> None:
    """A field that the schema does not have: the answer would be made up, and the test pass."""
    (tmp_path / "test_mistyped.py").write_text(MISTYPED)

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mistyped.py"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )

    assert "1 passed, 1 error" in ran.stdout, ran.stdout
    assert "the answer written down has topik, and the schema only topic" in ran.stdout
