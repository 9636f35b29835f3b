"""Keep what the pipelines hold: queues, items on top of others, semaphores, commands, reports to be made"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def _json(name: str, default: str | None = "[]") -> sa.Column[Any]:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), server_default=default, nullable=default is None)


def _moment(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True))


def _flag(name: str, default: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), server_default=default, nullable=False)


def upgrade() -> None:
    for column in (_json("changes"), _flag("live", "true"), _json("state", None)):
        op.add_column("items", column)
    buildset = (_json("ahead"), _json("changes"), _flag("takes_part", "true"), _json("comments"), sa.Column("flow_run", sa.String()))
    for column in (*buildset, _moment("prepared"), _moment("ended"), sa.Column("result", sa.String(), server_default="", nullable=False)):
        op.add_column("buildsets", column)
    op.execute("update buildsets set prepared = created, ended = items.dequeued from items where items.id = buildsets.item")
    op.create_index("ix_buildsets_live", "buildsets", ["item"], postgresql_where=sa.text("ended IS NULL"))
    op.create_index("ix_buildsets_flow_run", "buildsets", ["flow_run"])
    given_up = sa.text("ended IS NOT NULL AND result = ''")
    op.create_index("ix_buildsets_given_up", "buildsets", ["flow_run"], postgresql_where=given_up)
    op.add_column("builds", sa.Column("position", sa.Integer(), server_default="0", nullable=False))
    op.add_column("builds", _moment("cancelled"))
    op.drop_constraint("uq_builds_buildset_job_round_attempt", "builds")
    op.create_unique_constraint(
        "uq_builds_buildset_job_position_round_attempt", "builds", ["buildset", "job", "position", "round", "attempt"]
    )
    op.add_column("reports", sa.Column("sequence", sa.BigInteger(), sa.Identity(), nullable=False))
    op.create_unique_constraint("uq_reports_sequence", "reports", ["sequence"])
    for column in (_json("change", None), _json("reporters"), _flag("answer", "false"), _flag("by_flow", "false")):
        op.add_column("reports", column)
    op.create_index("ix_reports_unsent", "reports", ["sequence"], postgresql_where=sa.text("sent IS NULL"))
    op.create_table(
        "pipelines",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("pipeline", sa.String(), nullable=False),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "pipeline", name="pk_pipelines"),
    )
    op.create_table(
        "semaphores",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("holders", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_semaphores"),
    )
    op.create_table(
        "commands",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("tenant", "pipeline", "kind")),
        _json("changes"),
        sa.Column("item", sa.String(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        _moment("handled"),
        sa.Column("outcome", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_commands"),
        sa.UniqueConstraint("sequence", name="uq_commands_sequence"),
    )
    op.create_index("ix_commands_new", "commands", ["sequence"], postgresql_where=sa.text("handled IS NULL"))


def downgrade() -> None:
    for table in ("commands", "semaphores", "pipelines"):
        op.drop_table(table)
    op.drop_index("ix_reports_unsent", "reports")
    for column in ("by_flow", "answer", "reporters", "change", "sequence"):
        op.drop_column("reports", column)
    op.drop_constraint("uq_builds_buildset_job_position_round_attempt", "builds")
    op.drop_column("builds", "cancelled")
    op.drop_column("builds", "position")
    op.create_unique_constraint("uq_builds_buildset_job_round_attempt", "builds", ["buildset", "job", "round", "attempt"])
    op.drop_index("ix_buildsets_given_up", "buildsets")
    op.drop_index("ix_buildsets_flow_run", "buildsets")
    op.drop_index("ix_buildsets_live", "buildsets")
    for column in ("result", "ended", "prepared", "flow_run", "comments", "takes_part", "changes", "ahead"):
        op.drop_column("buildsets", column)
    for column in ("state", "live", "changes"):
        op.drop_column("items", column)
