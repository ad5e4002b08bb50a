"""The page of methods: how each proof works, and all its figures."""

from collections.abc import Iterator, Sequence

from proof.findings import Finding
from proof.report.proofs import WHAT, figures

OPENING = """\
# How each proof works

[Reliability](../reliability.md) / methods

Each proof saves what it found, and `python -m proof.report` writes these pages from that; nobody types a figure in. The
figures that are zero are left out.

The first three proofs run in a **simulation**. The real engine (client, ledger, spool, DuckDB table) runs against the
emulator in one process, on a clock that is moved by hand. Each call to the outside passes a gate. There the process can
die, before the call or after it, and a request or its answer can be lost. A crash leaves exactly what was durable, and
the next run starts from that.
"""

METHOD = {
    "singles": """\
A job of two batches is run with each fault at each call, one at a time. It is run again while the API's list lags,
while somebody else's batch of the same size is in the workspace, and while the API answers 404 for batches that exist.
The faults are crashes, lost requests, lost answers, and trouble on the machine, such as a full disk.

Crashes that leave the same behind (ledger, spool, table, server, clock) have the same future, since a new process knows
nothing else. Each such future is run once and counts for all crashes that lead to it. So fewer schedules are executed
than are tried. A test runs some of the others all the same, and compares.""",
    "pairs": """\
After each crash and each lost answer, a second one is tried at every later call, in the same run and in the next one.
Trouble on the machine is left out.""",
    "seeds": """\
A seed is a number from which everything is drawn: a job, faults, edits that may be taken back, cancellations, a table
or raw results that somebody deletes, a clock that is set, people who reconcile and resolve (some of them without
looking), and two runs at once. One life in three has a budget, per run, day, month or backfill, some of them minutes
before midnight: whenever a batch is accepted, what all of them can come to is held against it. In one of six, requests
begin with a guide that is worth caching. The same seed always goes the same way, so a failure can be seen again.

`make verify` plays seeds that nobody has seen, drawn from the commit. A property test (hypothesis) makes up sequences
of its own, and shrinks those that fail.""",
    "kills": """\
Runs of Dagster in processes of their own, over a real socket, end by SIGKILL at a random moment. More than a third of
them die inside the call that creates a batch, where a proxy holds back the last bytes or the answer. What the proxy
holds arrives at once after the death, late, or never. One job in three has a budget for about half of its rows, which
is raised from run to run; after each death the bill of the server is held against it.""",
    "million": """\
One table of a million documents is filled in batches of 20,000. Its runs are killed at twenty moments spread over the
whole of it, counted by what the ledger has written down; what a run is doing just then is left to chance: it reads,
renders, sends, waits, downloads or brings answers into the table.""",
    "answers": """\
A scripted server sends every combination of status, body, headers and moment that can answer a create call, over a
socket. What is expected of each stands in [answers.csv](../answers.csv).""",
    "cuts": """\
The results of a batch of 200 requests end too early, without a word, at every byte. Cuts near the end of a line, which
can look like the end of the file, are also tried alone, and while a lost table is restored.""",
    "planted": """\
A proof that cannot fail proves nothing. So bugs are planted in the product, one at a time, and the tests that were
named for each have to catch it: [planted bugs](planted-bugs.md).""",
}


def page(findings: Sequence[Finding]) -> str:
    """Return the page."""
    return "\n".join([OPENING, *(line for finding in findings for line in _section(finding))])


def _section(finding: Finding) -> Iterator[str]:
    yield f"## {WHAT[finding.name][0]}"
    yield ""
    yield f"**What is proved:** {finding.promise.rstrip('.')}."
    yield ""
    yield METHOD[finding.name]
    yield ""
    yield f"| found by `python -m proof {finding.name}` | |"
    yield "| --- | ---: |"
    yield from (f"| {name} | {figure} |" for name, figure in figures(finding))
    yield ""
