"""What the package's code never does, read from the code itself."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.world import World

PACKAGE = Path(__file__).parents[2] / "claude_batch_dagster"
MODULES = sorted(PACKAGE.rglob("*.py"))

UNSAFE_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "jsonpickle"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}


def unsafe(code: str) -> Iterator[str]:
    """Yield what could make objects or code of bytes that were stored."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.partition(".")[0] in UNSAFE_MODULES)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in UNSAFE_MODULES:
                yield module
            case ast.Call(func=ast.Name(id=name)) if name in UNSAFE_CALLS:
                yield name
            case ast.Call(func=ast.Attribute(attr=("read_pickle" | "to_pickle" | "PickleType") as name)):
                yield name
            case _:
                pass


def test_f121_nothing_that_was_stored_becomes_code() -> None:
    """No module unpickles or evaluates anything."""
    found = {str(module.relative_to(PACKAGE)): list(unsafe(module.read_text())) for module in MODULES}

    assert {module: lines for module, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import yaml.loader",
        "from marshal import loads",
        "eval('1')",
        "import pandas; pandas.read_pickle(p)",
    ],
)
def test_f121_what_could_is_found(code: str) -> None:
    """The search can fail."""
    assert len(list(unsafe(code))) == 1


def test_f121_what_a_run_leaves_is_text_json_and_tables(world: World) -> None:
    """Beside the ledger the state directory holds lines of JSON and empty locks."""
    world.documents({1: "war", 2: "peace"})
    world.run()

    files = [path for path in world.state.path.rglob("*") if path.is_file()]
    left = [path for path in files if not path.name.startswith(("ledger", ".git"))]
    lines = [json.loads(line) for path in left for line in path.read_bytes().splitlines()]
    assert [sorted(line) for line in lines] == [["custom_id", "result"]] * 2
