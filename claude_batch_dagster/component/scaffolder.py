"""What `dg scaffold defs claude_batch_dagster.ClaudeBatchComponent my_labels` writes: YAML that loads at once."""

from typing import Any

import dagster as dg
from pydantic import BaseModel, Field

EXAMPLE_LABELS = ["billing: invoices, payments, refunds", "other: anything else"]


class ScaffoldParams(BaseModel):
    """What can be said on the command line."""

    upstream: str = Field(default="documents", description="Key of the asset that the rows come from.")
    labels: list[str] = Field(
        default=EXAMPLE_LABELS, description='Labels, each with what belongs to it: "billing: invoices, payments".'
    )
    text_column: str = Field(default="text", description="The upstream column with the text.")
    key: str = Field(default="id", description="The upstream column that tells rows apart.")
    database: str = Field(
        default="{{ context.project_root }}/warehouse.duckdb", description="Path of the DuckDB database."
    )


class ClaudeBatchScaffolder(dg.Scaffolder[ScaffoldParams]):
    """Writes a classification of the upstream table; everything else can be changed in the file."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        """Return what can be said on the command line."""
        return ScaffoldParams

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        """Write `defs.yaml`."""
        said = request.params
        attributes: dict[str, Any] = {
            "name": request.target_path.name,
            "upstream": said.upstream,
            "key": said.key,
            "ask": {"text_column": said.text_column, "labels": labels_of(said.labels)},
            "resource": {"api_key": "{{ env.ANTHROPIC_API_KEY }}", "database": said.database},
        }
        dg.scaffold_component(request, attributes)


def labels_of(said: list[str]) -> dict[str, str]:
    """Return labels with their meanings: `billing: invoices`, or `billing,other` for those that explain themselves."""
    found: dict[str, str] = {}
    for text in said or EXAMPLE_LABELS:
        label, colon, meaning = text.partition(":")
        if colon:
            found[label.strip()] = meaning.strip()
        else:
            found |= {name.strip(): f"Everything about {name.strip()}." for name in text.split(",") if name.strip()}
    return found
