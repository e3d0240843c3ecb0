"""Plain names: a step has fields, and a result has parts"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.rename_table("knowledge", "result_parts")
    op.execute("ALTER TABLE steps RENAME COLUMN said TO fields")
