"""Keep images: their builds, uploads, and the nodes started from them"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), server_default="", nullable=False)


def _name(name: str, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.String(), server_default=default, nullable=False)


def _moment(name: str, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "image_builds",
        *(_name("id"), _name("image"), _name("state"), _moment("created", False), _moment("ended")),
        sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        *(_text("message"), _name("flow_run", "")),
        sa.PrimaryKeyConstraint("id", name="pk_image_builds"),
    )
    op.create_index("ix_image_builds_image", "image_builds", ["image"])
    op.create_table(
        "image_uploads",
        *(_name("id"), _name("build"), _name("image"), _name("provider"), _name("format"), _name("state")),
        *(_moment("created", False), _moment("promoted"), _name("external_id", ""), _text("message")),
        sa.PrimaryKeyConstraint("id", name="pk_image_uploads"),
        sa.ForeignKeyConstraint(["build"], ["image_builds.id"], name="fk_image_uploads_build", ondelete="CASCADE"),
        sa.UniqueConstraint("build", "provider", name="uq_image_uploads_build_provider"),
    )
    op.create_index("ix_image_uploads_image", "image_uploads", ["image"])
    op.create_table(
        "image_boots",
        *(_name("node"), _name("upload"), _moment("created", False), _moment("ended"), _text("failed")),
        sa.PrimaryKeyConstraint("node", name="pk_image_boots"),
        sa.ForeignKeyConstraint(["upload"], ["image_uploads.id"], name="fk_image_boots_upload", ondelete="CASCADE"),
    )
    op.create_index("ix_image_boots_upload", "image_boots", ["upload"])
    op.create_table("image_pauses", _name("image"), _moment("since", False), sa.PrimaryKeyConstraint("image", name="pk_image_pauses"))


def downgrade() -> None:
    for table in ("image_pauses", "image_boots", "image_uploads", "image_builds"):
        op.drop_table(table)
