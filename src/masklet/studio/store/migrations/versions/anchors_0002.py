"""Results whose memories are anchors"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("results")}
    if "anchor" in columns:
        return  # an earlier version was killed between this change and its number
    op.add_column("results", sa.Column("anchor", sa.Boolean(), server_default=sa.false(), nullable=False))
