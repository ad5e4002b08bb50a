"""A table of a million documents, whose runs are killed all the way from the first batch to the last."""

import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from random import Random

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from proof.canary import DOCUMENT
from proof.findings import Finding
from proof.kills.campaign import sorted_by_name
from proof.kills.judge import LEDGER, Verdict, judge, last_words, state_at_death
from proof.kills.order import LABELS, WORDS, YEARS, Order
from proof.kills.paths import JobPaths
from proof.kills.processes import zygote

N_BATCHES = 50
EVENTS_PER_BATCH = 6
"""What the ledger writes down of a batch at least: sending, released, accepted, ended, spooled, applied."""

LAST_EVENTS = 12
"""Before these the last run is killed, for one that ends by itself was not."""

BATCH_SECONDS = 1.0
QUIET_SECONDS = 20.0
"""Longer than the emulator takes to accept a batch that it has whole."""

N_PARTS = 5
"""Parts of the table in which kills are counted."""

LOOK_SECONDS = 0.02
LONGEST_WAIT_SECONDS = 0.5
"""How long after a run has come far enough it is killed, at most: what it does then is what it happens to do."""

PATIENCE_SECONDS = 1_800.0


@dataclass(kw_only=True)
class Large:
    """One large table, and the runs that fill it."""

    folder: Path
    n_documents: int
    n_kills: int
    seed: int
    kills: Counter[str] = field(default_factory=Counter, init=False)
    """By what the ledger wrote down last, and by the fifth of the table."""

    def __post_init__(self) -> None:
        self.paths, self.chance = JobPaths(folder=self.folder), Random(self.seed)
        names = list(LABELS)
        self.labels: Mapping[str, str] = {f"d{n}": names[n % len(names)] for n in range(self.n_documents)}
        """The right answer for each document."""

    def run(self) -> Verdict:
        """Kill so many runs on the way, let the last one finish, and judge."""
        days = cycle(f"{year}-05-01" for year in YEARS)
        texts = ((key, f"{WORDS[label]}, {key}, {DOCUMENT}") for key, label in self.labels.items())
        self.paths.write([(key, text, day) for (key, text), day in zip(texts, days, strict=False)])
        per_batch = -(-self.n_documents // N_BATCHES)
        moments = sorted(self.chance.sample(range(N_BATCHES * EVENTS_PER_BATCH - LAST_EVENTS), self.n_kills))
        with tempfile.TemporaryDirectory(prefix="claude-batch-proof-") as state, closing(self._emulator(state)) as api:
            with serving(api) as url:
                order = Order(folder=str(self.folder), url=url, per_batch=per_batch, quiet_seconds=QUIET_SECONDS)
                for n_events in moments:
                    self._kill_one(order, n_events)
                status = zygote().start(order).wait(PATIENCE_SECONDS)
            verdict = judge(self.paths, self.labels, api, foreign=())
        if status:
            verdict.complaints.append(f"the last run ended with {status}:\n{last_words(self.paths)}")
        verdict.facts.update(self.kills)
        return verdict

    def _emulator(self, state: str) -> Emulator:
        return Emulator(clock=SystemClock(), batch_seconds=BATCH_SECONDS, seed=self.seed, state=state)

    def _kill_one(self, order: Order, n_events: int) -> None:
        """Start a run, and kill it soon after the ledger has so many events, and one of its own."""
        n_events = max(n_events, self._n_events())
        process, until = zygote().start(order), time.monotonic() + PATIENCE_SECONDS
        while self._n_events() <= n_events and not process.ended.is_set() and time.monotonic() < until:
            process.ended.wait(LOOK_SECONDS)
        process.ended.wait(self.chance.uniform(0, LONGEST_WAIT_SECONDS))
        if process.kill() >= 0 or self._n_events() <= n_events:
            raise RuntimeError(f"a run did nothing, or ended before it was killed:\n{last_words(self.paths)}")
        self.kills[f"kills, chunk {state_at_death(self.paths)}"] += 1
        self.kills[f"kills, part {1 + self._n_applied() * N_PARTS // N_BATCHES} of {N_PARTS}"] += 1

    def _n_events(self) -> int:
        """Return how much has happened, as the ledger has it."""
        return self._count("SELECT count(*) FROM events")

    def _n_applied(self) -> int:
        """Return how many batches have come to their end."""
        return self._count("SELECT count(*) FROM chunks WHERE state = 'applied'")

    def _count(self, query: str) -> int:
        """Ask the ledger, beside the run that writes it."""
        try:
            with closing(sqlite3.connect(f"file:{self.paths.state / LEDGER}?mode=ro", uri=True)) as connection:
                return int(connection.execute(query).fetchone()[0])
        except sqlite3.OperationalError:  # there is none yet
            return 0


def run_large(
    n_documents: int = 1_000_000, n_kills: int = 20, seed: int = 0, tell: Callable[[str], None] = print
) -> Finding:
    """Fill one large table, through so many kills; what is not as promised is told."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="claude-batch-proof-") as folder:
        verdict = Large(folder=Path(folder), n_documents=n_documents, n_kills=n_kills, seed=seed).run()
    for complaint in verdict.complaints:
        tell(complaint[:2_000])
    return Finding(
        name="million",
        promise="A table of a million documents whose runs are killed on the way is filled as any other.",
        n_schedules=n_documents,
        n_lost=verdict.n_lost,
        n_duplicate_rows=verdict.n_duplicate_rows,
        n_unreported_double_bills=verdict.n_unreported_double_bills,
        seconds=round(time.monotonic() - began, 1),
        seeds=str(seed),
        facts={
            "other promises broken": len(verdict.complaints),
            "kills": n_kills,
            **sorted_by_name(verdict.facts),
        },
    )
