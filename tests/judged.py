"""A result, as what it is judged by."""

from claude_batch_dagster.core.collecting.answer_records import facts_of
from claude_batch_dagster.core.collecting.judging import Judgeable
from claude_batch_dagster.core.collecting.results import Result


def judgeable(result: Result) -> Judgeable:
    """Return what a result is judged by."""
    facts = facts_of(result)
    return Judgeable(**{name: facts[name] for name in Judgeable._fields if name in facts})
