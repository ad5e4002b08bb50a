"""By which way a chunk is asked, and until when its rows wait for it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("chunks", sa.Column("lane", sa.String(8), nullable=False, server_default="batch"))
    for name in ("give_up_at", "given_up_at"):
        op.add_column("chunks", sa.Column(name, sa.DateTime))
