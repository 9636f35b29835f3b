"""Keep what happened to nodes, which are held until when, and whose next failure holds its nodes"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def _name(name: str, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.String(), server_default=default, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default="", nullable=False)


def _moment(name: str, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)  # type: ignore[arg-type]  # as SQLAlchemy's own examples


def upgrade() -> None:
    op.add_column("nodes", _moment("hold_until"))
    op.create_table(
        "node_history",
        *(_name("id"), _name("label"), _name("provider"), _moment("created", False), _moment("up"), _moment("ended"), _text("failed")),
        sa.PrimaryKeyConstraint("id", name="pk_node_history"),
    )
    op.create_index("ix_node_history_created", "node_history", ["created"])
    op.create_table(
        "autoholds",
        *(_name("id"), _name("tenant"), _name("project"), _name("job"), _name("change", "")),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("hold_seconds", sa.Integer(), nullable=False),
        *(_text("reason"), _moment("created", False), _moment("expires")),
        sa.PrimaryKeyConstraint("id", name="pk_autoholds"),
    )


def downgrade() -> None:
    op.drop_table("autoholds")
    op.drop_table("node_history")
    op.drop_column("nodes", "hold_until")
