"""Every fault there is, by what it strikes."""

from claude_batch_dagster.emulator.refusals import REFUSALS

AFTER = "_after_accept"

ROW = frozenset(
    [
        "errored",
        "invalid_request",
        "expired",
        "canceled",
        "refusal",
        "max_tokens",
        "not_json",
        "misfit",
        "wrong_case",
        "empty_content",
    ]
)
"""Faults of single requests, decided when their batch is accepted."""

TIMED = frozenset(["404_after_create", "404_after_end", "list_lag"])
"""Faults that last `seconds` after something happened."""

RESULTS = frozenset(
    [f"results_{what}_line" for what in ["missing", "duplicate", "foreign", "garbage", "blank"]]
    + [f"results_cut_{where}{how}" for where in ("mid_line", "between_lines") for how in ("", "_chunked", "_no_length")]
    + ["results_crlf", "slow_trickle"]
)
"""Faults of a results download."""

CREATE = frozenset(
    [
        "never_ends",
        "drop_mid_body",
        "drop_before_accept",
        "drop_after_accept",
        "timeout_after_accept",
        "empty_id_200",
        "wrong_count_200",
    ]
)
"""Faults of submitting a batch."""

ANY = frozenset(["connect_error", "413", "redirect_307", "html_200", "cut_json_200", "stall"])
"""Faults of any call."""

STANDING = frozenset(["foreign_results_url"])
"""Faults in force for as long as they are not lifted."""

SPOILING = frozenset(["cut_json_200", "empty_id_200", "wrong_count_200"])
"""Faults that leave a good reply damaged, its work done."""

SUFFIXED = frozenset([*REFUSALS, "html_200", "413", "redirect_307"])
"""Faults with a second form that strikes only after the work was done."""

NAMES = ROW | TIMED | RESULTS | CREATE | ANY | STANDING | set(REFUSALS) | {name + AFTER for name in SUFFIXED}
