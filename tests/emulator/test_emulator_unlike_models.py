"""Where models are unlike, weaker ones err more, most of all where the strongest hesitate; where not, all are alike."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import anthropic
import orjson
import pytest

from claude_batch_dagster.emulator import Emulator, EmulatorTransport
from claude_batch_dagster.emulator.answers import answerer
from claude_batch_dagster.emulator.models import ability_of
from claude_batch_dagster.emulator.reading import Reading
from claude_batch_dagster.emulator.store import FolderShelf

Ask = Callable[..., Any]
Answer = dict[str, Any]

OPUS, SONNET, HAIKU = "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"
WORDS = {
    "war": "army navy battle soldier fort cannon siege enemy regiment victory militia weapon",
    "economy": "money bank tax trade debt market price tariff currency budget credit export",
    "land": "farm crop cattle forest river harvest settler acre wheat soil orchard meadow",
    "law": "court judge jury crime statute trial verdict police prison lawyer evidence appeal",
}
LABELS = [*WORDS, "other"]
DESCRIBED = "\n".join(f"- {label}: {words}" for label, words in WORDS.items())
SURE = {
    "label": {"type": "string", "enum": LABELS, "description": f"One of:\n{DESCRIBED}\n- other: anything else"},
    "confidence": {"type": "number"},
    "runner_up": {"anyOf": [{"type": "string", "enum": LABELS}, {"type": "null"}]},
    "runner_up_confidence": {"type": "number"},
}
SCHEMA = {"type": "object", "properties": SURE, "required": list(SURE), "additionalProperties": False}
FORMAT = {"format": {"type": "json_schema", "schema": SCHEMA}}


def texts(n: int = 400) -> list[str]:
    """Return texts of words of all labels, more of them of one."""
    random = Random(1).random  # noqa: S311  (no secret)
    every = " ".join(WORDS.values()).split()

    def some(words: list[str], n_words: int) -> list[str]:
        return [words[int(random() * len(words))] for _ in range(n_words)]

    own = [some(list(WORDS), 1)[0] for _ in range(n)]
    return [" ".join(some(WORDS[one].split(), 1 + int(random() * 4)) + some(every, int(random() * 6))) for one in own]


TEXTS = texts()


def answers(model: str) -> list[Answer]:
    """Return what a model answers to each of the texts, where models are unlike."""
    answer = answerer(SCHEMA, "")
    ability = ability_of(model, unlike_models=True)
    return [answer(Reading(text, ability=ability)) for text in TEXTS]


def agreement(model: str) -> float:
    """Return in which share of the texts a model gives the label of the strongest."""
    pairs = zip(answers(model), answers(OPUS), strict=True)
    return [one["label"] == other["label"] for one, other in pairs].count(True) / len(TEXTS)


@pytest.fixture
def unlike() -> Emulator:
    """Return an emulator whose models are unlike, and whose batches end at once."""
    return Emulator(unlike_models=True, batch_seconds=0)


def asked_live(emulator: Emulator, ask: Ask, model: str, chosen: list[str], **params: Any) -> list[str]:
    """Return the answers to live messages."""
    http_client = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator))
    with anthropic.Anthropic(api_key="key", http_client=http_client, max_retries=0) as client:
        sent = [ask(text=text, model=model, output_config=FORMAT, **params)["params"] for text in chosen]
        return [client.messages.create(**one).content[-1].text for one in sent]


def asked_in_a_batch(emulator: Emulator, ask: Ask, model: str, chosen: list[str]) -> str:
    """Ask for a batch, and return its id."""
    http_client = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator))
    with anthropic.Anthropic(api_key="key", http_client=http_client, max_retries=0) as client:
        rows = [ask(f"row-{n}", text, model=model, output_config=FORMAT) for n, text in enumerate(chosen)]
        return client.messages.batches.create(requests=rows).id


def landed(emulator: Emulator, batch_id: str) -> list[str]:
    """Return the answers of a batch, in the order in which they were asked for."""
    http_client = anthropic.DefaultHttpxClient(transport=EmulatorTransport(emulator))
    with anthropic.Anthropic(api_key="key", http_client=http_client, max_retries=0) as client:
        lines: list[Any] = list(client.messages.batches.results(batch_id))
    lines.sort(key=lambda line: int(line.custom_id.removeprefix("row-")))
    return [line.result.message.content[-1].text for line in lines]


def test_unless_asked_for_all_models_are_alike(emulator: Emulator, ask: Ask) -> None:
    """And answer as they always have."""
    by_model = {model: asked_live(emulator, ask, model, TEXTS[:60]) for model in (OPUS, SONNET, HAIKU)}
    initials = "".join(orjson.loads(answer)["label"][0] for answer in by_model[HAIKU])

    assert by_model[HAIKU] == by_model[SONNET] == by_model[OPUS]
    assert initials == "wlleeellwwlllwellllwlllewewleewwweewlwlwllwelelellelllllwwlw"


def test_a_weaker_model_agrees_less_with_the_strongest() -> None:
    """From family to family and from generation to generation, and none of them is useless."""
    order = ["claude-opus-4-5", SONNET, "claude-sonnet-4-5", HAIKU, "claude-haiku-4-5"]
    shares = [agreement(model) for model in order]

    assert agreement("claude-fable-5-2") == agreement("claude-mythos-5-2") == 1.0
    assert shares == sorted(set(shares), reverse=True)
    assert shares[0] < 1.0
    assert shares[-1] > 0.75


@pytest.mark.parametrize(
    ("newest", "older"),
    [
        ("claude-opus-5-5", ["opus-5", "opus-4-8", "opus-4-7", "opus-4-6", "opus-4-5"]),
        ("claude-fable-5-2", ["fable-5-1", "fable-5"]),
        ("claude-mythos-5-2", ["mythos-5-1"]),
        ("claude-sonnet-5-5", ["sonnet-5", "sonnet-4-6", "sonnet-4-5"]),
        ("claude-haiku-5-5", ["haiku-4-5"]),
    ],
)
def test_older_generations_are_less_able(newest: str, older: list[str]) -> None:
    """Each than the one that came after it; where models are alike, none is."""
    family = [newest, *(f"claude-{name}" for name in older)]
    abilities = [ability_of(name, unlike_models=True) for name in family]

    assert abilities == sorted(set(abilities), reverse=True)
    assert {ability_of(name, unlike_models=False) for name in family} == {1.0}


def test_snapshots_are_as_able_as_their_aliases() -> None:
    """A name with a date is the same model; one that nobody knows is not judged."""
    assert ability_of("claude-haiku-4-5-20251001", unlike_models=True) == ability_of(
        "claude-haiku-4-5", unlike_models=True
    )
    assert ability_of("claude-none", unlike_models=True) == 1.0


def test_the_same_is_answered_to_the_same(unlike: Emulator, ask: Ask) -> None:
    """Asked again, by another emulator, live or in a batch."""
    first = asked_live(unlike, ask, HAIKU, TEXTS[:60])
    again = asked_live(unlike, ask, HAIKU, TEXTS[:60])
    elsewhere = asked_live(Emulator(unlike_models=True, seed=5), ask, HAIKU, TEXTS[:60])
    in_a_batch = landed(unlike, asked_in_a_batch(unlike, ask, HAIKU, TEXTS[:60]))

    assert first == again == elsewhere == in_a_batch
    assert first != asked_live(unlike, ask, OPUS, TEXTS[:60])


def test_weaker_models_err_where_the_strongest_hesitate() -> None:
    """Mostly; and their own confidence says where."""
    strong, weak = answers(OPUS), answers(HAIKU)
    lost = [one["label"] != other["label"] for one, other in zip(weak, strong, strict=True)]
    margins = [one["confidence"] - one["runner_up_confidence"] for one in strong]
    by_confidence = sorted(range(len(TEXTS)), key=lambda index: weak[index]["confidence"])
    least_sure = by_confidence[: len(TEXTS) // 10]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    erred = [margin for margin, is_lost in zip(margins, lost, strict=True) if is_lost]
    assert mean(erred) < mean(margins) / 2
    assert mean([lost[index] for index in least_sure]) > 3 * mean([*lost])
    assert max(answer["confidence"] for answer, is_lost in zip(weak, lost, strict=True) if is_lost) > 0.8


def test_a_batch_is_answered_as_it_was_accepted(tmp_path: Path, ask: Ask) -> None:
    """Also when the emulator has been started again with other settings."""
    before = Emulator(state=tmp_path, batch_seconds=0, unlike_models=True)
    batch_id = asked_in_a_batch(before, ask, HAIKU, TEXTS[:60])
    first, bill = landed(before, batch_id), before.audit.bill()
    before.close()
    after = Emulator(state=tmp_path, batch_seconds=0)

    assert landed(after, batch_id) == first
    assert after.audit.bill() == bill
    after.close()


@pytest.mark.parametrize("n", [4, 5, 6])
def test_requests_that_were_kept_before_models_were_unlike_are_answered(tmp_path: Path, ask: Ask, n: int) -> None:
    """As if all were alike: what is kept of them says less."""
    before = Emulator(state=tmp_path, batch_seconds=0)
    batch_id = asked_in_a_batch(before, ask, HAIKU, TEXTS[:60])
    first = landed(before, batch_id)
    before.close()
    shelf = FolderShelf(tmp_path / "requests")
    lines = [orjson.dumps(orjson.loads(line)[:n]) for line in shelf.lines(batch_id)]
    shelf.put(batch_id, iter(lines))
    after = Emulator(state=tmp_path, batch_seconds=0, unlike_models=True)

    assert landed(after, batch_id) == first
    after.close()


@pytest.mark.parametrize("fault", ["wrong_case", "misfit"])
def test_bent_answers_are_the_models_own(unlike: Emulator, ask: Ask, fault: str) -> None:
    """A fault bends what the weaker model would have answered."""
    unlike.faults.add(fault)
    bent = landed(unlike, asked_in_a_batch(unlike, ask, HAIKU, TEXTS[:60]))
    unlike.faults.clear()
    plain = landed(unlike, asked_in_a_batch(unlike, ask, HAIKU, TEXTS[:60]))

    confidences = [[orjson.loads(answer)["confidence"] for answer in found] for found in (bent, plain)]
    assert confidences[0] == confidences[1]
