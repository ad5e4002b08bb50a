"""When a chunk was first looked for in the API's list."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("chunks", sa.Column("looked_for_at", sa.DateTime))
