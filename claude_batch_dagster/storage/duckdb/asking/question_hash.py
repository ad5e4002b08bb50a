"""The hash of what a row asks, computed by the database: the same as `core.asking.question_hash` makes."""

from claude_batch_dagster.core.asking.question_hash import LENGTH, VERSION
from claude_batch_dagster.core.tables import quoted
from claude_batch_dagster.storage.duckdb.asking.upstream_columns import Shape

FILLED = r"[^\p{Z}\t-\r\x1c-\x1f\x85]"
"""A character that is no white space, as Python sees it."""


def question_hash(shape: Shape, key: str) -> str:
    """Return the SQL of a row's question hash; NULL where Python has to say it, or why there is none."""
    hashed = ", ".join(f"':', strlen({name}), ':', {name}" for name in shape.names)
    filled = " OR ".join(f"regexp_matches({name}, '{FILLED}')" for name in shape.names)
    there = " AND ".join(f"{name} IS NOT NULL" for name in (quoted(key), *shape.names))
    return (
        f"CASE WHEN {there} AND ({filled}) THEN "
        f"left(concat('{VERSION}', sha256(concat('{shape.builder.definition}', {hashed}))), {LENGTH}) END"
    )
