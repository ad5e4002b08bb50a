"""What a run is going to do, told before anything is sent: what is left out, and what the rest costs."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from claude_batch_dagster.amounts import counted, dollars
from claude_batch_dagster.core.asking.asked import Asked
from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.asking.shared_prefix import BYTES_PER_TOKEN
from claude_batch_dagster.core.caching import Wave
from claude_batch_dagster.core.ledger import TRAVELLING, ChunkRecord, Expected, Lane, Ledger, State
from claude_batch_dagster.core.planning.canary import EXCESS, WRITTEN, Evidence, is_large
from claude_batch_dagster.core.planning.estimate import (
    Basis,
    Load,
    UnitCost,
    by_bytes,
    by_history,
    by_sample,
    less,
    live,
)
from claude_batch_dagster.core.planning.forecast import (
    Forecast,
    PartitionForecast,
    reason_of_change,
)
from claude_batch_dagster.core.planning.lanes import Lanes
from claude_batch_dagster.core.planning.prompt_caching import NoCaching, PromptCaching, caching_of
from claude_batch_dagster.core.planning.settings import RunSettings
from claude_batch_dagster.core.planning.wording import of_flying, of_lanes
from claude_batch_dagster.core.ports import BatchApi, Clock, place_of
from claude_batch_dagster.core.pricing import Size, most, rates_of
from claude_batch_dagster.core.retries import Plan
from claude_batch_dagster.core.sending.chunks import ENVELOPE_BYTES, STEP_BYTES
from claude_batch_dagster.core.sending.purse import NO_BOUND, Purse
from claude_batch_dagster.core.task import Task
from claude_batch_dagster.errors import ApiError, CanaryError, ConfigurationError, CredentialError, RepayError
from claude_batch_dagster.storage.duckdb.asking.planning import Planning
from claude_batch_dagster.storage.files.outbox import Outbox

N_SAMPLED = 5
"""Requests of which the API counts the tokens, at no cost."""

MARKS_BYTES = 2 * STEP_BYTES
"""More than the marks of the cache add to a request, as its size is rounded when it is priced."""

SAMPLED_FROM = 100
"""Requests from which on it is worth the calls to count tokens of a few; and whenever a person waits to see a plan."""


@dataclass(kw_only=True)
class Planner:
    """Plans one run."""

    task: Task
    builder: RequestBuilder
    """What makes requests of rows, and knows of whom they are asked."""
    clock: Clock
    api: BatchApi
    ledger: Ledger
    settings: RunSettings
    purse: Purse | None
    """The money of the run; None for no budget."""
    run_id: str
    lanes: Lanes
    """By which way the run asks."""
    asked: Asked
    outbox: Outbox
    planning: Callable[[], AbstractContextManager[Planning]]
    """Opens what asks the database."""
    counts_tokens: bool = False
    """Whether tokens are counted however little there is to send."""
    on_plan: Callable[[Forecast], None] = lambda _: None
    _forecast: Forecast | None = field(default=None, init=False)
    _unit: UnitCost | None = field(default=None, init=False)
    _is_marking: bool = field(default=True, init=False)
    _is_probing: bool = field(default=False, init=False)
    """Whether the first rows go alone to see what they come to, rather than to write the cache."""

    def leave_out(self, plan: Plan) -> dict[str, str]:
        """
        Return the questions that the run is told not to send, each with the reason.

        Raises `ConfigurationError` for keys that no row has.
        """
        settings, left_out = self.settings, dict[str, str]()
        self.lanes.plan(plan.due)  # by which way they go says what they cost
        if settings.only_keys:
            wanted = self._wanted(settings.only_keys)
            left_out |= dict.fromkeys(
                plan.due - wanted, "left out of the last run, which was for other keys (only_keys)"
            )
        if self.purse is not None:
            left_out |= self._too_dear(self.purse, plan.due - left_out.keys())
        if settings.limit is not None:
            reason = f"left out of the last run, which had a limit of {counted(settings.limit, 'request')} (limit)"
            left_out |= dict.fromkeys(self._beyond(settings.limit, plan.due - left_out.keys()), reason)
        return left_out

    def announce(self, plan: Plan) -> Forecast:
        """
        Tell what is going to be done, and write down what it is expected to cost.

        Raises `RepayError` if that is too much for what was paid for already.
        """
        if self.purse is not None and rates_of(str(self.builder.base.get("model"))) is None:
            raise ConfigurationError(NO_BOUND)
        forecast = self.forecast(plan)
        self.on_plan(forecast)
        self.check(forecast)
        if forecast.estimate is not None and forecast.n_requests:
            one = forecast.estimate
            self.ledger.expect(
                self.run_id,
                self.task.pipeline,
                Expected(
                    n_requests=forecast.n_requests,
                    usd=one.usd,
                    low_usd=one.low_usd,
                    high_usd=one.high_usd,
                    basis=one.basis,
                ),
            )
        return forecast

    def check(self, forecast: Forecast) -> None:
        """Raise `RepayError` if rows that have an answer are asked again for more than was allowed."""
        most, usd = self.task.spending.confirm_repay_usd, forecast.repaid_usd
        if most is None or self.settings.confirm_repay or not forecast.n_repaid:
            return
        if usd is None or usd > most:
            raise RepayError(forecast.n_repaid, usd, most_usd=most, changed=forecast.changed)

    def forecast(self, plan: Plan) -> Forecast:
        """Return what is going to be done."""
        changed = reason_of_change(self.asked.changed, refreshed=self.settings.refresh is not None)
        self.lanes.plan(plan.due)
        with self.planning() as planning:
            rows, repaid = planning.count(plan, changed)
        loads, unit = self._loads(plan.due), self._unit_cost(plan.due)
        load, self._unit = sum(loads.values(), NOTHING), unit
        caching = self._caching(load) if self._may_mark(plan.due) and not self.lanes.is_live else None
        if unit and isinstance(caching, PromptCaching) and unit.basis is not Basis.HISTORY:
            unit = less(unit, load, caching.saved_usd)  # what answers have cost tells of the cache by itself
        at_once = unit and live(unit, str(self.builder.base.get("model")))
        if self.lanes.is_live:
            self._unit = unit = at_once
        paid_again = sum(self._loads(repaid).values(), NOTHING)
        parts = [
            PartitionForecast(partition_key=key, rows=n, estimate=unit.of(loads.get(key, NOTHING)) if unit else None)
            for key, n in rows.items()
        ]
        found = self._forecast = Forecast(
            partitions=parts,
            estimate=unit.of(load) if unit else None,
            lane=Lane.LIVE if self.lanes.is_live else Lane.BATCH,
            repaid_usd=unit.of(paid_again).usd if unit else None if repaid else 0.0,
            caching=caching,
            misses=self.ledger.misses(self.task.pipeline, place=self._place),
            changed=None if self.asked.changed is None else frozenset(self.asked.changed),
        )
        notes = list(self._notes(found, at_once.of(load).usd if at_once else None))
        if plan.in_flight and self.lanes.give_up_at is not None:
            notes.append(of_flying(len(plan.in_flight), self.lanes.give_up_at))
        return replace(found, notes=notes, n_canary=self._n_canary if found.n_requests else 0)

    def _notes(self, forecast: Forecast, live_usd: float | None) -> Iterator[str]:
        if not forecast.n_requests:
            return
        if told := of_lanes(self.lanes, live_usd):
            yield told
        if self.purse is not None:
            yield (
                f"{dollars(self.purse.left_usd)} are left of {self.purse.budget}; rows that could exceed it are "
                "blocked, and go with a later run"
            )
        try:
            self.check(forecast)
        except RepayError as error:
            yield f"the run stops: {error}"

    def _may_mark(self, due: Collection[str]) -> bool:
        """Whether each request can be paid for when it is marked: what it writes to the cache costs twice as much."""
        if self.purse is None:
            return True
        n_bytes = max((size for _, question, size in self.outbox.sizes() if question in due), default=0)
        bound = self._bound(n_bytes + MARKS_BYTES, cached=True)
        return bound is None or bound <= self.purse.budget.usd

    def _caching(self, load: Load) -> PromptCaching | NoCaching | None:
        """Return how the requests use the prompt cache."""
        prefix = self.builder.shared_prefix
        if self.task.spending.caching == "off" or not load.n_requests or not prefix.n_tokens:
            return None
        shared = prefix.n_text_bytes + prefix.n_schema_bytes
        rest = max(0, load.n_bytes // load.n_requests - shared) // BYTES_PER_TOKEN
        wave = Wave(
            model=str(self.builder.base.get("model")),
            n_requests=load.n_requests,
            prefix_tokens=prefix.n_tokens,
            rest_tokens=rest,
        )
        with self.planning() as planning:
            use = planning.cache_use([chunk for chunk in self._chunks if chunk.state is State.APPLIED])
        return caching_of(wave, use, self.clock.now())

    @property
    def _definition(self) -> str:
        return self.builder.definition

    @property
    def _chunks(self) -> list[ChunkRecord]:
        """The latest chunks that were sent with this definition, of whatever run."""
        return self.ledger.asked_with(self.task.pipeline, definition=self._definition, place=self._place)

    # --- the first rows ----------------------------------------------------------------------------

    @property
    def mark(self) -> Callable[[bytes], bytes] | None:
        """What marks a request to be cached; None where that would not pay."""
        caching = self._forecast.caching if self._forecast else None
        return self.builder.marked if self._is_marking and isinstance(caching, PromptCaching) else None

    @property
    def n_first(self) -> int:
        """How many rows of the plan go alone, before the others: to see what they come to, or to write the cache."""
        caching = self._forecast.caching if self._forecast else None
        is_primed = isinstance(caching, PromptCaching) and caching.is_primed
        n_canary = self._n_canary
        self._is_probing = n_canary > 0
        return n_canary or int(is_primed)

    @property
    def _n_canary(self) -> int:
        """Rows that show what the others are worth; none where the plan is small, or rows like these have shown it."""
        spending, forecast = self.task.spending, self._forecast
        if forecast is None or not spending.canary or not is_large(forecast, from_requests=spending.canary_from):
            return 0
        n_known = max(1, -(-min(spending.canary, forecast.n_requests) // 2))
        evidence = self._evidence([chunk.chunk_id for chunk in self._chunks if chunk.state is State.APPLIED])
        shown = evidence.n_judged >= n_known and evidence.objection(None) is None
        return 0 if shown else spending.canary

    def sent_before(self) -> set[str]:
        """
        Return chunks in flight, of whatever run, that say as much as those rows would: the canary of a run that died.

        Larger batches may take a day, and say no more.
        """
        n = self.task.spending.canary
        small = [chunk for chunk in self._chunks if chunk.state in TRAVELLING and chunk.n_requests <= n]
        enough = self._is_probing and sum(chunk.n_requests for chunk in small) >= n
        return {chunk.chunk_id for chunk in small} if enough else set()

    def judge(self, chunk_ids: Collection[str]) -> None:
        """Raise `CanaryError` if what came of those rows, in these chunks, speaks against sending the others."""
        forecast = self._forecast
        if isinstance(forecast and forecast.caching, PromptCaching) and not self._wrote_cache(chunk_ids):
            self._is_marking = False  # the others would find nothing to read, and all pay for writing it
        if forecast is None or not self._is_probing:
            return
        evidence = self._evidence(chunk_ids)
        if reason := evidence.objection(self._most_expected(chunk_ids, evidence, forecast)):
            n = evidence.verdicts.total()
            raise CanaryError(reason, n_rows=n, n_left=max(0, forecast.n_requests - n))

    def _wrote_cache(self, chunk_ids: Collection[str]) -> bool:
        """Whether requests of these chunks have used the cache."""
        with self.planning() as planning:
            use = planning.cache_use([self.ledger.chunk(chunk_id) for chunk_id in chunk_ids])
        return use.read_tokens + use.written_tokens > 0

    def _most_expected(self, chunk_ids: Collection[str], evidence: Evidence, forecast: Forecast) -> float | None:
        """Return what the rows of these chunks that were paid for were expected to cost at most."""
        chunks = [self.ledger.chunk(chunk_id) for chunk_id in chunk_ids]
        load = Load(n_requests=sum(one.n_requests for one in chunks), n_bytes=sum(one.n_bytes for one in chunks))
        if self._unit is None or not load.n_requests:
            return None
        # The first requests may write the cache that the others read.
        writing = WRITTEN if isinstance(forecast.caching, PromptCaching) else 1.0
        return EXCESS * writing * self._unit.of(load).high_usd * evidence.n_paid / load.n_requests

    def _evidence(self, chunk_ids: Collection[str]) -> Evidence:
        with self.planning() as planning:
            return planning.evidence(chunk_ids)

    # --- which ------------------------------------------------------------------------------------

    def _wanted(self, keys: Collection[str]) -> set[str]:
        with self.planning() as planning:
            found = planning.questions_of(keys)
        if lacking := [key for key in keys if key not in found]:
            raise ConfigurationError(
                f"only_keys names {', '.join(map(repr, lacking[:5]))}, and no row of these partitions has such a key. "
                "Nothing was sent. Keys are written as text; with several key columns as a JSON list: '[\"a\", 1]'."
            )
        return set().union(*found.values())

    def _beyond(self, limit: int, due: Collection[str]) -> Iterable[str]:
        """Yield the questions behind the first ones, in the order in which they are sent."""
        n = 0
        for _, question, _ in self.outbox.sizes():
            if question in due:
                n += 1
                if n > limit:
                    yield question

    def _too_dear(self, purse: Purse, due: Collection[str]) -> dict[str, str]:
        """Return the questions that alone can cost more than the budget, by their sizes: none waits for a later run."""
        found: dict[str, str] = {}
        for _, question, n_bytes in self.outbox.sizes():
            if question in due:
                bound = self._bound(n_bytes)
                if bound is not None and bound > purse.budget.usd:
                    found[question] = purse.never(bound)
        return found

    def _bound(self, n_bytes: int, *, cached: bool = False) -> float | None:
        """Return what a request of so many bytes can cost at most, as it is going to be asked; None if not known."""
        model, limit = (self.builder.base.get(name) for name in ("model", "max_tokens"))
        lane = Lane.LIVE if self.lanes.is_live else Lane.BATCH
        return most(Size(model=str(model), n_bytes=n_bytes, max_tokens=int(limit or 0), cached=cached, lane=lane))

    # --- what it costs -----------------------------------------------------------------------------

    @property
    def _place(self) -> str:
        return place_of(self.api.account)

    def _loads(self, due: Collection[str]) -> dict[str | None, Load]:
        """Return how much is sent for each partition."""
        n, n_bytes = Counter[str | None](), Counter[str | None]()
        for partition_key, question, size in self.outbox.sizes() if due else ():
            if question in due:
                n[partition_key] += 1
                n_bytes[partition_key] += size + ENVELOPE_BYTES
        return {key: Load(n_requests=n[key], n_bytes=n_bytes[key]) for key in n}

    def _unit_cost(self, due: Collection[str]) -> UnitCost | None:
        """Return what a request costs, by the best that there is to judge it by; None if there is no price."""
        base = self.task.builder.base
        seen = self.ledger.answered(self.task.pipeline, definition=self._definition, place=self._place)
        if found := by_history(str(base.get("model")), seen):
            return found
        is_worth_it = len(due) >= SAMPLED_FROM or (self.counts_tokens and due)
        return (by_sample(base, self._sample(due)) if is_worth_it else None) or by_bytes(base)

    def _sample(self, due: Collection[str]) -> list[tuple[int, int]]:
        """Return bytes and tokens of some requests, from all over the table; none if the API does not count them."""
        places = [place for place, (_, question, _) in enumerate(self.outbox.sizes()) if question in due]
        some = places[:: max(1, len(places) // N_SAMPLED)][:N_SAMPLED]
        try:
            return [(len(params) + ENVELOPE_BYTES, self.api.count_tokens(params)) for params in self.outbox.at(some)]
        except CredentialError:
            raise
        except ApiError:  # another API than Claude's, perhaps, or one that is busy: it is a guess anyway
            return []


NOTHING = Load(n_requests=0, n_bytes=0)
