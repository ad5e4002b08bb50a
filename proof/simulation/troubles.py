"""Which faults of the emulator can be survived, and what they leave of the rows they strike."""

from collections.abc import Mapping

from claude_batch_dagster.emulator.fault_names import AFTER, NAMES, TIMED

LIES = frozenset(
    f"{name}{AFTER}"
    for name in (
        "spend_limit_400",
        "401",
        "billing_402",
        "403",
        "404",
        "413",
        "422",
        "429",
        "429_no_retry_after",
        "enforced_spend_limit_429",
    )
)
"""
A server that accepts a batch and then says, in the API's own words, that it did not. Nobody can survive
that: a refusal with the API's error envelope is taken for one.
"""

LEAVES: Mapping[str, str] = {
    "invalid_request": "errored",
    "refusal": "refused",
    "max_tokens": "truncated",
    "not_json": "invalid",
    "misfit": "invalid",
    "empty_content": "invalid",
    "413": "rejected",
    "results_missing_line": "missing",
}
"""Verdicts that stay with a row once a fault has struck it, often enough."""

SURVIVABLE = tuple(sorted(NAMES - LIES - TIMED))
"""Faults that strike a call, a row or a batch, by name."""

UNSURE = (
    "drop_before_accept",
    "drop_after_accept",
    "timeout_after_accept",
    "500_after_accept",
    "529_after_accept",
    "504",
    "html_200_after_accept",
    "empty_id_200",
    "wrong_count_200",
)
"""Faults of a create call that leave it open whether the batch was accepted."""
