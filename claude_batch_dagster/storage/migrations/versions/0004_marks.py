"""Marks that a table remembers too, by which a ledger from a backup is known."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "marks",
        sa.Column("mark", sa.String(36), primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
    )
