"""The size of a pixel in the sample, as a person gave it"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("videos", sa.Column("pixel_size", sa.String(100), nullable=True))
