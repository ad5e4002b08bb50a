"""What came back for a request, judged by the output model of today."""

from dataclasses import dataclass

from claude_batch_dagster.core.answering import Told, tell
from claude_batch_dagster.core.attempts import Came
from claude_batch_dagster.core.outcomes import CLAIMED_TOLD, GONE_TOLD, NEVER, NEVER_HANDED_OUT
from claude_batch_dagster.core.outputs import OutputSchema
from claude_batch_dagster.core.results import Canceled, Errored, Expired, Result, Succeeded, Usage
from claude_batch_dagster.core.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Judgeable:
    """All that a verdict depends on."""

    came: Came
    detail: str | None = None
    """Stop reason of a Message; type of an error."""
    explanation: str | None = None
    """Category of a refusal."""
    text: str | None = None
    """Of a Message, the text; else what the API says of the failure."""
    sanitized: bool = False


def judge(one: Judgeable, schema: OutputSchema) -> Told:
    """Return the verdict on what came back."""
    match one.came:
        case Came.WITHHELD:
            return CLAIMED_TOLD
        case Came.GONE:
            return NEVER_HANDED_OUT if one.detail == NEVER else GONE_TOLD
        case Came.REJECTED:
            return Told(Verdict.REJECTED, one.text)
        case _:
            return tell(_result(one), schema)


def _result(one: Judgeable) -> Result | None:
    match one.came:
        case Came.SUCCEEDED:
            return Succeeded(
                "",
                model="",
                stop_reason=one.detail,
                text=one.text or "",
                usage=Usage(),
                stop_explanation=one.explanation,
                sanitized=one.sanitized,
            )
        case Came.ERRORED:
            return Errored("", one.detail or "", one.text or "")
        case Came.CANCELED:
            return Canceled("")
        case Came.EXPIRED:
            return Expired("")
        case _:
            return None
