"""What a person can tell one run, in the Launchpad or in the run config of a job."""

from dataclasses import replace

import dagster as dg
from pydantic import Field

from claude_batch_dagster.core.planning.settings import RunSettings


class SubmissionConfig(dg.Config):
    """What a run that only submits can be told."""

    dry_run: bool = Field(
        default=False,
        description="Only show what would be sent, why, and what it would cost. Nothing is sent, and no table changed.",
    )
    confirm_repay: bool = Field(
        default=False,
        description="Go on although rows with an answer are paid for again, for more than confirm_repay_usd.",
    )
    full_refresh: bool = Field(
        default=False,
        description="Ask every row again, also those with an answer, which are all paid for again. Re-executing such a "
        "run takes up where it stopped.",
    )
    retry_final: bool = Field(
        default=False,
        description="Ask rows once more whose failures are final: refused, or twice truncated or invalid.",
    )

    def settings(self, root_run_id: str) -> RunSettings:
        """Return the same for the engine; a run that repeats another has the root of that one."""
        return RunSettings(
            confirm_repay=self.confirm_repay,
            refresh=root_run_id if self.full_refresh else None,
            retry_final=self.retry_final,
        )


class RunConfig(SubmissionConfig):
    """What a run of the asset can be told."""

    limit: int | None = Field(
        default=None,
        description="Ask at most so many questions, the first ones, to look at their answers. The other rows are "
        "blocked, and go with the next run.",
    )
    only_keys: list[str] = Field(
        default=[],
        description="Send only the rows with these keys, written as text; with several key columns each as a JSON "
        "list. Other rows without an answer are blocked, and go with the next run.",
    )

    def settings(self, root_run_id: str) -> RunSettings:
        """Return the same for the engine; a run that repeats another has the root of that one."""
        return replace(super().settings(root_run_id), limit=self.limit, only_keys=self.only_keys)


class TrialConfig(dg.Config):
    """What a run of a trial can be told."""

    dry_run: bool = Field(
        default=False,
        description="Only show what would be sent for each candidate, and what it would cost. Nothing is sent, and no "
        "table changed.",
    )
