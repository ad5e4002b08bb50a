"""
The checks that every asset carries, and the thresholds by which they warn and fail.

`checks=[ErrorRate(warn=0.01, fail=0.05)]` sets the thresholds of one; those that are not named keep their own.
"""

from claude_batch_dagster.checks.check import Check
from claude_batch_dagster.checks.gold import Accuracy, LabelRecall
from claude_batch_dagster.checks.rows import (
    BudgetUsed,
    Complete,
    ErrorRate,
    ExpiryRate,
    InvalidRate,
    LabelDrift,
    PaidOnce,
    Retention,
)

__all__ = [
    "Accuracy",
    "BudgetUsed",
    "Check",
    "Complete",
    "ErrorRate",
    "ExpiryRate",
    "InvalidRate",
    "LabelDrift",
    "LabelRecall",
    "PaidOnce",
    "Retention",
]
