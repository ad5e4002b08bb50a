"""
Write `docs/reliability.md` from what the proofs found: `python -m proof.report`.

Nothing on that page is written by hand but the sentences between its figures, which stand here.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from proof.catalogue import Fault, faults
from proof.findings import FOLDER, Finding

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"

ORDER = ("singles", "pairs", "seeds", "kills", "answers", "cuts", "planted")
"""The proofs, from the engine in a simulation to the tests of the tests."""

WHAT = {
    "singles": ("Every fault at every call", "schedules"),
    "pairs": ("Every pair of faults", "schedules"),
    "seeds": ("Random lives of a table", "seeds"),
    "kills": ("Real runs of Dagster, killed", "kills"),
    "answers": ("Every answer to a create call", "answers"),
    "cuts": ("Results cut at every byte", "cuts"),
    "planted": ("Planted bugs", "bugs"),
}

OPENING = """\
# Reliability, and how it is proved

> A document is sent again only if the API refused it, its attempt ended unbilled, you asked, or a send stayed invisible
> for the whole quiet period. The last case is the only one that can pay twice: it is limited to one batch at a time
> (and to what was held before, once you switch from `"hold"` to `"resubmit"`), reported with an upper bound in dollars,
> and switched off by `on_unconfirmed="hold"`.

A call that creates a batch has no idempotency key: if its answer is lost, repeating it may pay twice, and not repeating
it may lose the answers. This page says how that sentence is kept, and what was done to break it. Its figures come
from `python -m proof`; nobody typed them in.

## What was found

In everything below **the judge is the server**: an emulator of the API that keeps its own books of what it accepted and
billed. After every schedule those books are held against the ledger and the table. *Lost* counts documents whose paid
answer is neither in the table nor on disk; *doubled* counts rows beyond one for each document; *billed twice* counts
documents that were paid for twice without a word of it in the report.
"""

METHODS = """\
## How

**Simulation.** The real engine (client, ledger, spool, DuckDB table) runs against the emulator in one process, with a
clock that is moved. Every call it makes to the outside passes a gate, where the process can die before or after, and
where a request or its answer can be lost. A crash leaves exactly what was durable, and the next run starts from that.
*Every fault at every call* is a job of two batches with each fault at each call, also while the API's list lags, with
somebody else's batch of equal size in the workspace, and with a 404 for live batches; a full disk is one of the
faults. *Every pair* puts a second crash or lost answer at every call after the first, the disk aside. Crashes that
leave the same behind (ledger, spool, table, server, clock) have the same future, since a new process knows nothing
else: each such future is run once and counts for all that lead to it, which is why fewer schedules are executed than
tried; a test runs some of them all the same. *Random lives* draw from one seed each: a job, faults, edits that may be
taken back, cancellations, a table or raw results that somebody deletes, a clock that is set, people who reconcile and
resolve (some of them without looking), and two runs that take turns. `make test` plays 500 of them, and a property test
(hypothesis) that makes up sequences of its own and shrinks what fails.

**Kills.** Real runs of Dagster in processes of their own, over a real socket, with SIGKILL at a random moment; a third
of them and more inside the very call that creates a batch, where a proxy holds back the last bytes, or the answer.

**Answers.** Every combination of status, body, headers and moment that can answer a create call, sent by a scripted
server over a socket. What is expected of each stands in [answers.csv](answers.csv).

**Cuts.** The results of 200 requests, ended too early at every byte.

**Planted bugs.** A proof that cannot fail proves nothing. So bugs are planted one at a time in the running code, each
against a sentence of the promise and with the tests that have to catch it, named beforehand.

## Repeat it

```sh
make test      # two thirds of the singles, 500 seeds, 50 kills, a share of the cuts, all the answers
make proof     # all of this page, in a few hours
python -m proof planted              # plant each bug, and see it caught; or one, by its name
python -m proof kills --seed 17      # one job of killed runs again
python -m proof replay "..."         # one schedule again, as a failure prints it
```

## What can still pay twice, or lose

- A batch that the API accepted and did not list for the whole quiet period, with `on_unconfirmed="resubmit"`. It is
  reported at once (`possible_duplicate_usd`, the check `paid_once`) and looked for until its results expire.
- Two ledgers for one table that know nothing of each other, on two machines. A copy on one machine, a new ledger and an
  older one are noticed before anything is sent.
- A ledger that is lost while batches are on their way: accepted in place of it, a new one cannot know them. A ledger
  put back from a copy that was made in the middle of a run, before that run had ended, looks like the right one.
- A clock that was more than a day ahead when a batch was sent, whose process died at once, and that nobody looked for
  until that day had passed.
- A state directory on a file system whose locks look as if they worked across machines and do not.
- A person who deletes a batch at the API before its results are downloaded, or leaves them there for 29 days.
- Faults of the service itself. Nothing here was run against the live API: what is known of it is its documentation.
"""


def page(findings: Sequence[Finding], planted: Sequence[dict[str, object]], catalogue: Sequence[Fault]) -> str:
    """Return the whole page."""
    return "\n".join([OPENING, *_figures(findings), "", METHODS, *_bugs(planted), "", *_faults(catalogue)]) + "\n"


def _figures(findings: Sequence[Finding]) -> Iterator[str]:
    yield "| proof | tried | lost | doubled | billed twice | seeds |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for finding in findings:
        title, unit = WHAT[finding.name]
        counts = (finding.n_lost, finding.n_duplicate_rows, finding.n_unreported_double_bills)
        lost, doubled, billed = (f"{n:,}" for n in counts)
        yield f"| {title} | {finding.n_schedules:,} {unit} | {lost} | {doubled} | {billed} | {finding.seeds} |"
    for finding in findings:
        yield ""
        told = "; ".join(f"{name} {_figure(figure)}" for name, figure in finding.facts.items() if figure != 0)
        yield f"**{WHAT[finding.name][0]}.** {finding.promise.rstrip('.')}. ({told}.)"


def _figure(figure: float | str) -> str:
    return figure if isinstance(figure, str) else f"{figure:,}"


def _bugs(planted: Sequence[dict[str, object]]) -> Iterator[str]:
    yield f"## The {len(planted)} planted bugs"
    yield ""
    yield "Each was planted alone and caught by the tests named for it. `python -m proof planted NAME` shows one."
    sentence = None
    for bug in planted:
        if bug["promise"] != sentence:
            sentence = bug["promise"]
            yield from ("", f"> {sentence}", "")
            yield "| bug | what one might have thought | caught by |"
            yield "| --- | --- | --- |"
        caught_by = bug["caught_by"]
        tests = caught_by if isinstance(caught_by, list) else [caught_by]
        named = ", ".join(dict.fromkeys(f"`{str(test).partition('::')[2].partition('[')[0]}`" for test in tests))
        yield f"| {bug['name']} | {_cell(str(bug['what']))} | {named} |"


def _faults(catalogue: Sequence[Fault]) -> Iterator[str]:
    proved = [fault for fault in catalogue if not fault.excused]
    yield "## The catalogue of faults"
    yield ""
    yield (
        f"{len(catalogue)} things that can go wrong. {len(proved)} are proved by tests that carry their number: "
        "`pytest -k f33` runs those of F33, `python -m proof.catalogue` counts them. The others say why not."
    )
    yield ""
    yield "| fault | stage | what goes wrong | what is promised | if not tested, why |"
    yield "| --- | --- | --- | --- | --- |"
    for fault in catalogue:
        cells = (fault.id, fault.stage, fault.fault, fault.outcome, fault.excused)
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    """Return text that cannot break a table."""
    return " ".join(text.replace("|", "\\|").split())


def written() -> str:
    """Return the page as the figures saved last make it."""
    found = {path.stem: Finding.load(path) for path in FOLDER.glob("*.json") if path.stem in ORDER}
    planted = json.loads((FOLDER / "planted_table.json").read_text())
    return page([found[name] for name in ORDER if name in found], planted, faults())


def main() -> None:
    """Write the page."""
    PAGE.write_text(written())
    print(f"Written to {PAGE.relative_to(PAGE.parents[1])}.")


if __name__ == "__main__":
    main()
