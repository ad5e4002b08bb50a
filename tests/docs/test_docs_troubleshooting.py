"""Every message that the package raises is on the page of what to do about it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_batch_dagster import errors

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "claude_batch_dagster"
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
SHORTEST = 14
"""Characters by which a message can be told from others."""


def texts(node: ast.expr) -> str:
    """Return a message, a NUL for what is not known before it is raised."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(texts(value) for value in values)
        case ast.BinOp(left=left, right=right):
            return texts(left) + texts(right)
    return "\0"


def raised() -> Iterator[tuple[str, str]]:
    """Yield every message of an error of ours, with where it is raised."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "emulator" in path.parts:
            continue  # a server of its own, with the API's messages
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ERRORS or (path.name == "errors.py" and name == "__init__"):
                for argument in node.args[:2]:
                    if len(texts(argument).replace("\0", "")) > 12:
                        yield f"{path.relative_to(PACKAGE)}:{node.lineno}", texts(argument)
                        break


MESSAGES = dict(raised())
PAGE = " ".join((REPOSITORY / "docs" / "troubleshooting.md").read_text().split())
KEYS = [key for key in re.findall(r"`([^`]+)`", PAGE) if len(key.replace("…", "")) >= SHORTEST]
"""What people look for: parts of messages, with a mark for what differs."""


def is_of(key: str, message: str) -> bool:
    """Whether somebody who has the message would find it by this key."""
    pattern = ".*?".join(re.escape(part) for part in key.split("…"))
    return re.search(pattern, " ".join(message.split())) is not None


@pytest.mark.parametrize("place", MESSAGES)
def test_a_message_is_on_the_page(place: str) -> None:
    """By a part of its text, what differs left out."""
    assert [key for key in KEYS if is_of(key, MESSAGES[place])], MESSAGES[place]


def test_there_are_as_many_as_ever() -> None:
    """What finds messages finds them."""
    assert len(MESSAGES) > 130
