"""Projects as jobs: classes, a model, states and people of files, comments, an audit, exports of projects"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("projects", sa.Column("model", sa.String(length=300), nullable=True))
    op.add_column("projects", sa.Column("classes", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("videos", sa.Column("review", sa.String(length=10), nullable=True))
    for name in ("assignee", "reviewer"):
        op.add_column("videos", sa.Column(name, sa.String(length=100), server_default="", nullable=False))
    op.create_table(
        "comments",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("video", sa.String(length=16), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("object", sa.Integer(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("resolved", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("person", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["video"], ["videos.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["person"], ["people.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_comments_video", "comments", ["video"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.String(length=16), nullable=False),
        sa.Column("video", sa.String(length=255), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("person", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["person"], ["people.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_project", "audit", ["project"])
    with op.batch_alter_table("exports") as exports:
        exports.alter_column("video", existing_type=sa.String(length=16), nullable=True)
        exports.add_column(sa.Column("project", sa.String(length=16), nullable=True))
        exports.add_column(sa.Column("notes", sa.JSON(none_as_null=True), nullable=True))
        exports.create_foreign_key("exports_project", "projects", ["project"], ["id"], ondelete="CASCADE")
    op.create_index("ix_exports_project", "exports", ["project"])
