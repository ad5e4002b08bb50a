"""The sensor that starts an asset when documents are new, changed or gone."""

import json
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import product
from typing import Any

import dagster as dg

from claude_batch_dagster.declarations import Declaration, declaration_of
from claude_batch_dagster.earlier_runs import Earlier
from claude_batch_dagster.errors import ClaudeBatchError, ConfigurationError
from claude_batch_dagster.jobs import MAX_RUNTIME
from claude_batch_dagster.partitions import BETWEEN, all_keys, dimensions_of, partitions_of_keys
from claude_batch_dagster.ranges import Places, partition_tags, stretches
from claude_batch_dagster.resource import ClaudeBatchResource
from claude_batch_dagster.storage.contents import contents, keys_upstream

STARTS = "claude_batch/starts"
"""Run tag: the asset that a run of the sensor brings up to date."""

FAILED = "failed"
"""What is remembered in place of the fingerprint of a partition whose run has failed: it is like none."""

WHOLE = ""
"""How the cursor names an asset without partitions."""


def build_new_documents_sensor(
    asset: dg.AssetsDefinition,
    *,
    settle_seconds: float = 60.0,
    max_partitions_per_tick: int = 100,
    minimum_interval_seconds: int = 60,
) -> dg.SensorDefinition:
    """
    Declare `<name>_new_documents`: it starts the asset for partitions whose documents are not what they were.

    Each tick asks the upstream table once for a fingerprint of every partition. A partition is started when its
    fingerprint is new and has not changed for `settle_seconds`, so that a table that is being loaded is left in
    peace. Of dynamic partitions those that are new upstream are added first. Rows that did not change
    are not sent again, so being started once too often costs nothing. A partition whose run failed or was canceled
    is started again, after a pause that doubles each time, up to an hour. While the database is locked the tick is
    skipped with the reason.

    Args:
        asset: What `build_batch_asset` or `build_classification_asset` returned, reading its table from DuckDB.
        settle_seconds: Seconds for which documents must not have changed; default 60.
        max_partitions_per_tick: Partitions started in one tick at most; default 100.
        minimum_interval_seconds: Seconds between two ticks at least; default 60.

    Raises:
        ConfigurationError: `asset` is another one, or an IO manager hands over its documents.

    """
    declared = declaration_of(asset)
    if declared.source.ins:
        raise ConfigurationError(
            "a sensor cannot ask an IO manager for a DataFrame. Give the asset its upstream by name, so that the table "
            "is read from DuckDB, or write a sensor for where the documents come from."
        )

    @dg.sensor(
        name=f"{declared.name}_new_documents",
        target=[asset],
        minimum_interval_seconds=minimum_interval_seconds,
        required_resource_keys={declared.resource_key},
        description=f"Materializes {declared.spec.key.to_user_string()} where documents are new, changed or gone.",
    )
    def new_documents(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        resource = getattr(context.resources, declared.resource_key)
        try:
            known = _known(declared, resource, context.instance)
            found = _fingerprints(declared, resource, known.keys)
        except ClaudeBatchError as error:
            return dg.SkipReason(f"Not now: {error}")
        places = Places(known.keys, grid=bool(dimensions_of(declared.spec.partitions_def)))
        earlier = Earlier.of(context.instance, {STARTS: declared.name}, places)
        memory = Memory.of(context.cursor)
        memory.forget(_named(earlier.failed))
        due = memory.notice(
            found,
            now=time.time(),
            settle_seconds=settle_seconds,
            limit=max_partitions_per_tick,
            resting=_named(earlier.resting()),
        )
        if not due:
            return dg.SensorResult(skip_reason=memory.reason, cursor=memory.cursor)
        return _result(declared, known, memory, due)

    return new_documents


@dataclass
class Memory:
    """What the sensor remembers from tick to tick: in its cursor, by partition."""

    started: dict[str, str] = field(default_factory=dict)
    """The fingerprint that a partition was last started with."""
    changing: dict[str, tuple[str, float]] = field(default_factory=dict)
    """The fingerprint that a partition has now, and since when (seconds since 1970)."""
    n_starts: int = 0
    """Ticks that have started something."""
    epoch: int = field(default_factory=time.time_ns, compare=False)
    """When the first of them was, for a cursor that was lost begins anew."""

    @classmethod
    def of(cls, cursor: str | None) -> "Memory":
        """Read a cursor; start afresh if there is none, or none of ours."""
        try:
            return cls(**json.loads(cursor or "{}"))
        except (ValueError, TypeError):
            return cls()

    @property
    def cursor(self) -> str:
        """The memory as text."""
        return json.dumps(asdict(self))

    @property
    def reason(self) -> str:
        """Why nothing is started."""
        if self.changing and all(self.started.get(key) == FAILED for key in self.changing):
            return f"The last run of {len(self.changing)} partitions failed or was canceled; they wait."
        if self.changing:
            return f"{len(self.changing)} partitions have changed just now; they are started once they keep still."
        return "No document has changed since the last look."

    def run_key(self, told: str) -> str:
        """
        Name a run, so that Dagster starts it once.

        A tick that is repeated after a crash gives the same key; documents that change back give another.
        """
        mark = sha256(told.encode(errors="surrogatepass")).hexdigest()[:16]
        return f"{mark}:{self.epoch:x}:{self.n_starts}"

    def forget(self, failed: AbstractSet[str]) -> None:
        """Take these for not started: their runs came to nothing."""
        self.started |= dict.fromkeys(failed, FAILED)

    def notice(
        self,
        found: Mapping[str, str],
        *,
        now: float,
        settle_seconds: float,
        limit: int,
        resting: AbstractSet[str] = frozenset(),
    ) -> dict[str, str]:
        """Return the partitions to start now, with their fingerprints, and remember them as started."""
        gone = dict.fromkeys(self.started.keys() - found.keys(), "")
        changed = {key: mark for key, mark in {**found, **gone}.items() if self.started.get(key, "") != mark}
        since = {
            key: (mark, self.changing[key][1] if key in self.changing and self.changing[key][0] == mark else now)
            for key, mark in changed.items()
        }
        settled = [key for key, (_, moment) in since.items() if now - moment >= settle_seconds and key not in resting]
        due = {key: changed[key] for key in sorted(settled)[:limit]}
        self.started = {**self.started, **due}
        self.n_starts += bool(due)
        self.changing = {key: entry for key, entry in since.items() if key not in due}
        return due


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The partitions there are, and those that dynamic partitions will have to be given."""

    keys: Sequence[str | None]
    new: Mapping[str, Sequence[str]]
    """Keys that rows name and Dagster does not know, by the name of the dynamic partitions."""

    def requests(self, parts: AbstractSet[str]) -> list[Any]:
        """Ask for those of the new keys that are needed now."""
        wanted = {name: sorted(set(keys) & parts) for name, keys in self.new.items()}
        return [
            dg.DynamicPartitionsDefinition(name=name).build_add_request(keys) for name, keys in wanted.items() if keys
        ]


def _known(declared: Declaration, resource: ClaudeBatchResource, instance: dg.DagsterInstance) -> Known:
    partitions_def = declared.spec.partitions_def
    several = dimensions_of(partitions_def)
    dimensions = list(several.values()) if several else [partitions_def]
    listed: list[list[str | None]] = []
    new: dict[str, list[str]] = {}
    for n, dimension in enumerate(dimensions):
        listed.append(list(all_keys(dimension, instance)))
        if isinstance(dimension, dg.DynamicPartitionsDefinition) and dimension.name:
            upstream = keys_upstream(resource.open_warehouse(hurried=True), declared.question.upstream, n)
            # Where there are two dimensions Dagster takes no key with the mark that stands between them.
            usable = [key for key in upstream if not several or BETWEEN not in key]
            found = sorted(set(usable) - set(listed[-1]))
            new.setdefault(dimension.name, []).extend(found)
            listed[-1] += found
    keys = [BETWEEN.join(map(str, parts)) for parts in product(*listed)] if several else listed[0]
    return Known(keys=keys, new=new)


def _fingerprints(declared: Declaration, resource: ClaudeBatchResource, keys: Sequence[str | None]) -> dict[str, str]:
    """Return a fingerprint of the documents of each partition that has some."""
    partitions = partitions_of_keys(declared.spec.partitions_def, keys)
    found = contents(resource.open_warehouse(hurried=True), declared.question.upstream, partitions)
    return {WHOLE if key is None else key: mark for key, mark in found.items()}


def _named(keys: AbstractSet[str | None]) -> set[str]:
    """Return partitions as the cursor names them."""
    return {WHOLE if key is None else key for key in keys}


def _result(declared: Declaration, known: Known, memory: Memory, due: Mapping[str, str]) -> dg.SensorResult:
    grid = bool(dimensions_of(declared.spec.partitions_def))
    wanted = {None if key == WHOLE else key for key in due}
    there = {key for key in due if due[key]}
    parts = {part for key in there for part in (key.split(BETWEEN) if grid else [key])}
    return dg.SensorResult(
        run_requests=[_request(declared, memory, stretch, due) for stretch in stretches(known.keys, wanted, grid=grid)],
        dynamic_partitions_requests=known.requests(parts),
        cursor=memory.cursor,
    )


def _request(declared: Declaration, memory: Memory, stretch: list[str | None], due: Mapping[str, str]) -> dg.RunRequest:
    told = "|".join(f"{key}:{due[WHOLE if key is None else key]}" for key in stretch)
    return dg.RunRequest(
        run_key=memory.run_key(told),
        asset_selection=[declared.spec.key],
        tags={STARTS: declared.name, **partition_tags(stretch), **MAX_RUNTIME},
    )
