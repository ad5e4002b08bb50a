"""What the tests of trials share: documents, their true labels, models of unlike skill, and what a trial has said."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from claude_batch_dagster.core.collecting.results import Usage
from claude_batch_dagster.core.pricing import cost
from claude_batch_dagster.emulator import Emulator
from tests.dagster.conftest import LABELS

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

N = 160
"""Gold rows."""
OTHERS = 20
"""Rows that are not gold."""

HAIKU, SONNET, OPUS = "claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5"
SKILLS = {HAIKU: 60, SONNET: 95, OPUS: 98}
"""Of a hundred gold rows, how many each model is right on."""

NAMES = list(LABELS)
SPENT = "SELECT model, sum(cost_usd) FROM claude_batch.spending GROUP BY ALL"


def number_in(text: str) -> int:
    """Return the number of the document that a message is about."""
    return int(text.partition("number ")[2].partition(",")[0])


def truth(n: int) -> str:
    """Return the true label of a document."""
    return NAMES[n % 3]


def answered(n: int, percent: int) -> str:
    """Return what somebody answers who is right that often: right on the documents that whoever knows less is."""
    return truth(n) if n * 37 % 100 < percent else truth(n + 1)


def n_right(numbers: Iterable[int], model: str) -> int:
    """Return on how many documents a model is right."""
    return sum(truth(n) == answered(n, SKILLS[model]) for n in numbers)


def teach(emulator: Emulator, skills: Mapping[str, int]) -> None:
    """Let models answer with these skills."""
    for model, percent in skills.items():
        for label in NAMES:

            def fits(text: str, percent: int = percent, label: str = label) -> bool:
                return answered(number_in(text), percent) == label

            emulator.answers.add(fits, {"label": label}, model=model)


@contextmanager
def taught(world: "DagsterWorld", emulator: Emulator) -> Iterator[None]:
    """Write documents, and true labels of most of them, and let models answer with unlike skill for as long."""
    world.write_documents([(f"d{n:03}", f"number {n}, a document", f"179{n % 2}-05-05") for n in range(N + OTHERS)])
    write_gold(world, range(N))
    teach(emulator, SKILLS)
    yield
    emulator.answers.clear()
    assert emulator.answers.problems == []


def write_gold(world: "DagsterWorld", numbers: range, more: str = "") -> None:
    """Write the true labels of documents into a table."""
    listed = ", ".join(f"('d{n:03}', '{truth(n)}')" for n in numbers)
    world.write(f"CREATE OR REPLACE TABLE public.labelled AS SELECT *{more} FROM (VALUES {listed}) AS t(id, label)")  # noqa: S608  (names of the test's own)


def lines(
    world: "DagsterWorld", columns: str, where: str = "TRUE", *, table: str = "public.answers_trials"
) -> list[tuple[Any, ...]]:
    """Return columns of the table of the trial, in its order."""
    return world.read(f"SELECT {columns} FROM {table} WHERE {where}")  # noqa: S608  (SQL of the test's own)


def logged(world: "DagsterWorld", result: dg.ExecuteInProcessResult) -> list[str]:
    """Return the run log."""
    return [entry.user_message for entry in world.instance.all_logs(result.run_id)]


def outcome(result: dg.ExecuteInProcessResult) -> str:
    """Return what a trial has said."""
    [materialized] = result.get_asset_materialization_events()
    return str(materialized.materialization.metadata["claude_batch/outcome"].value)


def billed_usd(emulator: Emulator, *, without: Collection[str]) -> float:
    """Return what the emulator has billed, at batch prices, without some batches."""
    usd = 0.0
    for model, tokens in emulator.audit.bill(without=without).items():
        price = cost(model, Usage(input_tokens=tokens.input, output_tokens=tokens.output))
        assert price is not None
        usd += price.batch_usd
    return usd
