"""Rows whose document has another question by now, or none."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("rows", sa.Column("withdrawn", sa.Boolean, nullable=False, server_default=sa.false()))
