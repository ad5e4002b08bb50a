"""The rows of a table of answers that a person is to read: drawn, and written where they are wanted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from claude_batch_dagster.core.more_memory import with_more_memory
from claude_batch_dagster.core.reviewing import Drawn, Labelled, Review
from claude_batch_dagster.engine import warehouse_of
from claude_batch_dagster.storage.duckdb.asking.upstream import Reader, encodable
from claude_batch_dagster.storage.duckdb.review import Draw, PartitionsOf
from claude_batch_dagster.storage.files.review_files import ReviewFiles
from claude_batch_dagster.stores import Stores

DOCUMENTS, LABELS = "upstream", "labelled"
"""Names of the DataFrames that IO managers hand over."""

LABELS_FRAME = "_claude_batch_labelled"
"""The name under which a DataFrame of labels is queried."""


@dataclass(frozen=True, kw_only=True)
class Reviewing:
    """What is drawn, and from where."""

    review: Review
    partitions_of: PartitionsOf
    frames: Mapping[str, pd.DataFrame] = field(default_factory=dict, repr=False)
    """What IO managers have handed over in place of tables, documents and labels, by its name."""


@with_more_memory
def draw_review(stores: Stores, reviewing: Reviewing) -> Drawn:
    """
    Write the queue of a review over that of before, and its files if they are wanted.

    Raises `ConfigurationError` if that would overwrite labels, `UpstreamError` for a table that is not there.
    """
    review, frames, warehouse = reviewing.review, reviewing.frames, warehouse_of(stores)
    files = ReviewFiles(review, review.folder) if review.folder is not None else None
    if files is not None:
        files.check()
    with warehouse.connect() as connection, warehouse.writing():
        if (labels := frames.get(LABELS)) is not None:
            connection.register(LABELS_FRAME, encodable(labels, key=review.keys)[0])
            review = replace(review, labelled=Labelled(relation=LABELS_FRAME, shown_as="DataFrame"))
        connection.begin()
        task = review.task
        reader = Reader.of(connection, task.upstream, target=task.target, frame=frames.get(DOCUMENTS))
        draw = Draw(connection=connection, review=review, reader=reader, partitions_of=reviewing.partitions_of)
        drawn = draw.draw()
        rows = [*draw.rows()] if files is not None else []
        connection.commit()
    return drawn if files is None else replace(drawn, files=files.write(rows))
