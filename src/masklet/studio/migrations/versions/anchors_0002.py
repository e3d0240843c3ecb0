"""Results whose memories are anchors"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("results", sa.Column("anchor", sa.Boolean(), server_default=sa.false(), nullable=False))
