"""The rows that a person is to read and label: `<name>_review`, a table and files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg

from claude_batch_dagster.assets.registry import Declaration, declaration_of
from claude_batch_dagster.assets.sources import Source, UpstreamAsset, whole_frame
from claude_batch_dagster.core.asking.partitions import Partition
from claude_batch_dagster.core.reviewing import CONFIDENCE, Labelled, Review
from claude_batch_dagster.review import LABELS, Reviewing
from claude_batch_dagster.runs.dagster_internals import previews
from claude_batch_dagster.runs.partitions import is_partition, partitions_of_keys
from claude_batch_dagster.runs.review_metadata import draw_metadata, review_metadata


def build_review_asset(  # noqa: PLR0913  (a declaration has as many parts as it has)
    classified: dg.AssetsDefinition,
    *,
    rows: int = 200,
    unsure_share: float | None = None,
    confidence: str | None = CONFIDENCE,
    votes: Sequence[str] | None = None,
    fields: Sequence[str] | str | None = None,
    columns: Sequence[str] | str | None = None,
    labelled: UpstreamAsset | None = None,
    seed: str = "review",
    show_answers: bool = False,
    folder: str | Path | None = None,
) -> dg.AssetsDefinition:
    """
    Declare `<name>_review`: the rows of `<name>` that a person is to read and label, as a table and as files.

    Some are there for certain: those of which Claude is least sure, and those on which two votes differ. The others
    are drawn at random from all the rest. `weight` says for how many rows each of them stands: 1 for those that are
    there for certain, and for the others the rest divided by how many were drawn of it. Weighted by it, the labels that
    come back say without bias how right the answers of the whole table are. The same table gives the same queue.

    It asks nothing and costs nothing. It looks at the whole table, whatever its partitions, and at rows with the status
    `succeeded` alone. Labels that somebody has given are never overwritten: then the run fails, and says what to do.

    Args:
        classified: What `build_batch_asset` or `build_classification_asset` returned.
        rows: How many rows the queue has, if there are as many.
        unsure_share: Share of them that is there for certain, from 0 to below 1; default 0.5 where there is a
            confidence, or votes, else 0. What cannot be filled by it is drawn at random.
        confidence: The output field that says how sure an answer is, a number; one without it counts as least sure.
            Default `confidence`, if the output has that; None for no such field.
        votes: Two output fields that should say the same. Rows on which they differ are there for certain: with a
            confidence as many as one half of those, after the least sure ones.
        fields: The output fields that a person fills in; default those with a closed list, or else all.
        columns: The upstream columns that a person is shown; default those that the prompt names. Needed where the
            prompt is a function.
        labelled: The asset whose table holds labels already: its rows are left out, by their keys, where one of
            `fields` has a value, or the table none of these columns. Give another `seed` for another round.
        seed: Any text; another one draws other rows.
        show_answers: Whether the files show the answers. Default False: who sees them first agrees too often. The
            table has them in any case, as `answered_<field>`.
        folder: Where to write `<name>_review.csv` to be filled in, and `.json` and `.xml` for Label Studio. Default
            nowhere. They hold documents, so only their owner can read them.

    Raises:
        ConfigurationError: `classified` is another asset, or a setting cannot work; the message says which.

    """
    declared = declaration_of(classified)
    source = None if labelled is None else Source.of(labelled)
    review = Review(
        task=declared.shown,
        rows=rows,
        unsure_share=unsure_share,
        confidence=confidence,
        votes=votes,
        fields=_names(fields),
        columns=_names(columns),
        labelled=None if source is None else _labelled(source),
        seed=seed,
        show_answers=show_answers,
        folder=None if folder is None else Path(folder).expanduser(),
    )
    if declared.task.upstream.relation == declared.source.table.sql:  # a query may have columns of its own
        declared.source.check_columns(declared.task.builder, review.documents)
    return _declare(_Parts(declared=declared, review=review, labelled=source))


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What a review is made of."""

    declared: Declaration
    review: Review
    labelled: Source | None

    @property
    def deps(self) -> list[dg.AssetDep]:
        """What it reads: all partitions of it, which is what Dagster waits for in front of an asset that has none."""
        keys = [self.declared.spec.key, self.declared.source.key, *([self.labelled.key] if self.labelled else [])]
        return [dg.AssetDep(key) for key in dict.fromkeys(keys)]

    @property
    def ins(self) -> dict[str, dg.AssetIn]:
        """What IO managers hand over."""
        labels = [*self.labelled.ins.values()] if self.labelled else []
        return {**self.declared.source.ins, **dict(zip([LABELS], labels, strict=False))}

    def reviewing(self, context: dg.AssetExecutionContext, inputs: dict[str, Any]) -> Reviewing:
        """Return what is drawn in a run, from tables as they are called where assets were loaded."""
        [loaded] = context.assets_def.specs
        keys = [dep.asset_key for dep in loaded.deps]
        declared = self.declared.waiting_for(loaded.deps)
        key = Source.of(declared.spec.key).among(keys).key
        is_one = is_partition(declared.spec.partitions_def, context.instance, key)

        def partitions(wanted: Sequence[str | None]) -> Sequence[Partition]:
            return partitions_of_keys(declared.spec.partitions_def, [one for one in wanted if is_one(one)])

        labelled = None if self.labelled is None else _labelled(self.labelled.among(keys))
        return Reviewing(
            review=replace(self.review, task=declared.shown, labelled=labelled),
            partitions_of=partitions,
            frames={name: whole_frame(handed) for name, handed in inputs.items()},
        )


def _declare(parts: _Parts) -> dg.AssetsDefinition:
    declared, review = parts.declared, parts.review
    *prefix, name = declared.spec.key.path
    key = dg.AssetKey([*prefix, f"{name}_review"])
    spec = dg.AssetSpec(
        key,
        deps=parts.deps,
        description=f"Rows of `{declared.spec.key.to_user_string()}` for a person to read and label. `weight` says for "
        "how many rows each of them stands.",
        group_name=declared.spec.group_name,
        owners=declared.spec.owners,
        kinds={"duckdb"},
        metadata=review_metadata(review),
    )

    def body(context: dg.AssetExecutionContext, **inputs: Any) -> Iterator[dg.MaterializeResult[Any]]:
        resource = getattr(context.resources, declared.resource_key)
        drawn = resource.draw_review(parts.reviewing(context, inputs))
        yield dg.MaterializeResult(asset_key=context.asset_key, metadata=draw_metadata(drawn))

    with previews():
        return dg.multi_asset(
            name=key.to_python_identifier(),
            specs=[spec],
            ins=parts.ins,
            required_resource_keys={declared.resource_key},
        )(body)


def _labelled(source: Source) -> Labelled:
    return Labelled(relation=source.table.sql, shown_as=f"table {source.table}")


def _names(given: Sequence[str] | str | None) -> Sequence[str] | None:
    return [given] if isinstance(given, str) else given
