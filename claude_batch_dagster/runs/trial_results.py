"""What came of a trial: in sentences, as rows of a table, and as what the Dagster UI shows."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from claude_batch_dagster.amounts import counted, dollars
from claude_batch_dagster.core.reporting.trials import TrialLine
from claude_batch_dagster.core.tables import TableName
from claude_batch_dagster.quality.intervals import Interval, percent
from claude_batch_dagster.runs.pictures import Spot, candidates_picture
from claude_batch_dagster.runs.trial_judging import FieldTrial, Judgement, Tried

CANDIDATES, OUTCOME = "claude_batch/candidates", "claude_batch/outcome"
"""Metadata of a trial: its table, and what is said of it."""


def sentences(judgement: Judgement, tried: Sequence[Tried], *, answerer: str) -> Iterator[str]:
    """
    Yield what came of a trial, the naming first: each a sentence without its full stop.

    `answerer` is who has answered, if it was not Claude.
    """
    naming = judgement.naming
    yield "none can be named: no candidate could be judged" if naming is None else str(naming)
    if answerer:
        yield f"the {answerer} has answered, not Claude, so this says nothing of Claude's models"
    if judgement.is_split and naming is not None:
        yield "prompts were compared on one half of the gold rows only"
        if (held_out := judgement.held_out) is not None:
            rows = counted(held_out.n, "gold row")
            yield f"on the other half, {rows} that had no part in the choice, it is right in {held_out.share}"
    for one in tried:
        if one.problem is not None:
            yield f"{one.candidate.name} is not judged: {one.problem}"
        elif n := _n_unanswered(judgement, one.candidate.name):
            yield f"{one.candidate.name} has no usable answer to {counted(n, 'gold row')}, which count as wrong"
    if n := judgement.n_absent:
        yield f"{counted(n, 'gold row is', 'gold rows are')} not upstream, and not counted"
    if n := judgement.n_never_asked:
        yield (
            f"{counted(n, 'gold row')} can be asked of no candidate (several rows share the key, or the document is "
            "empty), and not counted"
        )
    for name, found in judgement.fields.items():
        about = f"{name}: " if len(judgement.fields) > 1 else ""
        yield from (f"{about}{pair}" for pair in found.pairs)


def _n_unanswered(judgement: Judgement, name: str) -> int:
    """Return how many of the gold rows that a candidate is judged by it has no usable answer to."""
    return max(found.naming.n - found.n_answered[name] for found in judgement.fields.values())


def lines_of(judgement: Judgement, tried: Sequence[Tried], *, run_id: str, now: datetime) -> list[TrialLine]:
    """Return what is written down of a trial: a line for each candidate and field, the cheapest candidate first."""
    fields: Mapping[str, FieldTrial | None] = judgement.fields or dict.fromkeys(tried[0].rows.fields)
    by_cost = sorted(tried, key=lambda one: judgement.usd_per_1000.get(one.candidate.name, float("inf")))
    return [
        TrialLine(
            candidate=one.candidate.name,
            model=one.candidate.model,
            prompt=one.candidate.prompt,
            effort=one.candidate.effort,
            is_current=one.candidate.is_current,
            field=name,
            cost_usd=one.rows.usd,
            cost_per_1000_usd=judgement.usd_per_1000.get(one.candidate.name),
            note=one.problem,
            run_id=run_id,
            tried_at=now,
            **({"gold_rows": 0} if found is None else _judged(found, one.candidate.name, judgement)),
        )
        for one in by_cost
        for name, found in fields.items()
    ]


def _judged(found: FieldTrial, name: str, judgement: Judgement) -> dict[str, Any]:
    """Return what is written down of one candidate's answers to one field."""
    naming = judgement.naming
    own = next((each for each in found.naming.candidates if each.name == name), None)
    if own is None or naming is None:
        return {"gold_rows": found.naming.n}
    is_named = naming.named is not None and naming.named.name == name
    told: dict[str, Any] = {
        "gold_rows": found.naming.n,
        "answers": found.n_answered[name],
        "right_answers": int(found.right[name].sum()),
        "accuracy": own.accuracy.estimate,
        "accuracy_low": own.accuracy.low,
        "accuracy_high": own.accuracy.high,
        "at_least": own.at_least,
        "passes": own.passes,
        "named": is_named,
        "on_frontier": own.on_frontier,
        "more_rows": own.more_rows,
    }
    if not is_named or found.held_out is None:
        return told
    share = found.held_out.share
    return {
        **told,
        "held_out_rows": found.held_out.n,
        "held_out_accuracy": share.estimate,
        "held_out_low": share.low,
        "held_out_high": share.high,
    }


def trial_metadata(
    table: TableName, judgement: Judgement, told: Sequence[str], lines: Sequence[TrialLine]
) -> dict[str, Any]:
    """Return what the asset page shows: the naming first, then all candidates, as rows and as a picture."""
    metadata: dict[str, Any] = {
        OUTCOME: dg.MetadataValue.md("\n".join(f"- {sentence}." for sentence in told)),
        CANDIDATES: dg.MetadataValue.table([dg.TableRecord(_shown(line, lines)) for line in lines]),
        "dagster/table_name": str(table),
        "claude_batch/gold_rows": judgement.n_gold,
    }
    if judgement.naming is None:
        return metadata
    spots = [
        Spot(
            name=each.name,
            usd_per_1000=each.cost_usd,
            accuracy=each.accuracy,
            on_frontier=each.on_frontier,
            is_named=each == judgement.naming.named,
        )
        for each in judgement.naming.candidates
    ]
    picture = candidates_picture(spots, bar=judgement.naming.bar)
    return {**metadata, "claude_batch/picture": dg.MetadataValue.md(picture)}


def _shown(line: TrialLine, lines: Sequence[TrialLine]) -> dict[str, Any]:
    """Return a candidate as people read it; the field is told where there are several."""
    has_fields = len({one.field for one in lines}) > 1
    accuracy = ""
    if line.accuracy is not None and line.accuracy_low is not None and line.accuracy_high is not None:
        accuracy = str(Interval(line.accuracy_low, line.accuracy, line.accuracy_high))
    return {
        "candidate": line.candidate,
        **({"field": line.field} if has_fields else {}),
        "per 1,000 rows": "" if line.cost_per_1000_usd is None else dollars(line.cost_per_1000_usd),
        "gold rows": line.gold_rows,
        "answers": "" if line.answers is None else line.answers,
        "accuracy": accuracy,
        "at least": "" if line.at_least is None else percent(line.at_least),
        "above the bar": {True: "yes", False: "not shown", None: line.note or ""}[line.passes],
        "frontier": "yes" if line.on_frontier else "",
        "more rows": "" if line.more_rows is None else line.more_rows,
        "named": "yes" if line.named else "",
    }
