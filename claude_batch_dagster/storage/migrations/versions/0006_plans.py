"""What a chunk belongs to, by which money is counted, and what is reserved for it; what runs were expected to cost."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for name in ("definition", "root_run_id", "backfill_id", "budget"):
        op.add_column("chunks", sa.Column(name, sa.Text))
    op.add_column("chunks", sa.Column("reserved_usd", sa.Float))
    op.execute("UPDATE chunks SET reserved_usd = max_cost_usd WHERE state NOT IN ('applied', 'refused')")
    op.create_index("chunks_by_intent", "chunks", ["intended_at"])
    op.create_table(
        "estimates",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("pipeline", sa.Text, primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("n_requests", sa.Integer, nullable=False),
        sa.Column("usd", sa.Float, nullable=False),
        sa.Column("low_usd", sa.Float, nullable=False),
        sa.Column("high_usd", sa.Float, nullable=False),
        sa.Column("basis", sa.String(16), nullable=False),
    )
