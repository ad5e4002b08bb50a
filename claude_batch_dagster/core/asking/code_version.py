"""Dagster's code version of an asset: another question, another version; the same in every process."""

from functools import partial
from types import CodeType
from typing import Any

from claude_batch_dagster.core.asking.question_hash import canonical, digest
from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.asking.templates import Template

PLAIN = (str, bytes, int, float, bool, type(None))


def code_version(builder: RequestBuilder) -> str:
    """Return 16 characters that change with prompt, model, output or any other param, and with nothing else."""
    function = None if isinstance(builder.prompt, Template) else _of_function(builder.prompt)
    return digest(canonical([builder.definition, function]))[:16]


def _of_function(function: Any) -> Any:
    """Return what a function does, and the texts and numbers it takes from around it."""
    if isinstance(function, partial):
        return [_of_function(function.func), _of_value(function.args), _of_value(function.keywords)]
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(type(function))
    around = {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return [_of_code(code), *(_of_value(value) for value in (function.__defaults__, cells, around))]


def _of_code(code: CodeType) -> Any:
    constants = [_of_code(value) if isinstance(value, CodeType) else _of_value(value) for value in code.co_consts]
    return [code.co_code.hex(), code.co_names, constants]


def _of_value(value: Any) -> Any:
    """Return a value as JSON; of what is no plain value its type alone, since its text may hold an address."""
    match value:
        case dict():
            return sorted([repr(name), _of_value(item)] for name, item in value.items())
        case frozenset() | set():
            return sorted(repr(_of_value(item)) for item in value)
        case list() | tuple():
            return [_of_value(item) for item in value]
        case _:
            return repr(value) if isinstance(value, PLAIN) else type(value).__name__
