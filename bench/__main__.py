"""
Measure: `python -m bench` writes docs/performance.md; `python -m bench 10` measures a tenth of the rows, and prints it.

Each case runs in a process of its own, beside the plain way in turn. Machines are noisy: what counts is the ratio.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.profile import ALL_ELSE, IS_POSSIBLE

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
ROUNDS = 3

PARTS = (
    ("submit", "submit_plain", "submit_ours"),
    ("collect, few different answers", "collect_plain", "collect_ours"),
    ("collect, all different", "collect_distinct_plain", "collect_distinct_ours"),
)
PARTITIONS = (237, 2_000)
SMALLEST_SHARE = 0.02

PROGRESS = Console(stderr=True, soft_wrap=True)

HEAD = """# How fast it is

Made by `make bench`. Each figure is a ratio of two processes that ran in turn on the same machine, the median of
{rounds}: seconds of other machines say little. The API answers at once, so what is measured is the work on this side.
**The plain way** is what the documentation of the SDK shows: `messages.batches.create`, poll, iterate over the results,
validate with pydantic, a pandas DataFrame, a DuckDB table. It writes nothing down before it sends, and nothing to disk
before it reads; here both are included, and so are prices, verdicts, checks and metadata.

Documents are of about 1 KB, all different. {machine}, {n_cores} cores, Python {python}.
"""


@dataclass(frozen=True)
class Figures:
    """What one process needed."""

    seconds: float
    """Of the clock where a part is measured, of the processor where a whole job is."""
    wall: float
    peak_mb: float
    grown_mb: float
    """By how much that is more than when all was imported."""
    until_sent: float
    """Of a whole job: seconds of the clock from the start of its process until the API has a batch."""

    @property
    def memory(self) -> str:
        """The most memory, and how much of it was added."""
        return f"{self.peak_mb:.0f} (+{self.grown_mb:.0f})"


def measure(module: str, case: str, rows: int, parts: int = 1) -> Figures:
    """Run one case in a process of its own."""
    [figures] = measure_each(module, case, rows, parts)
    return figures


def measure_each(module: str, case: str, rows: int, parts: int = 1) -> list[Figures]:
    """Run one case, which may be of several steps, in processes of their own."""
    return [_figures(told) for told in _told(module, case, rows, parts)]


def _told(module: str, case: str, rows: int, parts: int = 1) -> list[dict[str, float]]:
    command = [sys.executable, "-m", f"bench.{module}", case, str(rows), *([str(parts)] if module == "jobs" else [])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603  (our own module)
    PROGRESS.print(module, case, rows, parts, done.stdout.strip())
    return [json.loads(line) for line in done.stdout.splitlines()]


def _figures(told: dict[str, float]) -> Figures:
    seconds = told["seconds"]
    wall, until_sent = told.get("wall", seconds), told.get("until_sent", seconds)
    return Figures(seconds, wall, told["peak_mb"], told["grown_mb"], until_sent)


def side_by_side(module: str, plain: str, ours: str, rows: int) -> tuple[float, Figures, Figures]:
    """Run two cases in turn; return how many times as fast ours is, and a round of figures of each."""
    rounds = [(measure(module, plain, rows), measure(module, ours, rows)) for _ in range(ROUNDS)]
    ratios = [one.seconds / other.seconds for one, other in rounds]
    middle = statistics.median_low(ratios)
    return middle, *rounds[ratios.index(middle)]


def page(share: int) -> Iterator[str]:
    """Measure everything, and yield the lines of the page; `share` divides the numbers of rows."""
    cores = len(os.sched_getaffinity(0))
    machine = f"{platform.system()} on {platform.machine()}"
    yield HEAD.format(rounds=ROUNDS, machine=machine, n_cores=cores, python=platform.python_version())
    yield "## Beside the plain way\n"
    yield "In brackets: how much more that is than the process had when all was imported.\n"
    yield "| work | times as fast | most memory here, MB | the plain way, MB |"
    yield "| --- | --: | --: | --: |"
    bars: dict[str, float] = {}
    for part, plain, ours in PARTS:
        rows = 100_000 // share
        ratio, one, other = side_by_side("cases", plain, ours, rows)
        bars[part] = ratio
        yield f"| {part}, {rows:,} requests | {ratio:.1f} | {other.memory} | {one.memory} |"
    for rows in (10_000 // share, 100_000 // share):
        ratio, one, other = side_by_side("jobs", "plain", "ours", rows)
        bars[f"whole job, {rows:,}"] = ratio
        yield f"| the whole job, {rows:,} rows | {ratio:.1f} | {other.memory} | {one.memory} |"
    yield f"\n{_chart(bars)}"
    yield from _profile(100_000 // share) if IS_POSSIBLE else ()
    yield from _large(1_000_000 // share, 100_000 // share)
    yield from _partitions(share)
    yield from _first()


def _profile(rows: int) -> Iterator[str]:
    [shares] = _told("jobs", "profile", rows)
    large = {module: share for module, share in shares.items() if share >= SMALLEST_SHARE}
    yield "\n## Where the rest goes\n"
    yield f"Of the processor time of a whole job of {rows:,} rows. What a module calls, such as DuckDB, is"
    yield "counted as its own.\n"
    yield "| module | share |"
    yield "| --- | --: |"
    yield from (f"| {_shown(module)} | {share:.0%} |" for module, share in large.items())
    yield f"| all smaller ones together | {1 - sum(large.values()):.0%} |"


def _shown(module: str) -> str:
    return "Dagster, and all else that is not ours" if module == ALL_ELSE else f"`{module}`"


def _large(rows: int, fewer: int) -> Iterator[str]:
    small, (large, again) = measure("jobs", "ours", fewer), measure_each("jobs", "twice", rows)
    growth = (large.seconds / rows) / (small.seconds / fewer)
    tick = measure("jobs", "tick", rows, 5_000)
    yield "\n## Large tables\n"
    yield "| work | processor, compared with the first | most memory, MB |"
    yield "| --- | --: | --: |"
    yield f"| {fewer:,} rows, for each row | 1 | {small.peak_mb:.0f} |"
    yield f"| {rows:,} rows, for each row | {growth:.2f} | {large.peak_mb:.0f} |"
    for work, one in (("again, nothing changed", again), ("in 5,000 partitions, a look of the sensor", tick)):
        yield f"| {rows:,} rows {work}, in all | {one.seconds / large.seconds:.3f} | {one.peak_mb:.0f} |"


def _partitions(share: int) -> Iterator[str]:
    yield "\n## Partitions\n"
    yield "One run over a range, in processor time, against an asset that does nothing in as many partitions. Nearly"
    yield "all of it is Dagster's own events: a materialization and three evaluations of checks for each partition.\n"
    yield "| partitions, ten rows each | first run | nothing changed | nothing but three checks |"
    yield "| --- | --: | --: | --: |"
    for parts in (max(2, one // share) for one in PARTITIONS):
        nothing = measure("jobs", "empty", parts, parts)
        first, again = measure_each("jobs", "twice", 10 * parts, parts)
        checks = measure("jobs", "checked", parts, parts)
        times = (f"{one.seconds / nothing.seconds:.1f}" for one in (first, again, checks))
        yield f"| {parts:,} | {' | '.join(times)} |"


def _first() -> Iterator[str]:
    yield "\n## The first batch\n"
    pairs = [(measure("jobs", "empty", 10), measure("jobs", "ours", 10)) for _ in range(ROUNDS)]
    later = statistics.median(ours.until_sent - nothing.until_sent for nothing, ours in pairs)
    when = "later" if later > 0 else "earlier"
    yield f"Ten rows: the API has their batch {abs(later):.1f} s {when} than an asset that does nothing has ended,"
    yield "imports included."


def _chart(bars: dict[str, float]) -> str:
    """Draw the ratios, by whoever shows the page."""
    names = ", ".join(f'"{name}"' for name in bars)
    values = ", ".join(f"{value:.1f}" for value in bars.values())
    return (
        "```mermaid\nxychart-beta horizontal\n"
        '    title "Times as fast as the plain way"\n'
        f"    x-axis [{names}]\n    y-axis 0 --> {max(bars.values()) + 1:.0f}\n    bar [{values}]\n```"
    )


def main() -> None:
    """Measure, print the page, and write it unless it is of fewer rows."""
    share = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    console, lines = Console(), []
    for line in page(share):
        console.print(line, markup=False, highlight=False)
        lines.append(line)
    if share == 1:
        PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
