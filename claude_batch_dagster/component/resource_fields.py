"""The resource in YAML, for a project that has no `defs/resources.py`."""

from typing import Annotated, Any, cast

import dagster as dg
from dagster_duckdb import DuckDBResource
from pydantic import Field, ValidationError, create_model

from claude_batch_dagster.component.texts import (
    OF_THE_ENVIRONMENT,
    Templated,
    check_kind,
    evaluated,
    filled,
    is_template,
    located,
    setting_of,
)
from claude_batch_dagster.errors import ConfigurationError
from claude_batch_dagster.resource import ClaudeBatchResource

NO_SECRETS = "In YAML: '{{ env.ANTHROPIC_API_KEY }}'."


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


TEXTS = frozenset({"api_key", "base_url", "workspace_id", "state_directory", "ledger_url", "default_headers"})
"""Settings that may come out of the environment when a run begins; Dagster stores the name of the variable."""


def resolve_resource(context: dg.ResolutionContext, said: Any) -> ClaudeBatchResource | None:
    """Return the resource that YAML describes; raise `ResolutionException` for a secret that is written out."""
    if said is None:
        return None
    if isinstance(said, str):
        with located(context):
            found = evaluated(context, said)
            check_kind(found, ClaudeBatchResource, "resource", "our_resource")
        return cast("ClaudeBatchResource", found)
    with located(context, instead=NO_SECRETS):
        settings = {
            name: (setting_of if name in TEXTS else filled)(context.at_path(name), value)
            for name, value in said.model_dump(exclude_unset=True, exclude_none=True, exclude={"database"}).items()
        }
        if not isinstance(settings["api_key"], dg.EnvVar) and is_template(said.api_key):
            raise ConfigurationError(
                "api_key is a template that is filled in when definitions load, so Dagster stores it."
            )
        try:
            resource = ClaudeBatchResource(**settings, database=_database(context.at_path("database"), said.database))
            resource.get_resource_definition()
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise ConfigurationError(f"{wrong}.") from None  # without what was given: it may be a secret
    return resource


def _database(context: dg.ResolutionContext, said: Any) -> DuckDBResource:
    if isinstance(said, str):
        return DuckDBResource(database=setting_of(context, said))
    config = said.connection_config or {}
    if named := [
        name for name, value in config.items() if isinstance(value, str) and OF_THE_ENVIRONMENT.fullmatch(value)
    ]:
        raise ConfigurationError(
            f"connection_config takes {named[0]} as it is written, not out of the environment, where secrets belong: "
            "Dagster would store it. Declare the DuckDBResource and the ClaudeBatchResource in defs/resources.py."
        )
    path = setting_of(context.at_path("database"), said.database)
    return DuckDBResource(database=path, connection_config=filled(context.at_path("connection_config"), config))


ResolvedResource = Annotated[
    Any,  # a ClaudeBatchResource or None; Dagster would want its own form of whatever pydantic model is named here
    dg.Resolver(
        resolve_resource,
        model_field_type=ResourceModel | None,
        description="The resource, for this asset alone; else the one of the project under `resource_key` is used.",
        examples=[
            {"api_key": "{{ env.ANTHROPIC_API_KEY }}", "database": "{{ context.project_root }}/warehouse.duckdb"}
        ],
        inject_before_resolve=False,
    ),
]
