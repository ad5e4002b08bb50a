import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from claude_batch_dagster.core.asking.code_version import code_version
from claude_batch_dagster.core.asking.requests import PromptFunction, RequestBuilder
from claude_batch_dagster.core.asking.templates import Template

BASE = {"model": "m", "max_tokens": 1}
GREETING = "Hello"


def named(prompt: Template | PromptFunction, base: Mapping[str, Any] | None = None) -> str:
    """Return the fingerprint of a question."""
    return code_version(RequestBuilder(prompt=prompt, base=base or BASE))


def make(text: str, *others: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that holds a text."""
    return lambda row: f"{text} {row['text']} {others}"


def greet(row: Mapping[str, Any], tone: str = "kind") -> str:
    """Use a text of the module."""
    return f"{GREETING} {row['text']} {tone}"


class Asker:
    """A prompt function that is an object."""

    def __call__(self, row: Mapping[str, Any]) -> str:
        """Ask."""
        return f"{[word for word in row if word in {'a', 'b'}]}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Template.parse("{text}"), Template.parse("{text} ")),
        (Template.parse("{text}"), lambda row: row["text"]),
        (lambda row: f"a{row}", lambda row: f"b{row}"),
        (make("a"), make("b")),
        (make("a", "x"), make("a", "y")),
        (partial(greet, tone="a"), partial(greet, tone="b")),
        (partial(greet, tone="a"), greet),
        (greet, Asker()),
        (len, Asker()),
    ],
)
def test_another_prompt_has_another_fingerprint(one: Any, other: Any) -> None:
    """Its text, its code, and the texts it takes from around it."""
    assert named(one) != named(other)


def test_a_text_of_the_module_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A constant that a function uses is part of what it asks."""
    before = named(greet)
    monkeypatch.setattr(sys.modules[__name__], "GREETING", "Hi")

    assert named(greet) != before


@pytest.mark.parametrize("base", [{**BASE, "model": "n"}, {**BASE, "output_config": {"format": {"type": "x"}}}])
def test_other_params_have_another_fingerprint(base: Mapping[str, Any]) -> None:
    """Model, schema, or any other."""
    assert named(Template.parse("{text}"), base) != named(Template.parse("{text}"))


def test_the_order_of_params_does_not_count() -> None:
    """A dict of the same params asks the same."""
    backwards = dict(reversed(BASE.items()))

    assert named(greet, backwards) == named(greet)


SCRIPT = """
import sys
sys.path[:0] = sys.argv[1:]
from tests.core.test_core_code_version import Asker, greet, make, named
print(named(greet), named(Asker()), named(make("a")), named(make))
"""


@pytest.mark.verify
def test_the_fingerprint_is_the_same_in_every_process() -> None:
    """Whatever the addresses of objects and the order of sets there."""
    told = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, *sys.path],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(told) == 1
