"""Downloads of results that go wrong on the way."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any

from claude_batch_dagster.emulator.faults import Fault
from claude_batch_dagster.emulator.reply import Connection, Framing, Reply

HEADERS = {"content-type": "application/x-jsonl"}

_FOREIGN = b'{"custom_id":"row-of-another-batch","result":{"type":"expired"}}\n'
_GARBAGE = b'{"custom_id":"row-that-was-mang\n'
_FRAMINGS = {"_no_length": Framing.CLOSE, "_chunked": Framing.CHUNKED}

Bend = Callable[[bytes], tuple[bytes, ...]]

_BENDS: Mapping[str, Bend] = {
    "results_missing_line": lambda _: (),
    "results_duplicate_line": lambda line: (line, line),
    "results_foreign_line": lambda line: (line, _FOREIGN),
    "results_garbage_line": lambda line: (line, _GARBAGE),
    "results_blank_line": lambda line: (line, b"\n"),
}
"""What becomes of the line in the middle."""


def bent(fault: Fault, lines: Iterator[bytes], n_lines: int) -> Reply:
    """Return a download of `lines` as the fault leaves it."""
    # In the middle, so that what comes before and after it can be seen to be whole.
    middle = n_lines // 2
    if bend := _BENDS.get(fault.name):
        return _reply(_bent_at(middle, bend, lines))
    if fault.name == "results_crlf":
        return _reply(line[:-1] + b"\r\n" for line in lines)
    if fault.name == "slow_trickle":
        return _reply(lines, pause_seconds=fault.lasting)
    return _cut(fault, list(lines), middle)


def _bent_at(middle: int, bend: Bend, lines: Iterator[bytes]) -> Iterator[bytes]:
    for position, line in enumerate(lines):
        yield from bend(line) if position == middle else (line,)


def _cut(fault: Fault, lines: list[bytes], middle: int) -> Reply:
    kept = iter(lines[:middle])
    if "mid_line" in fault.name:
        broken = lines[middle]
        kept = chain(kept, [broken[: len(broken) // 2]])
    framing = next((framing for end, framing in _FRAMINGS.items() if fault.name.endswith(end)), Framing.LENGTH)
    return _reply(kept, connection=Connection.CUT, framing=framing, n_bytes=sum(map(len, lines)))


def _reply(lines: Iterator[bytes], **options: Any) -> Reply:
    return Reply(**{"headers": HEADERS, "body": lines, "framing": Framing.CHUNKED, **options})
