"""
The whole job, from a table of documents to a table of answers: `python -m bench.jobs NAME ROWS [PARTITIONS]`.

The API is a server in another process. What is measured is the time of this process's processor, once all is imported.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import duckdb
import orjson
import pandas as pd
from anthropic import Anthropic
from dagster_duckdb import DuckDBResource

from bench.cases import ReasonedAnswer, base_params
from bench.corpus import WORDS
from claude_batch_dagster import ClaudeBatchResource, build_batch_asset

PER_BATCH = 100_000
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
        rows = []
        for one in batches:
            while sdk.messages.batches.retrieve(one.id).processing_status != "ended":
                time.sleep(1)
            for line in sdk.messages.batches.results(one.id):
                if line.result.type == "succeeded":
                    block = line.result.message.content[0]
                    answer = ReasonedAnswer.model_validate_json(block.text if block.type == "text" else "")
                    tokens = line.result.message.usage.input_tokens
                    rows.append({"id": line.custom_id, **answer.model_dump(), "tokens": tokens})
        frame = pd.DataFrame(rows)
        with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
            connection.register("frame", frame)
            connection.execute("CREATE TABLE answers AS SELECT * FROM frame")

    return run


def ours(folder: Path, url: str, parts: int) -> Callable[[], object]:
    """Materialize the asset, with its checks, metadata and events."""
    keys = [str(part) for part in range(parts)]
    partitioned = parts > 1
    asset = build_batch_asset(
        name="answers",
        upstream="documents",
        prompt="{text}",
        output=ReasonedAnswer,
        key="id",
        partitions_def=dg.StaticPartitionsDefinition(keys) if partitioned else None,
        partition_expr="part" if partitioned else None,
        system=str(base_params()["system"]),
        max_tokens=1024,
    )
    resources = {
        "claude_batch": ClaudeBatchResource(
            database=DuckDBResource(database=str(folder / "warehouse.duckdb")),
            state_directory=str(folder / "state"),
            api_key="bench",
            base_url=url,
            poll_interval_seconds=0.1,
        )
    }
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    instance = dg.DagsterInstance.local_temp(str(folder))

    def run() -> object:
        result = dg.materialize(
            [asset], resources=resources, instance=instance, raise_on_error=True, tags=tags if partitioned else {}
        )
        return result.success

    return run


def empty(folder: Path, url: str, parts: int) -> Callable[[], object]:
    """Materialize an asset that does nothing, in as many partitions."""
    del url
    keys = [str(part) for part in range(parts)]

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(keys), backfill_policy=dg.BackfillPolicy.single_run())
    def answers() -> None:
        """Nothing."""

    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    instance = dg.DagsterInstance.local_temp(str(folder))
    return lambda: dg.materialize([answers], instance=instance, tags=tags).success


def main() -> None:
    """Run one job, and print its figures as JSON; `again` is the second run of ours, when nothing has changed."""
    name, n, parts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1  # noqa: PLR2004
    with tempfile.TemporaryDirectory() as home, serving() as url:
        folder = Path(home)
        filling = [
            sys.executable,
            "-c",
            f"from bench.jobs import *; fill({str(folder / 'warehouse.duckdb')!r}, {n}, {parts})",
        ]
        subprocess.run(filling, check=True)  # noqa: S603  (in a process of its own, whose memory is not ours)
        run = {"plain": plain, "ours": ours, "again": ours, "empty": empty}[name](folder, url, parts)
        if name == "again":
            run()
        began, at = time.process_time(), time.perf_counter()
        run()
        seconds, wall = time.process_time() - began, time.perf_counter() - at
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(orjson.dumps({"case": name, "rows": n, "seconds": seconds, "wall": wall, "peak_mb": peak_mb}).decode())


if __name__ == "__main__":
    main()
