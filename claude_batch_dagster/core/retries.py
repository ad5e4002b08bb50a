"""Whether a question is sent, and sent again: by what came back for it so far, whoever asked it."""

from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Self

from claude_batch_dagster.core.verdicts import MAX_PAID_ATTEMPTS, TRANSIENT


class Came(StrEnum):
    """What came back for a request: the API's own four words, and ours for what it does not say."""

    SUCCEEDED = "succeeded"
    """A Message, and the only result that is billed. Whether it is a usable answer, the output model decides."""
    ERRORED = "errored"
    CANCELED = "canceled"
    EXPIRED = "expired"
    MISSING = "missing"
    """The batch ended without a result for the request."""
    WITHHELD = "withheld"
    """The API counts a result that it has not handed out: it may have been paid for, and may turn up."""
    GONE = "gone"
    """It was paid for, and nobody has the result any more."""
    REJECTED = "rejected"
    """The API refuses the request itself."""
    UNHEARD = "unheard"
    """It was asked live, and the answer was lost on the way: it may have been paid for, and nobody has it."""


class Retry(StrEnum):
    """What asking the same again would be."""

    FREE = "free"
    """The attempt cost nothing and says nothing against the request."""
    ONCE = "once"
    """The attempt cost as much as an answer: one more try, then final."""
    NEVER = "never"
    """Asking again cannot help, or would pay twice."""


HOPELESS = frozenset({"refusal", "model_context_window_exceeded"})
"""Stop reasons after which the same request comes to the same end."""


def retry_rule(came: Came, detail: str | None) -> Retry:
    """
    Return the rule for a result that is no usable answer.

    `detail` is the stop reason of a Message, or the type of an error.
    """
    match came:
        case Came.SUCCEEDED:
            return Retry.NEVER if detail in HOPELESS else Retry.ONCE
        case Came.ERRORED:
            return Retry.FREE if detail in TRANSIENT else Retry.NEVER
        case Came.UNHEARD:
            return Retry.ONCE
        case Came.CANCELED | Came.EXPIRED | Came.MISSING:
            return Retry.FREE
        case Came.WITHHELD | Came.GONE | Came.REJECTED:
            return Retry.NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What came back so far for a question without a usable answer."""

    attempt: int
    """The highest number of an attempt."""
    n_paid: int
    """Attempts that were billed, or may have been."""
    n_truncated: int
    """Attempts whose answer stopped at `max_tokens`."""
    n_this_run: int
    """Attempts of the present run."""
    final: bool
    """Whether something came back after which asking again cannot help, or would pay twice."""
    was_unheard: bool = False
    """Whether an answer was lost on the way."""
    may_turn_up: bool = False
    """Whether a result is withheld, or lies where nobody has found it: it was paid for, perhaps."""


class Attempt(NamedTuple):
    """The question is to be sent."""

    number: int
    """1 for the first time it is asked."""
    n_truncated: int
    """How many earlier attempts stopped at `max_tokens`; each widens it."""


FIRST = Attempt(1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How often a run asks the same."""

    max_attempts: int = 3
    """In one run, if the failures cost nothing."""
    retry_final: bool = False
    """Whether what is final is asked once more, for a person has said so."""
    holds_unheard: bool = False
    """Whether it is for a person to say that a row is asked again whose answer was lost on the way."""


def next_attempt(past: Past | None, rules: Rules) -> Attempt | None:
    """
    Return the attempt to make; None if what came back is final.

    A failure that cost nothing is repeated up to `max_attempts` times a run, and again whenever the partition is
    materialized again; one that was paid for is repeated once, ever, unless a person wants it once more: but not while
    its result may turn up.
    """
    if past is None:
        return FIRST
    is_final = past.final or past.n_paid >= MAX_PAID_ATTEMPTS or (past.was_unheard and rules.holds_unheard)
    again = rules.retry_final and not past.n_this_run and not past.may_turn_up
    if (is_final and not again) or past.n_this_run >= rules.max_attempts:
        return None
    return Attempt(past.attempt + 1, past.n_truncated)


@dataclass(kw_only=True)
class Plan:
    """What to do for each question of a run that has no usable answer: send it, wait for it, or nothing any more."""

    new: set[str] = field(default_factory=set)
    """Questions to be asked for the first time."""
    again: dict[str, Attempt] = field(default_factory=dict)
    """Questions to be asked once more."""
    in_flight: Mapping[str, str] = field(default_factory=dict)
    """Questions that are on their way, each with the chunk that carries it."""
    known: set[str] = field(default_factory=set)
    """Chunks that were looked at when the plan was made, or were sent since."""
    final: set[str] = field(default_factory=set)
    """Questions that are not asked again, for what came back."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Questions that this run does not send, each with the reason."""

    @classmethod
    def of(
        cls,
        questions: set[str],
        *,
        past: Mapping[str, Past],
        in_flight: Mapping[str, str],
        known: Iterable[str],
        rules: Rules,
    ) -> Self:
        """
        Plan for questions without a usable answer; the set is the plan's from then on.

        `past` is what came back for them so far, `in_flight` what any run has on its way, whoever asks for it.
        """
        carried = {question: chunk_id for question, chunk_id in in_flight.items() if question in questions}
        attempts = {one: next_attempt(before, rules) for one, before in past.items()}
        repeated = {
            one: attempt for one, attempt in attempts.items() if attempt and one in questions and one not in carried
        }
        final = {
            one for one, attempt in attempts.items() if attempt is None and one in questions and one not in carried
        }
        questions.difference_update(carried, attempts)
        return cls(new=questions, again=repeated, in_flight=carried, known=set(known), final=final)

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Send none of these questions."""
        self.left_out = {one: reason for one, reason in reasons.items() if one in self.new or one in self.again}
        self.new.difference_update(self.left_out)
        for question in self.left_out if self.again else ():
            self.again.pop(question, None)

    @property
    def due(self) -> AbstractSet[str]:
        """The questions to be sent; those that were sent since the plan was made have left."""
        return self.new | self.again.keys() if self.again else self.new

    @property
    def followed(self) -> frozenset[str]:
        """The chunks that carry questions of this run."""
        return frozenset(self.in_flight.values())

    @property
    def unfinished(self) -> frozenset[str]:
        """The questions whose last word is not spoken: on their way, or to be asked."""
        return frozenset(self.new).union(self.again, self.in_flight)

    def attempt(self, question: str) -> Attempt | None:
        """Return the attempt to make now; None if there is none."""
        return FIRST if question in self.new else self.again.get(question)

    def sent(self, chunk_id: str, questions: Collection[str]) -> None:
        """Take note that a chunk carries these questions: nothing in this plan sends them once more."""
        self.known.add(chunk_id)
        self.new.difference_update(questions)
        for question in questions if self.again else ():
            self.again.pop(question, None)
