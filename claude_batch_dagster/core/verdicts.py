"""What can become of a row."""

from enum import StrEnum


class Verdict(StrEnum):
    """The `status` of a row in the output table: a closed list."""

    SUCCEEDED = "succeeded"
    """Answered, complete, and valid by the output model."""
    INVALID = "invalid"
    """Answered, but the answer does not fit the output model."""
    TRUNCATED = "truncated"
    """The answer stopped at `max_tokens` or at the end of the context window."""
    REFUSED = "refused"
    """Claude declined to answer."""
    ERRORED = "errored"
    """The API reports an error for this request."""
    EXPIRED = "expired"
    """Not processed within the API's 24 hours."""
    CANCELED = "canceled"
    """The batch was canceled before this request was processed."""
    MISSING = "missing"
    """The batch ended without a result for this row."""
    REJECTED = "rejected"
    """Never asked: empty, not encodable, too large, a bad or duplicate key, or refused by the API as a request."""
    BLOCKED = "blocked"
    """Never sent: the budget does not allow it."""


NOT_ASKED = "not_asked"
"""Error type of our own, of a request that was to be asked live, and was not, or came to nothing at no cost."""

TRANSIENT = frozenset({"api_error", "overloaded_error", "timeout_error", "rate_limit_error", NOT_ASKED})
"""Error types of an errored request for which asking the same again can help."""

CLAIMED = f"{Verdict.MISSING}:final"
"""How the ledger marks a row for which the API counted an answer that it has not handed out."""

GONE = f"{Verdict.MISSING}:gone"
"""How the ledger marks a row that was paid for and whose result is no longer available."""

UNHEARD = f"{Verdict.MISSING}:lost"
"""How the ledger marks a row that was asked live, and whose answer was lost on the way."""

MAYBE_PAID = frozenset({CLAIMED, GONE, UNHEARD})
"""Marks of what may have been paid for, although there is no answer."""

MAX_PAID_ATTEMPTS = 2
"""How often a request may be paid for without a usable answer, ever."""
