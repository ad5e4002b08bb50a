"""
What is done where Claude is unsure: a strong model decides, and a person reads some rows.

Neither is a part of `make run`. In the UI materialize `cascaded_documents`, then `cascaded_documents_review`.
"""

from claude_batch_dagster import build_classification_asset, build_review_asset
from claude_batch_dagster.checks import Accuracy, LabelRecall
from example_project.assets import GROUP, measured_by
from example_project.themes import THEMES

SINCE = 1980
"""The first year. Some thousand paragraphs are enough to see who decides what, at the price of some."""

cascaded_documents = build_classification_asset(
    name="cascaded_documents",
    upstream="documents",
    sql=f"FROM public.documents WHERE year(published_on) >= {SINCE}",
    labels=THEMES,
    text_column="text",
    key="id",
    confidences=True,
    escalate_to="claude-opus-5-5",
    resource_key="claude_batch",
    group_name=GROUP,
    # 69 gold rows show less than 300 do of the same answers; of most themes they show nothing.
    **measured_by(Accuracy(warn=0.35), LabelRecall(warn=0.0), since=SINCE),
)

cascaded_documents_review = build_review_asset(cascaded_documents, rows=60)
