"""What the Dagster UI shows of a review queue: columns and numbers, no document and no answer."""

from typing import Any

import dagster as dg

from claude_batch_dagster.core.collecting.column_types import ddl
from claude_batch_dagster.core.reviewing import AUDIT, CONFIDENCE, REASON, UNSURE, VOTES_DIFFER, WEIGHT, Drawn, Review

OWN = {
    REASON: ("VARCHAR", "Why the row is there: audit (by chance), unsure, or votes differ."),
    CONFIDENCE: ("DOUBLE", "How sure Claude said to be."),
    WEIGHT: ("DOUBLE", "For how many rows of the table of answers it stands."),
}


def review_metadata(review: Review) -> dict[str, Any]:
    """Describe the table of a queue: its name, and its columns in order."""
    kinds, meaning = review.schema.columns, review.schema.meaning
    columns = [dg.TableColumn(key, "as upstream", "Key of the row.") for key in review.keys]
    columns += [dg.TableColumn(name, "as upstream", "What a reviewer reads.") for name in review.documents]
    columns += [
        dg.TableColumn(called, ddl(kinds[name]), f"What Claude answered as {name}.")
        for name, called in review.answered.items()
    ]
    columns += [dg.TableColumn(name, *OWN[name]) for name in review.own]
    columns += [
        dg.TableColumn(name, ddl(kinds[name]), f"To be filled in. {meaning(name) or ''}".strip())
        for name in review.true_fields
    ]
    return {
        "dagster/table_name": str(review.target),
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "schema": review.target.schema,
    }


def draw_metadata(drawn: Drawn) -> dict[str, Any]:
    """Describe a draw: rows by reason, rows of the table, what the weights add up to, and where the files are."""
    counts = drawn.n_by_reason
    return {
        "dagster/row_count": drawn.n_rows,
        "claude_batch/audit_rows": counts[AUDIT],
        "claude_batch/unsure_rows": counts[UNSURE],
        "claude_batch/votes_differ_rows": counts[VOTES_DIFFER],
        "claude_batch/table_rows": drawn.n_table,
        "claude_batch/sum_of_weights": drawn.sum_of_weights,
        **{f"claude_batch/review_{file.suffix[1:]}": dg.MetadataValue.path(file) for file in drawn.files},
    }
