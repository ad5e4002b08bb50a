"""
Gold rows: paragraphs drawn at random and labelled by reading, to measure how right answers are.

`python -m example_project.gold` repeats the draws from their seeds and compares the two passes; `gold.md` says how
the rows were labelled.
"""

import csv
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from example_project.corpus import Document, read_documents

ROWS = Path(__file__).with_name("gold.csv")
SECOND_PASS = Path(__file__).with_name("gold_second_pass.csv")

SEED, N_ROWS = "annual messages", 300
SEED_OF_SECOND_PASS, N_ROWS_OF_SECOND_PASS = "annual messages, second pass", 60
LAST_DAY = date(2026, 2, 24)
"""The day of the last message when the rows were drawn; later ones do not change the draw."""


def draw(ids: Iterable[str], *, seed: str, n: int) -> list[str]:
    """
    Return `n` of the ids, drawn at random without replacement; every id has the same chance.

    They come in the order of their hashes, so that neither the version of Python nor the order of the documents
    changes the draw, and the first rows of a draw are a smaller draw.
    """
    return sorted(ids, key=lambda identity: hashlib.sha256(f"{seed}:{identity}".encode()).digest())[:n]


def drawn_documents() -> list[Document]:
    """Return the documents of the gold rows, in the order of the draw, from the installed corpus."""
    corpus = {document.id: document for document in read_documents() if document.published_on <= LAST_DAY}
    return [corpus[identity] for identity in draw(corpus, seed=SEED, n=N_ROWS)]


def read_rows(path: Path = ROWS) -> list[dict[str, str]]:
    """Return the lines of a file of labels, in its order, each by the names of the columns."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def rows_as_sql(*, since: int = 0) -> str:
    """Return a query for the gold rows of documents from a year on: `id`, and the theme as `label`."""
    file = str(ROWS).replace("'", "''")
    rows = f"SELECT id, theme AS label FROM read_csv('{file}', all_varchar = true)"  # noqa: S608  (a file of our own)
    return f"{rows} WHERE left(id, 4)::INTEGER >= {since}" if since else rows


def agreement(pairs: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """
    Return how well two labellings of the same rows agree: the share of equal labels, and Cohen's kappa.

    Kappa takes off what chance alone would give; it is 1.0 where both give one label to everything.

    Raises:
        ZeroDivisionError: There are no rows.

    """
    n = len(pairs)
    observed = sum(first == second for first, second in pairs) / n
    firsts, seconds = Counter(first for first, _ in pairs), Counter(second for _, second in pairs)
    expected = sum(firsts[label] * seconds[label] for label in firsts) / n**2
    return observed, 1.0 if expected == 1 else (observed - expected) / (1 - expected)


def agreement_with_oneself() -> tuple[float, float]:
    """Return how well the two passes agree, before anything was resolved."""
    return agreement([(row["first_theme"], row["theme"]) for row in read_rows(SECOND_PASS)])


def main() -> None:
    """Print both draws with their seeds, and the agreement of the two passes."""
    rows = [document.id for document in drawn_documents()]
    again = draw(rows, seed=SEED_OF_SECOND_PASS, n=N_ROWS_OF_SECOND_PASS)
    raw, kappa = agreement_with_oneself()
    for title, ids in (
        (f"{N_ROWS} paragraphs of the messages up to {LAST_DAY}, seed {SEED!r}:", rows),
        (f"{N_ROWS_OF_SECOND_PASS} of these for the second pass, seed {SEED_OF_SECOND_PASS!r}:", again),
        (f"The two passes agree on {raw:.1%}; Cohen's kappa is {kappa:.2f}.", []),
    ):
        sys.stdout.write("\n  ".join([title, *ids]) + "\n")


if __name__ == "__main__":
    main()
