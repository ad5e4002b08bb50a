"""Marks that a table remembers too, and when a chunk was first looked for in the API's list."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "marks",
        sa.Column("mark", sa.String(36), primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
    )
    op.add_column("chunks", sa.Column("looked_for_at", sa.DateTime))
