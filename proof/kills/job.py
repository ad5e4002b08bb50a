"""One job: runs that are killed, one after the other, and a last one that is left alone."""

import json
import signal
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random

from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from proof.canary import DOCUMENT
from proof.kills.budgets import RisingBudget
from proof.kills.holds import PATIENCE_SECONDS, Fate
from proof.kills.judge import Verdict, beyond, judge, last_words, state_at_death
from proof.kills.moments import After, Moment, moment
from proof.kills.order import LABELS, PER_BATCH, WORDS, YEARS, Order
from proof.kills.paths import JobPaths
from proof.kills.processes import Process, zygote
from proof.kills.proxy import Proxy, proxied

BATCH_SECONDS = 0.15
NEW_DOCUMENTS = (2 * PER_BATCH, 3 * PER_BATCH)
"""How many documents are new to each run, at least and at most: enough for two batches."""

LONG_TEXT = 100_000
"""Characters of a text of which two do not fit into a socket's buffers."""

ODDS_OF_STRANGERS = 0.3
"""How often somebody else sends a batch of the same size in the same workspace."""

RUNS_FOR_A_KILL = 4
"""A run may end before its moment has come; more runs than this for a kill mean that runs do nothing."""


@dataclass(kw_only=True)
class Job:
    """A table of documents that grows with every run, and what became of its answers."""

    seed: int
    n_kills: int
    path: Path
    kills: Counter[str] = field(default_factory=Counter)
    """By kind, and some other ways to count them."""
    foreign: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)
    """The right answer for each document."""
    complaints: list[str] = field(default_factory=list)
    """What was not as promised between two runs."""

    def __post_init__(self) -> None:
        self.paths = JobPaths(folder=self.path)
        self.chance = Random(self.seed)
        self.filler = " and so on" * (LONG_TEXT // 10) if self.chance.random() < 1 / 2 else ""
        self.span = (YEARS[0], YEARS[-1]) if self.chance.random() < 1 / 2 else None
        self.budget = RisingBudget.drawn(self.seed, long=bool(self.filler))

    def run(self) -> Verdict:
        """Kill so many runs, let one finish, and judge."""
        emulator = Emulator(clock=SystemClock(), batch_seconds=BATCH_SECONDS, seed=self.seed)
        with serving(emulator) as url, proxied(url) as proxy:
            n_runs = 0
            while self.kills["kills"] < self.n_kills and n_runs < RUNS_FOR_A_KILL * self.n_kills:
                n_runs, n_kills = n_runs + 1, self.kills["kills"]
                self._write_more()
                self._kill_one(self._order(proxy), proxy)
                if self.budget:
                    self._look_at_the_bill(emulator, self.budget)
                    self.budget.ran(killed=self.kills["kills"] > n_kills)
                if self.chance.random() < ODDS_OF_STRANGERS:
                    self._send_as_a_stranger(emulator)
            status = zygote().start(self._order(proxy)).wait()
        budget = self.budget.now if self.budget else None
        verdict = judge(self.paths, self.labels, emulator, foreign=self.foreign, budget=budget)
        emulator.close()
        verdict.complaints += self.complaints
        if status or self.kills["kills"] < self.n_kills:
            killed = f"{self.kills['kills']} of {n_runs} runs were killed"
            verdict.complaints.append(f"{killed}; the last ended with {status}:\n{last_words(self.paths)}")
        verdict.facts.update(self.kills)
        return verdict

    def _order(self, proxy: Proxy) -> Order:
        order = Order(folder=str(self.path), url=proxy.url, span=self.span)
        return replace(order, **self.budget.facts) if self.budget else order

    def _look_at_the_bill(self, emulator: Emulator, budget: RisingBudget) -> None:
        """Hold what was billed so far against the budget of this moment: later there is more money."""
        if told := beyond(budget.now, emulator, foreign=self.foreign):
            self.complaints.append(told)

    def _write_more(self) -> None:
        """Let the source have more documents, each of them to be asked once."""
        n_new = self.chance.randint(*NEW_DOCUMENTS)
        if self.budget:
            self.budget.written(n_new)
        for number in range(len(self.labels), len(self.labels) + n_new):
            self.labels[f"d{number}"] = self.chance.choice(list(LABELS))
        rest = f"of job {self.seed}, {DOCUMENT}{self.filler}"
        texts = {key: f"{WORDS[label]}, {key} {rest}" for key, label in self.labels.items()}
        days = cycle(f"{year}-05-01" for year in YEARS)
        self.paths.write([(key, text, day) for (key, text), day in zip(texts.items(), days, strict=False)])
        if self.span:  # else the run itself brings them in
            self.paths.load()

    def _kill_one(self, order: Order, proxy: Proxy) -> None:
        """Start a run and kill it at a moment drawn, unless it ends first."""
        news: SimpleQueue[str] = SimpleQueue()
        when = moment(self.chance)
        if when.hold:
            when.hold.on_reached = lambda: news.put("there")
            proxy.arm(when.hold)
        process = zygote().start(order, on_end=lambda: news.put("ended"))
        if _comes(when, news):
            self._kill(process, when, proxy)
        proxy.disarm()
        if when.hold and when.hold.reached.is_set():
            _settle(when, proxy)

    def _kill(self, process: Process, when: Moment, proxy: Proxy) -> None:
        inside = bool(proxy.posting)
        if process.kill() != -signal.SIGKILL:
            return
        proxy.forget_the_dead()
        self.kills["kills"] += 1
        self.kills[f"kills, {when.kind}"] += 1
        if inside:
            self.kills["kills inside the POST"] += 1
            self.kills[f"kills inside the POST, chunk {state_at_death(self.paths)}"] += 1

    def _send_as_a_stranger(self, emulator: Emulator) -> None:
        message = {"role": "user", "content": f"a document of somebody else, {len(self.foreign)}"}
        params = {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [message]}
        body = {"requests": [{"custom_id": f"row-{n}", "params": params} for n in range(PER_BATCH)]}
        headers = {"x-api-key": "any", "anthropic-version": "2023-06-01"}
        reply = emulator.handle("POST", "/v1/messages/batches", headers, json.dumps(body).encode())
        self.foreign.add(reply.json()["id"])


def _comes(when: Moment, news: "SimpleQueue[str]") -> bool:
    """Wait for the moment; `False` if the run ends before it."""
    if when.hold and news.get(timeout=PATIENCE_SECONDS) == "ended":
        return False
    try:
        return news.get(timeout=when.seconds) != "ended"
    except Empty:
        return True


def _settle(when: Moment, proxy: Proxy) -> None:
    """Decide on what the dead has sent and the API does not have."""
    hold = when.hold
    if hold is None:
        return
    match when.after:
        case After.AT_ONCE:
            hold.release(Fate.PASSED)
            hold.ended.wait(PATIENCE_SECONDS)
        case After.LATE:
            proxy.release_at_listing(hold, when.n_listings)
        case After.NEVER:
            hold.release(Fate.DROPPED)
