"""A result, as what it is judged by."""

from claude_batch_dagster.core.judging import Judgeable
from claude_batch_dagster.core.outcomes import facts_of
from claude_batch_dagster.core.results import Result


def judgeable(result: Result) -> Judgeable:
    """Return what a result is judged by."""
    facts = facts_of(result)
    return Judgeable(**{name: facts[name] for name in Judgeable._fields if name in facts})
