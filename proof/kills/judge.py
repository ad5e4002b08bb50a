"""What is true in the end: the table, the ledger, and the API's own memory of what it billed."""

import json
import shutil
import sqlite3
import tempfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from claude_batch_dagster import Budget
from claude_batch_dagster.emulator import Emulator
from proof.canary import DOCUMENT, KEY
from proof.kills.paths import JobPaths
from proof.money import ROUNDING_USD, billed_usd

LEDGER = "ledger.sqlite"
CLOSED = frozenset({"applied", "refused", "unseen"})
"""States in which nothing is left to do; `lost` and `held` would each be a fault here."""

MANY_LINES = 15

NO_MONEY = "not sent, for the budget of this asset of $"
"""How a row begins to say that its budget did not allow it."""

FOR_DOCUMENTS = ("documents.jsonl", ".duckdb", "outbox")
"""Where documents may be: in what is the user's, and in what a run was killed in writing, to be removed later."""

DUPLICATES = "claude_batch/possible_duplicate_requests"
"""Under which name a run reports what may have been paid for twice."""


@dataclass(kw_only=True)
class Verdict:
    """What became of the documents of one job."""

    n_lost: int = 0
    n_duplicate_rows: int = 0
    n_unreported_double_bills: int = 0
    complaints: list[str] = field(default_factory=list)
    """All that is not as it was promised, in words."""
    facts: Counter[str] = field(default_factory=Counter)


def judge(
    paths: JobPaths,
    labels: Mapping[str, str],
    emulator: Emulator,
    *,
    foreign: Collection[str],
    budget: Budget | None = None,
) -> Verdict:
    """
    Compare table, ledger and bill; `labels` are the right answers, `foreign` the batches of others.

    Rows may lack an answer for want of money only where there is a budget, and only if they were not paid for.
    """
    verdict = Verdict()
    _judge_rows(verdict, paths, labels, has_budget=budget is not None)
    _judge_bills(verdict, paths, emulator, foreign)
    if budget:
        _judge_budget(verdict, budget, emulator, foreign)
    _judge_ledger(verdict, paths, {batch.id for batch in emulator.audit.accepted()} - set(foreign))
    if found := leaks(paths):
        verdict.complaints.append(f"the key or a document is in {found}")
    return verdict


def leaks(paths: JobPaths) -> list[str]:
    """Name the files that hold the key, or a document where none may be."""
    return [*paths.files_with(KEY), *paths.files_with(DOCUMENT, beside=FOR_DOCUMENTS), *_packed_leaks(paths)]


def _packed_leaks(paths: JobPaths) -> Iterator[str]:
    """Name the chunks in whose packed columns of the ledger the key or a document is."""
    with ledger(paths) as connection:
        for chunk_id, *cells in connection.execute("SELECT * FROM requests").fetchall():
            content = b"".join(zlib.decompress(cell) for cell in cells if isinstance(cell, bytes))
            if KEY.encode() in content or DOCUMENT.encode() in content:
                yield f"chunk {chunk_id} in the ledger"


def _judge_rows(verdict: Verdict, paths: JobPaths, labels: Mapping[str, str], *, has_budget: bool) -> None:
    with duckdb.connect(paths.database) as connection:
        rows = connection.execute("SELECT id, status, label, error FROM public.answers").fetchall()
    right = {key for key, status, label, _ in rows if status == "succeeded" and labels.get(key) == label}
    blocked = {key for key, status, _, error in rows if status == "blocked" and str(error).startswith(NO_MONEY)}
    lost = sorted(labels.keys() - right - (blocked if has_budget else set()))
    verdict.facts.update({"rows answered": len(right), "rows blocked by a budget": len(blocked)})
    verdict.n_lost = len(lost)
    verdict.n_duplicate_rows = len(rows) - len({key for key, *_ in rows})
    if lost:
        verdict.complaints.append(f"no good answer for {lost}; the table has {sorted(rows)}")
    if verdict.n_duplicate_rows:
        verdict.complaints.append(f"{verdict.n_duplicate_rows} rows too many")


def _judge_bills(verdict: Verdict, paths: JobPaths, emulator: Emulator, foreign: Collection[str]) -> None:
    """Find what was billed twice; only what a run has let go, and has told of, is not held against it in full."""
    requests = [request for request in emulator.audit.requests() if request.batch_id not in foreign]
    billed = Counter(request.params_sha256 for request in requests if request.billed)
    twice = {digest for digest, n in billed.items() if n > 1}
    verdict.facts.update({"requests billed": billed.total(), "documents billed twice": len(twice)})
    with ledger(paths) as connection:
        query = "SELECT batch_id FROM chunks JOIN events USING (chunk_id) WHERE events.state = 'unseen'"
        let_go = {batch_id for (batch_id,) in connection.execute(query)}
    excused = {request.params_sha256 for request in requests if request.batch_id in let_go} & twice
    told = reported(paths).get(DUPLICATES, 0)
    verdict.n_unreported_double_bills = len(twice) - min(len(excused), told)
    if twice:
        batches = sorted({request.batch_id for request in requests if request.params_sha256 in twice})
        verdict.complaints.append(f"{len(twice)} documents were billed twice, {told} of them told, in {batches}")


def _judge_budget(verdict: Verdict, budget: Budget, emulator: Emulator, foreign: Collection[str]) -> None:
    """Find what was billed beyond the budget, and rows that were paid for and say that there was no money for them."""
    if told := beyond(budget, emulator, foreign=foreign):
        verdict.complaints.append(told)
    requests = emulator.audit.requests()
    paid = {request.params_sha256 for request in requests if request.billed and request.batch_id not in foreign}
    n_unanswered = max(0, len(paid) - verdict.facts["rows answered"])  # each row asks something else
    if n_unanswered > verdict.n_lost:
        verdict.n_lost = n_unanswered
        verdict.complaints.append(f"{n_unanswered} documents were paid for and have no good answer")


def beyond(budget: Budget, emulator: Emulator, *, foreign: Collection[str] = ()) -> str | None:
    """
    Say what was billed beyond a budget; None if nothing was.

    With each day, or month, in UTC there is new money: a job during which it begins may spend twice as much.
    """
    ours = (batch for batch in emulator.audit.accepted() if batch.id not in foreign)
    n_digits = len("2026-11") if budget.per == "month" else len("2026-11-20")
    most = budget.usd * max(1, len({batch.created_at[:n_digits] for batch in ours}))
    usd = billed_usd(emulator, without=foreign)
    return f"{usd:.6f} USD were billed, and the budget was {most:.6f}" if usd > most + ROUNDING_USD else None


def _judge_ledger(verdict: Verdict, paths: JobPaths, accepted: set[str]) -> None:
    with ledger(paths) as connection:
        chunks = connection.execute("SELECT chunk_id, state, batch_id FROM chunks").fetchall()
        moved = connection.execute("SELECT DISTINCT chunk_id, state FROM events").fetchall()
    happened = Counter(state for _, state in moved)
    verdict.facts["batches accepted"] = len(accepted)
    verdict.facts["batches adopted"] = happened["adopted"]
    verdict.facts["batches never sent whole"] = happened["refused"]
    verdict.facts["batches never seen, sent again"] = happened["unseen"]
    left = [chunk for chunk in chunks if chunk[1] not in CLOSED]
    if left:
        verdict.complaints.append(f"the ledger has unfinished business: {left}")
    applied = {batch_id for _, state, batch_id in chunks if state == "applied"}
    if applied != accepted:
        verdict.complaints.append(f"accepted and not landed: {accepted - applied}; the reverse: {applied - accepted}")


@contextmanager
def ledger(paths: JobPaths) -> Iterator[sqlite3.Connection]:
    """Open a copy of the ledger: its own file is for the next run to find as it was left."""
    with tempfile.TemporaryDirectory() as copy:
        for file in paths.state.glob(f"{LEDGER}*"):
            shutil.copy(file, copy)
        with closing(sqlite3.connect(Path(copy) / LEDGER)) as connection:
            yield connection


def reported(paths: JobPaths) -> dict[str, int]:
    """Return the whole numbers that the last run reported with its answers."""
    figures: dict[str, int] = json.loads(paths.report.read_text()) if paths.report.exists() else {}
    return figures


def state_at_death(paths: JobPaths) -> str:
    """Return the state of the chunk that was touched last, as a killed run has left it."""
    with ledger(paths) as connection:
        try:
            found = connection.execute("SELECT state FROM events ORDER BY event_id DESC LIMIT 1").fetchone()
        except sqlite3.OperationalError:
            return "no ledger"
    return str(found[0]) if found else "nothing sent"


def last_words(paths: JobPaths) -> str:
    """Return the end of what the runs have printed."""
    if not paths.log.exists():
        return ""
    return "\n".join(paths.log.read_text().splitlines()[-MANY_LINES:])
