"""How attributes of the component are read: each as a resolver with what it says of itself in the schema."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster.components.utils.translation import TranslationFnResolver

from claude_batch_dagster.component.dagster_fields import settings_of
from claude_batch_dagster.component.texts import Templated, Text, check_kind, filled, located, number, text_of, texts

ON = True
"""An example of a switch."""

Switch = Mapping[str, Any] | None
"""Settings of a sensor or schedule; None where there is to be none."""


def described_as(about: str, *examples: Any) -> Any:
    """Return the resolver of what Dagster reads itself."""
    return dg.Resolver.default(description=about, examples=[*examples] or None)


def text(about: str, *examples: Any) -> Any:
    """Return the resolver of a text, or of several: what reads as a number stays a text."""
    return dg.Resolver(texts, description=about, examples=[*examples] or None, inject_before_resolve=False)


def amount(kind: type, about: str, *examples: Any) -> Any:
    """Return the resolver of a number, which may come as a text, or of none."""

    def resolve(context: dg.ResolutionContext, said: Any) -> Any:
        with located(context):
            given = filled(context, said)
            return None if given is None else number(given, str(context.path[-1]))

    return dg.Resolver(
        resolve,
        model_field_type=kind | Templated | None,
        description=about,
        examples=[*examples],
        inject_before_resolve=False,
    )


def values(about: str, *examples: Any) -> Any:
    """Return the resolver of values of any kind."""
    return dg.Resolver(filled, description=about, examples=[*examples], inject_before_resolve=False)


def template(kind: type, about: str, example: str) -> Any:
    """Return the resolver of an object that only a template variable can be."""

    def resolve(context: dg.ResolutionContext, said: str) -> Any:
        with located(context):
            value = filled(context, said)
            check_kind(value, kind, str(context.path[-1]), example)
        return value

    shown = f"{{{{ {example} }}}}"
    return dg.Resolver(
        resolve, model_field_type=str | None, description=about, examples=[shown], inject_before_resolve=False
    )


def query(context: dg.ResolutionContext, said: Text | None) -> str | None:
    """Return a query, out of its file if it is in one."""
    if said is None:
        return None
    with located(context):
        return text_of(context, said)


def switch(about: str, kind: Any, *examples: Any) -> Any:
    """Return the resolver of a sensor that is switched on, perhaps with settings."""
    return dg.Resolver(
        settings_of, model_field_type=kind | None, description=about, examples=[*examples], inject_before_resolve=False
    )


def translated() -> Any:
    """Return the resolver of `translation`, as the official components have it, and say what it is."""
    resolver = TranslationFnResolver[Any](lambda component: {"component": component})
    resolver.description = "Attributes of the asset's spec, with {{ spec }} as it would be without."
    resolver.examples = [{"group_name": "support", "key": "{{ spec.key.to_user_string() }}_labels"}]
    return resolver
