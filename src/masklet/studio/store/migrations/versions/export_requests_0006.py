"""What an export was asked to be, so that it goes on after a restart"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("exports", sa.Column("request", sa.JSON(), nullable=True))
    op.add_column("exports", sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
