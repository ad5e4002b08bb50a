"""The task of one asset: what is asked, of which rows, and where the answers go."""

from dataclasses import dataclass, field

from claude_batch_dagster.core.asking.requests import RequestBuilder
from claude_batch_dagster.core.asking.upstream import Upstream
from claude_batch_dagster.core.collecting.output_schema import OutputSchema
from claude_batch_dagster.core.planning.spending import Spending
from claude_batch_dagster.core.tables import TableName


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an asset asks of which rows, and where the answers go."""

    target: TableName
    upstream: Upstream
    builder: RequestBuilder
    schema: OutputSchema
    max_attempts: int = 3
    """How often a row is asked in one run, if its failures cost nothing."""
    spending: Spending = field(default_factory=Spending)

    @property
    def pipeline(self) -> str:
        """The name under which the ledger keeps the chunks of this table."""
        return str(self.target)
