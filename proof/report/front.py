"""The first page: what is promised, what was found, what can still go wrong, how to repeat it."""

from collections.abc import Iterator, Sequence

from proof.catalogue import Fault
from proof.findings import Finding
from proof.report.catalogue import n_proved
from proof.report.proofs import OF_THE_TESTS, WHAT, anchor

OPENING = """\
# Reliability

**A document is paid for once, and no answer that was paid for is lost.** This page says how far that holds, what was
done to break it, and what came of that.

The call that creates a batch has no idempotency key. If its answer is lost, repeating it may pay twice, and not
repeating it may lose the answers. So the promise in full is:

> A document is sent again only if the API refused it, its attempt ended unbilled, you asked, its answer was cut off or
> did not fit the output model (once, ever), or a send stayed invisible for the whole quiet period. The last case is the
> only one that can pay twice for one answer: it is limited to one batch at a time (and to what was held before, once
> you switch from `"hold"` to `"resubmit"`), reported with an upper bound in dollars, and switched off by
> `on_unconfirmed="hold"`.

## What was tried, and what was found
"""

JUDGE = """\
**The judge is the server**: an emulator of the API that keeps its own books of what it accepted and billed. After every
try, those books are compared with the ledger and the output table. (Of a single answer, and of results that are cut,
it is known beforehand what has to come of it.)

- *lost*: documents whose paid answer is neither in the table nor on disk;
- *doubled*: rows of the table beyond one for each document;
- *billed twice*: documents that were paid for twice without a word of it in the report.
"""

STILL = """\
## What can still pay twice, or lose

- **A batch that stays invisible.** The API accepted it, the answer was lost, and the API's list does not show it for
  the whole quiet period (15 minutes, unless you set it). With `on_unconfirmed="resubmit"`, the default, its documents
  are then sent again. The report says so at once (`possible_duplicate_usd`, and the check `paid_once`), and the batch
  is looked for until its results expire. With `"hold"` a person decides.
- **A process that is killed while rows are asked live** ([`deadline`, `small_batches`](cost.md#a-deadline), off unless
  you say so). The Messages API hands an answer out once: of the requests under way, eight at most, nobody can find
  out. Their rows are asked once more, which is reported, or wait for a person with `"hold"`.
- **Two ledgers for one table**, on two machines, that know nothing of each other. On one machine a copied ledger, a new
  one and an older one are noticed before anything is sent.
- **A ledger that is lost while batches are on their way.** A new one, accepted in its place, cannot know them. A backup
  that was made in the middle of a run which then died looks like the right ledger.
- **A clock that was more than a day ahead** when a batch was sent, if the process died at once and nobody looked for
  the batch until that day had passed.
- **A file system whose locks only look as if they worked** between machines, with the state directory on it.
- **A person** who deletes a batch at the API before its results are downloaded, or leaves them there for 29 days.
- **Faults of the service itself.** Nothing here was run against the live API. What is known of it is its documentation.
"""

REPEAT = """\
## Repeat it

```sh
make test      # on every change, under 5 minutes: the tests, and a share of each proof
make verify    # on every push, half an hour: faults at every call, new random seeds drawn from the commit,
               # killed runs, races, cut results, planted bugs
make soak      # the tests that take long
make proof     # all of it, for hours, and a mutation tool over core/; writes these pages
```

The emulator needs no key and no network. A failure prints the command that repeats it, call by call:

```sh
python -m proof replay "seed 17"                            # one random life of a table
python -m proof replay "2 chunks; run 1: 37 lost answer"    # one schedule of faults
python -m proof kills --seed 17                             # one job of killed runs
```

## Read on

- [How each proof works](reliability/methods.md), with all its figures
- [The catalogue of faults](reliability/faults.md): {n_faults} things that can go wrong; tests prove {n_proved} of them
- [The planted bugs](reliability/planted-bugs.md)
- [Small changes of the core](reliability/mutation.md), and which of them no test noticed
- [Every answer to a create call](answers.csv), and what it proves
- [How the recovery works](how-it-works.md#when-the-answer-to-a-create-call-is-lost)
- The proofs themselves (`proof/README.md` of the repository): their parts, and how to read a failing seed
"""


def page(findings: Sequence[Finding], catalogue: Sequence[Fault]) -> str:
    """Return the page."""
    of_the_product = [finding for finding in findings if finding.name not in OF_THE_TESTS]
    of_the_tests = [finding for finding in findings if finding.name in OF_THE_TESTS]
    read_on = REPEAT.format(n_faults=len(catalogue), n_proved=n_proved(catalogue))
    return "\n".join([OPENING, *_table(of_the_product), "", JUDGE, *_tests(of_the_tests), STILL, read_on])


def _table(findings: Sequence[Finding]) -> Iterator[str]:
    yield "| proof | tried | lost | doubled | billed twice |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for finding in findings:
        title, unit = WHAT[finding.name]
        counts = (finding.n_lost, finding.n_duplicate_rows, finding.n_unreported_double_bills)
        lost, doubled, billed = (f"{n:,}" for n in counts)
        link = f"[{title}](reliability/methods.md#{anchor(title)})"
        yield f"| {link} | {finding.n_schedules:,} {unit} | {lost} | {doubled} | {billed} |"


def _tests(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        caught = int(finding.facts["caught"])
        yield (
            f"**Can these proofs fail?** {finding.n_schedules} [bugs were planted](reliability/planted-bugs.md), one "
            f"at a time, and {caught} of them were caught by the tests named for them before."
        )
        yield ""
