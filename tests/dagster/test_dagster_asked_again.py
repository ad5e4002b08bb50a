"""What was paid for and is to be paid for again is said before it is: how many rows, how many dollars, and why."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
import pytest
from pydantic import BaseModel

from claude_batch_dagster import build_submission_asset

if TYPE_CHECKING:
    from tests.dagster.conftest import DagsterWorld

pytestmark = pytest.mark.verify
"""Of what is rare: on every push."""

Declare = Callable[..., dg.AssetsDefinition]


def told(world: "DagsterWorld", result: dg.ExecuteInProcessResult) -> list[tuple[int, str]]:
    """Return level and text of what a run says of rows that it asks again; it is said before anything is sent."""
    lines = [(int(entry.level), entry.user_message) for entry in world.instance.all_logs(result.run_id)]
    again = [n for n, (_, text) in enumerate(lines) if "asked again" in text]
    sent = [n for n, (_, text) in enumerate(lines) if " sent, " in text]
    assert all(n < min(sent, default=len(lines)) for n in again)
    return [lines[n] for n in again]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"system": "Be brief."}, "system"),
        ({"labels": {"war": "army, navy", "economy": "tax, trade"}}, "output"),
        ({"text_column": "id"}, "prompt"),
        ({"model": "claude-opus-5"}, "model"),
        ({"max_tokens": 100, "effort": "low"}, "effort, max_tokens"),
        ({"params": {"metadata": {"user_id": "x"}}}, "params"),
    ],
)
@pytest.mark.sampled
def test_all_rows_because_of_the_definition(
    world: "DagsterWorld", classification: Declare, changes: dict[str, Any], named: str
) -> None:
    """An edit that asks everything again is a warning with rows, dollars and the parts that were edited."""
    first = world.run(classification(partitions_def=None))
    world.write("UPDATE public.answers SET cost_usd = 308.64")

    second = world.run(classification(partitions_def=None, **changes))
    third = world.run(classification(partitions_def=None, **changes))

    text = (
        f"ALL 4 rows with an answer are asked again (what they have answered so far cost $1,234.56): these parts of "
        f"the definition have changed: {named}"
    )
    assert told(world, second) == [(logging.WARNING, text)]
    assert (told(world, first), told(world, third)) == ([], [])


@pytest.mark.verify
def test_each_partition_is_told_why(world: "DagsterWorld", classification: Declare) -> None:
    """A definition that was edited is news to each partition when it is its turn."""
    world.run(classification(), span=("1790", "1793"))
    edited = classification(system="Be brief.")

    for n_rows, partition in (("1 row", "1790"), ("2 rows", "1791")):
        [(level, text)] = told(world, world.run(edited, partition=partition))
        assert level == logging.WARNING
        assert text.startswith(f"ALL {n_rows} with an answer are asked again")
        assert text.endswith("these parts of the definition have changed: system")
    assert told(world, world.run(edited, partition="1790")) == []


def test_some_rows_because_of_their_documents(world: "DagsterWorld", classification: Declare) -> None:
    """Documents that changed are told of without alarm; new ones are no news."""
    asset = classification(partitions_def=None)
    world.run(asset)
    world.write("UPDATE public.documents SET text = text || ' and more' WHERE id = 'a'")
    world.write("INSERT INTO public.documents SELECT 'new', text || '!', published_on FROM public.documents LIMIT 1")

    [(level, text)] = told(world, world.run(asset))

    assert level == logging.INFO
    assert text.startswith("1 of 4 rows with an answer are asked again")
    assert text.endswith("their documents, or what a prompt function makes of them, have changed")


@pytest.mark.verify
def test_a_prompt_function_that_was_edited(world: "DagsterWorld", asking: Declare) -> None:
    """Nobody can compare functions; that they make other texts is seen."""

    class Answer(BaseModel):
        label: Literal["war", "economy"]

    def ask(word: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda row: f"{word} {row['text']}"

    world.run(asking(output=Answer, prompt=ask("one")))
    [(level, text)] = told(world, world.run(asking(output=Answer, prompt=ask("two"))))

    assert level == logging.WARNING
    assert "what a prompt function makes of them" in text


@pytest.mark.verify
def test_an_answer_that_is_there_is_not_asked_again(world: "DagsterWorld", classification: Declare) -> None:
    """Going back to an earlier definition costs nothing, and nothing is said."""
    for system in ("one", "two"):
        world.run(classification(partitions_def=None, system=system))

    assert told(world, world.run(classification(partitions_def=None, system="one"))) == []
    assert world.n_posts == 2


def test_what_is_on_its_way_is_not_asked_again(world: "DagsterWorld", classification: Declare) -> None:
    """After a submission of the edited asset its run says nothing: everything was said, and sent, by then."""
    world.run(classification(partitions_def=None))
    edited = classification(partitions_def=None, system="Be brief.")

    said = told(world, world.run(build_submission_asset(edited), beside=[edited]))
    assert [text.partition(" with")[0] for _, text in said] == ["ALL 4 rows"]
    assert told(world, world.run(edited)) == []
    assert world.n_posts == 2


def test_why_is_still_known_after_a_run_that_sent_nothing(world: "DagsterWorld", classification: Declare) -> None:
    """Who stops the run because of what it says is told the same by the next one."""
    world.run(classification(partitions_def=None))
    edited = classification(partitions_def=None, system="Be brief.")
    world.emulator.faults.add("401", times=1)

    first, second = world.run(edited, raises=False), world.run(edited)

    assert not first.success
    assert told(world, first) == told(world, second)
    assert told(world, second)[0][1].endswith("system")
    assert told(world, world.run(edited)) == []


@pytest.mark.verify
def test_a_table_of_before_does_not_know_why(world: "DagsterWorld", classification: Declare) -> None:
    """Where nobody has written down what was asked, nothing is blamed."""
    world.run(classification(partitions_def=None))
    world.write("DELETE FROM claude_batch.definitions")

    [(_, text)] = told(world, world.run(classification(partitions_def=None, system="Be brief.")))

    assert text.endswith("nobody has written down what they were asked before, so why is not known")


@pytest.mark.verify
def test_what_comes_back_at_no_cost_is_no_part_of_it(world: "DagsterWorld", classification: Declare) -> None:
    """Of five rows four have an answer to what is asked again: one is asked, and that is no alarm."""
    world.run(classification(partitions_def=None, system="one"))
    world.write("INSERT INTO public.documents SELECT 'new', text || '!', published_on FROM public.documents LIMIT 1")
    world.run(classification(partitions_def=None, system="two"))

    [(level, text)] = told(world, world.run(classification(partitions_def=None, system="one")))

    assert (level, text.partition(" with")[0]) == (logging.INFO, "1 of 5 rows")
