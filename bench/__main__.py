"""
Measure: `python -m bench [ROWS]`.

Each case runs in a process of its own, in turn, three times; the medians are printed with their ratio.
Machines are noisy: quote the ratio, not the seconds.
"""

import json
import statistics
import subprocess
import sys

from rich.console import Console
from rich.table import Table

PAIRS = (
    ("submit", "submit_plain", "submit_ours"),
    ("collect, few different answers", "collect_plain", "collect_ours"),
    ("collect, all different", "collect_distinct_plain", "collect_distinct_ours"),
)
ROUNDS = 3


def measure(case: str, rows: int) -> dict[str, float]:
    """Run one case in a process of its own."""
    command = [sys.executable, "-m", "bench.cases", case, str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  (our own module)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Print one row for each pair of cases."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    table = Table("part", "the plain way, s", "this package, s", "times as fast", "MB plain", "MB here")
    table.title = f"{rows:,} requests, median of {ROUNDS}"
    for part, plain, ours in PAIRS:
        rounds = [(measure(plain, rows), measure(ours, rows)) for _ in range(ROUNDS)]
        seconds = [statistics.median(pair[side]["seconds"] for pair in rounds) for side in (0, 1)]
        ratio = statistics.median(pair[0]["seconds"] / pair[1]["seconds"] for pair in rounds)
        memory = [max(pair[side]["peak_mb"] for pair in rounds) for side in (0, 1)]
        figures = (f"{seconds[0]:.2f}", f"{seconds[1]:.2f}", f"{ratio:.1f}", f"{memory[0]:.0f}", f"{memory[1]:.0f}")
        table.add_row(part, *figures)
    console = Console()
    console.print(table)
    console.print(
        "The plain way writes nothing down before it sends, and nothing to disk before it reads; here both are "
        "included, and so are prices and verdicts."
    )


if __name__ == "__main__":
    main()
