"""Show which test proves which fault: `python -m proof.catalogue`."""

import sys

from rich.console import Console
from rich.table import Table

from proof.catalogue import collect, complaints, coverage, faults

catalogue, carried = faults(), coverage(collect())
table = Table("fault", "stage", "what goes wrong", "what is promised", "tests")
for fault in catalogue:
    table.add_row(fault.id, fault.stage, fault.fault, fault.outcome, fault.excused or str(carried[fault.id]))
console = Console(width=None if sys.stdout.isatty() else 200)
console.print(table)

wrong = complaints(catalogue, carried)
n_proved = sum(bool(carried[fault.id]) for fault in catalogue)
console.print(
    f"{n_proved} of {len(catalogue)} faults proved by tests, {sum(bool(f.excused) for f in catalogue)} excused."
)
for complaint in wrong:
    console.print(complaint, style="red")
sys.exit(bool(wrong))
