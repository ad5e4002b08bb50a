"""
What a cascade saves, and what a review queue finds: `python -m bench.worth` on the corpus of the example.

`python -m bench.worth 2000` takes so many paragraphs of it, drawn at random. The emulator answers, with unlike models:
how often its models disagree, and where, is its own doing, and no word on Claude's.
"""

import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource

from claude_batch_dagster import ClaudeBatchResource, build_classification_asset, build_review_asset
from claude_batch_dagster.emulator import Emulator, SystemClock, serving
from example_project.corpus import Document, read_documents
from example_project.gold import rows_as_sql
from example_project.themes import THEMES

CHEAP, STRONG = "claude-haiku-5-5", "claude-opus-5-5"
SEED = 7
QUEUE = 200
"""Rows of the review queue, half of them the least sure ones."""

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
AS_DAGSTER: dict[str, Any] = {"custom_user_agent": "dagster"}


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What came out; shares are 0 to 1."""

    n_rows: int
    n_escalated: int
    """Rows that the strong model decided."""
    cascade_usd: float
    """The bill of both models."""
    strong_usd: float
    """That of the strong model alone, asked the same of all rows."""
    label_usd: float
    """That of the strong model alone, asked for the label and nothing else."""
    agreement: float
    """Rows of the cascade with the strong model's answer."""
    cheap_agreement: float
    """The same of the cheap model alone."""
    wrong_unsure: float
    """Rows that the strong model contradicts, of those in the queue because the cheap one was unsure."""
    wrong_all: float
    """The same of all rows: so many a random sample finds, whatever its size."""
    gold_wrong_unsure: float
    """Of the fifth of the gold rows of which the cheap model was least sure, those that are wrong."""
    gold_wrong_all: float
    """The same of all gold rows."""

    @property
    def saved(self) -> float:
        """By how much the cascade is cheaper than the strong model that is asked the same."""
        return 1 - self.cascade_usd / self.strong_usd

    @property
    def saved_of_label(self) -> float:
        """By how much it is cheaper than the strong model that is asked for the label only."""
        return 1 - self.cascade_usd / self.label_usd

    @property
    def found(self) -> float:
        """How many times as many wrong rows the queue has among its unsure ones, as a random sample."""
        return self.wrong_unsure / self.wrong_all


def sample(n: int | None = None) -> list[Document]:
    """Return so many paragraphs of the corpus, drawn at random, the same ones each time; all by default."""
    corpus = list(read_documents())
    return corpus if n is None else random.Random(SEED).sample(corpus, n)  # noqa: S311  (the same ones each time)


def measure(folder: Path, documents: Sequence[Document]) -> Worth:
    """Have documents classified in all four ways, over a socket, and compare."""
    database = str(folder / "warehouse.duckdb")
    with duckdb.connect(database, config=AS_DAGSTER) as connection:
        _write(connection, documents)
    with serving(Emulator(clock=SystemClock(), batch_seconds=0, unlike_models=True)) as url:
        claude = ClaudeBatchResource(
            api_key="any",
            base_url=url,
            database=DuckDBResource(database=database),
            state_directory=str(folder / "state"),
            poll_interval_seconds=0.1,
        )
        with dg.DagsterInstance.ephemeral() as instance:
            for asset in _assets():
                dg.materialize([asset], instance=instance, resources={"claude_batch": claude}, run_config=QUIET)
    with duckdb.connect(database, config=AS_DAGSTER) as connection:
        return _compared(connection)


def _assets() -> list[dg.AssetsDefinition]:
    def declare(name: str, **options: Any) -> dg.AssetsDefinition:
        return build_classification_asset(name=name, upstream="documents", labels=THEMES, **options)

    cheap = declare("cheap", model=CHEAP, confidences=True)
    return [
        cheap,
        build_review_asset(cheap, rows=QUEUE),
        declare("cascade", model=CHEAP, confidences=True, escalate_to=STRONG),
        declare("strong", model=STRONG, confidences=True),
        declare("label", model=STRONG),
    ]


def _write(connection: duckdb.DuckDBPyConnection, documents: Sequence[Document]) -> None:
    connection.execute("CREATE SCHEMA IF NOT EXISTS public")
    connection.execute(
        "CREATE TABLE public.documents AS SELECT unnest(?::VARCHAR[]) AS id, unnest(?::VARCHAR[]) AS text",
        [[document.id for document in documents], [document.text for document in documents]],
    )


COMPARED = """
SELECT
  (SELECT count(*) FROM public.cascade),
  (SELECT count(*) FROM public.cascade WHERE decided_by = $strong),
  (SELECT sum(cost_usd) FROM public.cascade_first_pass) + (SELECT sum(cost_usd) FROM public.cascade_escalated),
  (SELECT sum(cost_usd) FROM public.strong),
  (SELECT sum(cost_usd) FROM public.label),
  (SELECT avg((t.label = s.label)::INT) FROM public.cascade AS t JOIN public.strong AS s USING (id)),
  (SELECT avg((t.label = s.label)::INT) FROM public.cheap AS t JOIN public.strong AS s USING (id)),
  (SELECT avg((t.answered_label <> s.label)::INT) FROM public.cheap_review AS t JOIN public.strong AS s USING (id)
     WHERE t.reason = 'unsure'),
  (SELECT avg((t.label <> s.label)::INT) FROM public.cheap AS t JOIN public.strong AS s USING (id)),
  (SELECT avg(is_wrong::INT) FROM judged WHERE fifth = 1),
  (SELECT avg(is_wrong::INT) FROM judged)
"""
"""The figures of `Worth`, in its order."""

JUDGED = """
CREATE TEMP TABLE judged AS
SELECT c.label <> g.label AS is_wrong, ntile(5) OVER (ORDER BY c.confidence, c.id) AS fifth
FROM public.cheap AS c JOIN gold AS g USING (id)
"""


def _compared(connection: duckdb.DuckDBPyConnection) -> Worth:
    connection.sql(rows_as_sql()).create("gold")
    connection.execute(JUDGED)
    [figures] = connection.execute(COMPARED, {"strong": STRONG}).fetchall()
    return Worth(**dict(zip([one.name for one in fields(Worth)], figures, strict=True)))


def main() -> None:
    """Print what came out."""
    documents = sample(int(sys.argv[1]) if len(sys.argv) > 1 else None)
    with tempfile.TemporaryDirectory() as folder:
        worth = measure(Path(folder), documents)
    print(
        f"{worth.n_rows:,} paragraphs, of which {STRONG} decided {worth.n_escalated:,}.\n"
        f"Cascade ${worth.cascade_usd:.2f}; {STRONG} alone ${worth.strong_usd:.2f}, for the label only "
        f"${worth.label_usd:.2f}: {worth.saved:.1%} and {worth.saved_of_label:.1%} cheaper.\n"
        f"Agreement with {STRONG}: {worth.agreement:.1%}, of {CHEAP} alone {worth.cheap_agreement:.1%}.\n"
        f"Wrong by {STRONG}: {worth.wrong_unsure:.1%} of the unsure rows of a review queue, {worth.wrong_all:.1%} of "
        f"all: {worth.found:.1f} times as many.\n"
        f"Wrong by gold rows: {worth.gold_wrong_unsure:.1%} of the least sure fifth, {worth.gold_wrong_all:.1%} of all."
    )


if __name__ == "__main__":
    main()
