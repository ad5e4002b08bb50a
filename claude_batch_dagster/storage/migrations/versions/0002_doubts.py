"""What a chunk can cost, when its rows were set free, and where the ledger lives."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("chunks", sa.Column("max_cost_usd", sa.Float))
    op.add_column("chunks", sa.Column("set_free_at", sa.DateTime))
    op.add_column("identity", sa.Column("home", sa.Text))
    # Those set free so far; the time of their last move is in the events.
    op.execute(
        "UPDATE chunks SET set_free_at = (SELECT max(at) FROM events WHERE events.chunk_id = chunks.chunk_id "
        "AND events.state = 'unseen')"
    )
