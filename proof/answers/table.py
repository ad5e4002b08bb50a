"""The rule book as a file that people read."""

import csv
import io
from pathlib import Path

from proof.answers.cells import cells
from proof.answers.rules import rule

FILE = Path(__file__).parents[2] / "docs" / "answers.csv"

COLUMNS = ("status", "body", "header", "released", "class", "what the plugin does")


def text() -> str:
    """Return the whole table."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in cells():
        released = "yes" if cell.released else "no"
        writer.writerow([cell.status, cell.body, cell.header, released, *rule(cell)])
    return buffer.getvalue()
