"""The resource in YAML, for a project that has no `defs/resources.py`."""

from typing import Annotated, Any

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import Field, create_model

from claude_batch_dagster.component.texts import Templated, located, setting_of
from claude_batch_dagster.resource import ClaudeBatchResource


class DatabaseModel(dg.Model):
    """A DuckDB database."""

    database: str = Field(description="Path of the file, or a URL.", examples=["{{ context.project_root }}/w.duckdb"])
    connection_config: dict[str, Any] | None = Field(default=None, description="DuckDB's own settings.")


def _fields() -> dict[str, Any]:
    """Return the settings of the resource as attributes, any of which may be a template variable."""
    made: dict[str, Any] = {}
    for name, setting in ClaudeBatchResource.model_fields.items():
        if name == "database":
            continue
        bare = Field(default=... if setting.is_required() else None, description=setting.description)
        made[name] = (setting.annotation if setting.annotation is str else setting.annotation | Templated | None, bare)
    described = "DuckDB database of documents and answers: its path, or a DuckDBResource's settings."
    return {**made, "database": (str | DatabaseModel, Field(description=described, examples=["warehouse.duckdb"]))}


ResourceModel = create_model(
    "ResourceModel",
    __base__=dg.Model,
    __doc__="A `ClaudeBatchResource`; secrets as `{{ env.ANTHROPIC_API_KEY }}`.",
    **_fields(),
)


def resolve_resource(context: dg.ResolutionContext, said: Any) -> ClaudeBatchResource:
    """Return the resource that YAML describes; raise `ResolutionException` for a secret that is written out."""
    settings = {
        name: setting_of(context.at_path(name), value)
        for name, value in said.model_dump(exclude_unset=True, exclude_none=True).items()
    }
    database = settings.pop("database")
    opened = DuckDBResource(**database) if isinstance(database, dict) else DuckDBResource(database=database)
    resource = ClaudeBatchResource(**settings, database=opened)
    with located(context, instead="In YAML: '{{ env.ANTHROPIC_API_KEY }}'."):
        resource.get_resource_definition()
    return resource


ResolvedResource = Annotated[
    Any,  # a ClaudeBatchResource or None; Dagster would want its own form of whatever pydantic model is named here
    dg.Resolver(
        resolve_resource,
        model_field_type=ResourceModel,
        description="The resource, for this asset alone; else the one of the project under `resource_key` is used.",
        examples=[
            {"api_key": "{{ env.ANTHROPIC_API_KEY }}", "database": "{{ context.project_root }}/warehouse.duckdb"}
        ],
        inject_before_resolve=False,
    ),
]
