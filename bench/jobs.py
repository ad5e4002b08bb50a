"""
The whole job, from a table of documents to a table of answers: `python -m bench.jobs NAME ROWS [PARTITIONS]`.

The API is a server in another process. What is measured is the time of this process's processor, once all is imported.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from urllib.request import urlopen

import dagster as dg
import duckdb
import orjson
from anthropic import Anthropic
from dagster_duckdb import DuckDBResource

from bench.cases import ReasonedAnswer, answers_of, base_params, keep
from bench.corpus import WORDS
from bench.memory import forget_peak, grown_mb, note_start, peak_mb
from bench.profile import Profile
from bench.server import FIRST_BATCH
from claude_batch_dagster import Ask, ClaudeBatchResource, build_batch_asset, build_new_documents_sensor

BEGAN = "BENCH_BEGAN"
"""The environment variable that says when a process was started."""

PER_BATCH = 100_000
CHECKS = ("error_rate", "expiry_rate", "complete")
"""Those that are evaluated by partition."""

DOCUMENTS = (
    "CREATE TABLE public.documents AS SELECT i AS id, i % {parts} AS part, "
    "i || ' ' || (SELECT string_agg(w || (i * (p + 1) % 9973), ' ') "
    "FROM (SELECT unnest({words}::VARCHAR[]) AS w, unnest(range({n_words})) AS p)) AS text FROM range({n}) AS r(i)"
)


def fill(database: Path, n: int, parts: int) -> None:
    """Write documents of about 1 KB each, all different."""
    words = [WORDS[place % len(WORDS)] for place in range(105)]
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE SCHEMA public")
        connection.execute(DOCUMENTS.format(parts=parts, words=words, n_words=len(words), n=n))


@contextmanager
def serving() -> Iterator[str]:
    """Start the server, and return its URL."""
    command = [sys.executable, "-m", "bench.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603  (our own module)
        assert server.stdout is not None  # noqa: S101  (it is a pipe)
        try:
            yield server.stdout.readline().strip()
        finally:
            server.communicate("")


def plain(folder: Path, url: str, parts: int) -> Callable[[], object]:
    """Do it as the documentation of the SDK shows: everything in memory, nothing written down on the way."""
    del parts
    params = base_params(ReasonedAnswer)

    def run() -> None:
        with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
            documents = connection.execute("SELECT id, text FROM public.documents").df()
        sdk = Anthropic(api_key="bench", base_url=url, max_retries=0)
        batches = []
        for start in range(0, len(documents), PER_BATCH):
            part = documents[start : start + PER_BATCH]
            requests = [
                {"custom_id": f"row-{key}", "params": {**params, "messages": [{"role": "user", "content": text}]}}
                for key, text in zip(part["id"], part["text"], strict=True)
            ]
            batches.append(sdk.messages.batches.create(requests=requests))  # type: ignore[arg-type]
        for one in batches:
            while sdk.messages.batches.retrieve(one.id).processing_status != "ended":
                time.sleep(1)
        answered = chain.from_iterable(answers_of(sdk, one.id, ReasonedAnswer) for one in batches)
        keep(folder / "warehouse.duckdb", answered)

    return run


def _declared(folder: Path, url: str, parts: int) -> tuple[dg.AssetsDefinition, dict[str, ClaudeBatchResource]]:
    partitioned = parts > 1
    asset = build_batch_asset(
        name="answers",
        upstream="documents",
        ask=Ask("{text}", ReasonedAnswer, system=str(base_params()["system"]), max_tokens=1024),
        key="id",
        partitions_def=dg.StaticPartitionsDefinition(_keys(parts)) if partitioned else None,
        partition_expr="part" if partitioned else None,
    )
    resource_of_all = ClaudeBatchResource(
        database=DuckDBResource(database=str(folder / "warehouse.duckdb")),
        state_directory=str(folder / "state"),
        api_key="bench",
        base_url=url,
        poll_interval_seconds=0.1,
    )
    return asset, {"claude_batch": resource_of_all}


def _keys(parts: int) -> list[str]:
    return [str(part) for part in range(parts)]


def _range(parts: int) -> dict[str, str]:
    keys = _keys(parts)
    span = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    return span if parts > 1 else {}


def _instance(folder: Path) -> dg.DagsterInstance:
    """Return an instance that has seen a run: its tables are there, as they are where people work."""

    @dg.asset
    def earlier() -> None:
        """Nothing."""

    instance = dg.DagsterInstance.local_temp(str(folder))
    dg.materialize([earlier], instance=instance)
    return instance


def ours(folder: Path, url: str, parts: int) -> Callable[[], object]:
    """Materialize the asset, with its checks, metadata and events."""
    asset, resources = _declared(folder, url, parts)
    instance = _instance(folder)
    return lambda: dg.materialize([asset], resources=resources, instance=instance, tags=_range(parts))


def empty(folder: Path, url: str, parts: int) -> Callable[[], object]:
    """Materialize an asset that does nothing, in as many partitions."""
    del url

    @dg.asset(
        partitions_def=dg.StaticPartitionsDefinition(_keys(parts)), backfill_policy=dg.BackfillPolicy.single_run()
    )
    def answers() -> None:
        """Nothing."""

    instance = _instance(folder)
    return lambda: dg.materialize([answers], instance=instance, tags=_range(parts))


def checked(folder: Path, url: str, parts: int) -> Callable[[], object]:
    """Materialize an asset that does nothing but say of each partition that three checks have passed."""
    del url
    partitions_def = dg.StaticPartitionsDefinition(_keys(parts))
    specs = [dg.AssetCheckSpec(name, asset="answers", partitions_def=partitions_def) for name in CHECKS]

    @dg.asset(partitions_def=partitions_def, backfill_policy=dg.BackfillPolicy.single_run(), check_specs=specs)
    def answers(context: dg.AssetExecutionContext) -> Iterator[object]:
        """Nothing."""
        yield dg.MaterializeResult()
        for spec in specs:
            for key in context.partition_keys:
                evaluation = dg.AssetCheckEvaluation(
                    asset_key=spec.asset_key, check_name=spec.name, partition=key, passed=True, metadata={"rate": 0.0}
                )
                context.log_event(evaluation)
            yield dg.AssetCheckResult(check_name=spec.name, passed=True)

    instance = _instance(folder)
    return lambda: dg.materialize([answers], instance=instance, tags=_range(parts))


def tick(folder: Path, url: str, parts: int) -> Callable[[], object]:
    """Let the sensor of new documents look once at a table with as many partitions."""
    asset, resources = _declared(folder, url, parts)
    sensor = build_new_documents_sensor(asset)
    instance = _instance(folder)
    repository = dg.Definitions(assets=[asset], sensors=[sensor], resources=resources).get_repository_def()

    def look() -> object:
        with dg.build_sensor_context(instance=instance, resources=resources, repository_def=repository) as context:
            return sensor.evaluate_tick(context)

    return look


JOBS: dict[str, Callable[[Path, str, int], Callable[[], object]]] = {
    "plain": plain,
    "ours": ours,
    "empty": empty,
    "checked": checked,
    "tick": tick,
}


def measured(name: str, folder: Path, url: str, parts: int) -> dict[str, float]:
    """
    Run one job; return seconds of the processor and of the clock, and the most memory that this process had.

    `until_sent` are the seconds from the start of the process until the API has a batch, or until the end without one.
    """
    note_start()
    run = JOBS[name](folder, url, parts)
    forget_peak()
    began, at = time.process_time(), time.perf_counter()
    run()
    seconds, wall, ended = time.process_time() - began, time.perf_counter() - at, time.time()
    with urlopen(url + FIRST_BATCH) as answer:  # noqa: S310  (our own server)
        first = orjson.loads(answer.read())
    started = float(os.environ[BEGAN])
    sent = first if first and first > started else ended  # a second run sends nothing: what came came before
    memory = {"peak_mb": peak_mb(), "grown_mb": grown_mb()}
    return {"seconds": seconds, "wall": wall, **memory, "until_sent": sent - started}


def profiled(folder: Path, url: str) -> dict[str, float]:
    """Run one job of ours; return the share of the processor's time of each module."""
    run, profile = ours(folder, url, 1), Profile()
    profile.start()
    run()
    return profile.shares()


def main() -> None:
    """
    Run one job, and print its figures as JSON.

    `twice` prints those of ours, and of its second run without any change; `profile` prints the shares of its modules.

    Each step is a process of its own, so that none is charged with the memory of another.
    """
    name, *numbers = sys.argv[1:]
    if name == "fill":
        fill(Path(numbers[0]), int(numbers[1]), int(numbers[2]))
    elif name == "measure":
        job, folder, url, parts = numbers
        told = profiled(Path(folder), url) if job == "profile" else measured(job, Path(folder), url, int(parts))
        print(orjson.dumps(told).decode())
    else:
        rows, count = int(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 1
        with tempfile.TemporaryDirectory() as folder, serving() as url:
            _step("fill", f"{folder}/warehouse.duckdb", rows, count)
            for job in ("ours", "ours") if name == "twice" else (name,):
                print(_step("measure", job, folder, url, count))


def _step(*arguments: object) -> str:
    command = [sys.executable, "-m", "bench.jobs", *map(str, arguments)]
    environment = {**os.environ, BEGAN: str(time.time())}
    done = subprocess.run(  # noqa: S603  (our own module)
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    return done.stdout.strip().rpartition("\n")[2]


if __name__ == "__main__":
    main()
