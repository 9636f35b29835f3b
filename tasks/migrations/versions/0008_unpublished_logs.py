"""Keep which builds' logs are still to be published"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("builds", sa.Column("unpublished", sa.DateTime(timezone=True)))
    op.create_index("ix_builds_unpublished", "builds", ["unpublished"], postgresql_where=sa.text("unpublished IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("ix_builds_unpublished", "builds")
    op.drop_column("builds", "unpublished")
