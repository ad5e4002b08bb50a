"""Gold rows of an asset: where they are, and when an answer is the true value."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from claude_batch_dagster.assets.sources import Source, UpstreamAsset, subquery
from claude_batch_dagster.core.collecting.column_types import Structure
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.reporting.gold import GoldSource
from claude_batch_dagster.core.tables import literal
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.quality.matching import Kind, Rule
from claude_batch_dagster.runs.gold import GoldRows

READERS = {".csv": "read_csv({}, all_varchar = true)", ".parquet": "read_parquet({})"}
"""How files are read, by what their names end with. A CSV as texts: the output fields say what they are."""

NEEDS = ("scipy", "matplotlib")
"""What the extra `quality` brings."""

KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("BIGINT", "DOUBLE", "HUGEINT"), Kind.NUMBER),
    **dict.fromkeys(("DATE", "TIMESTAMP WITH TIME ZONE"), Kind.DATE),
}


@dataclass(frozen=True, kw_only=True)
class Gold:
    """
    Rows whose true answers people have given, to measure how right the table is: 50 to 500 of them, drawn at random.

    Their table has the key columns of the asset, a column with the true value for one output field or more, by the
    field's name, and perhaps `weight`. Where keys are unique within a partition only it has `partition_key` too.
    Nothing of them is ever sent.

    Args:
        source: The asset that the gold rows come from, whose table is read from DuckDB as `upstream` is; or a file:
            a path that ends in `.csv` or `.parquet`.
        sql: A query to read in place of the table.
        weight: Column that says how many rows of the table each gold row stands for: one over its chance of being
            drawn. Without such a column each had the same.
        tolerance: By output field, how far an answer may be off: a number, or a timedelta for dates.
        same: By output field, a function of answer and true value that says whether the answer is right.
        nullable: Output fields of which NULL is a true value ("no amount is named"). Otherwise NULL says that nobody
            has looked.

    Raises:
        ConfigurationError: One of these cannot be.

    """

    source: UpstreamAsset | Path | None = None
    sql: str | None = None
    weight: str = "weight"
    tolerance: Mapping[str, float | Decimal | timedelta] = field(default_factory=dict)
    same: Mapping[str, Callable[[Any, Any], bool]] = field(default_factory=dict)
    nullable: Sequence[str] = ()

    def __post_init__(self) -> None:
        if (self.source is None) == (self.sql is None):
            raise ConfigurationError("gold rows come from an asset, from a file, or from sql=: name one of them.")


def gold_rows(
    given: UpstreamAsset | Path | Gold, schema: OutputSchema, *, keys: Sequence[str], named: Sequence[str] | None
) -> GoldRows:
    """
    Return the gold rows that a declaration names.

    `named` are the upstream columns of which the prompt is made. Raises `ConfigurationError` for what cannot work.
    """
    if missing := [name for name in NEEDS if find_spec(name) is None]:
        raise ConfigurationError(
            f"gold= needs {' and '.join(missing)}: pip install 'claude-batch-dagster[quality]' brings what it takes."
        )
    gold = given if isinstance(given, Gold) else Gold(source=given)
    for option, names in (("tolerance", gold.tolerance), ("same", gold.same), ("nullable", gold.nullable)):
        for name in names:
            if name not in schema.columns:
                raise ConfigurationError(
                    f"gold rows have {option} for {name!r}, which is no output field: {', '.join(schema.columns)}."
                )
    relation, shown_as = _relation(gold)
    check_named(named, schema)
    return GoldRows(
        source=GoldSource(
            relation=relation,
            shown_as=shown_as,
            key=tuple(keys),
            fields=schema.columns,
            weight=_weight(gold, [*keys, *schema.columns]),
            nullable=frozenset(gold.nullable),
            labeled=frozenset(
                name for name, kind in schema.columns.items() if schema.is_closed(name) and not isinstance(kind, list)
            ),
        ),
        rules={name: _rule(name, kind, gold, schema) for name, kind in schema.columns.items()},
    )


def check_named(named: Sequence[str] | None, schema: OutputSchema) -> None:
    """Raise `ConfigurationError` if a prompt names columns that look like true values."""
    if leaked := set(named or ()) & set(schema.columns):
        raise ConfigurationError(
            f"the prompt names upstream columns that are called as output fields are: {', '.join(sorted(leaked))}. "
            "With gold rows beside it that looks like a true value in the prompt, and what is measured would say "
            "nothing. Call the upstream columns otherwise."
        )


def gold_asset(given: UpstreamAsset | Path | Gold | None) -> Source | None:
    """Return the asset that gold rows come from; None if they come from a file or a query, or there are none."""
    source: Any = given.source if isinstance(given, Gold) else given
    return None if source is None or isinstance(source, Path) or _suffix(source) in READERS else Source.of(source)


def _relation(gold: Gold) -> tuple[str, str]:
    """Return the SQL of gold rows, and what messages call them."""
    if gold.sql is not None:
        return f"({subquery(gold.sql)})", "a query"
    given: Any = gold.source
    if (suffix := _suffix(given)) in READERS:
        return READERS[suffix].format(literal(str(given))), f"the file {Path(given).name}"
    if isinstance(given, Path):
        raise ConfigurationError(f"gold rows are read from files that end in {' or '.join(READERS)}; got {given.name}.")
    source = Source.of(given)
    if source.ins:
        raise ConfigurationError("gold rows are read from DuckDB: name their asset itself in place of an AssetIn.")
    return source.table.sql, f"table {source.table}"


def _suffix(given: Any) -> str:
    """Return how the name of a file ends; nothing for what is none."""
    return Path(given).suffix.lower() if isinstance(given, str | Path) else ""


def _weight(gold: Gold, taken: Sequence[str]) -> str:
    """Return the column of weights: none by the usual name where a key or an output field has it."""
    if gold.weight.lower() in {name.lower() for name in taken}:
        if gold.weight != "weight":
            raise ConfigurationError(
                f"gold rows cannot have weights in {gold.weight!r}: a key or an output field has the name."
            )
        return "_weight"
    return gold.weight


def _rule(name: str, kind: Structure, gold: Gold, schema: OutputSchema) -> Rule:
    """Return when an answer to a field is right: by its type, unless a function says it."""
    tolerance, same = gold.tolerance.get(name, 0), gold.same.get(name)
    is_list, of = (True, kind[0]) if isinstance(kind, list) else (False, kind)
    plain = of if isinstance(of, str) else ""
    compared = KINDS.get(plain) or (Kind.NUMBER if plain.startswith("DECIMAL") else None)
    if compared is None:
        compared = Kind.TEXT if plain == "VARCHAR" and not schema.is_closed(name) else Kind.LABEL
    if tolerance and (compared not in {Kind.NUMBER, Kind.DATE} or is_list):
        raise ConfigurationError(f"gold rows have a tolerance for {name!r}, which is neither a number nor a date.")
    if tolerance and (compared is Kind.DATE) != isinstance(tolerance, timedelta):
        needed = "timedelta" if compared is Kind.DATE else "number"
        raise ConfigurationError(f"the tolerance of {name!r} is to be a {needed}; got {tolerance!r}.")
    return Rule(kind=compared, is_list=is_list, tolerance=tolerance, same=same)
