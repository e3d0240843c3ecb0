"""The channel of a TIFF that a video shows"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("videos", sa.Column("channel", sa.Integer(), nullable=True))
