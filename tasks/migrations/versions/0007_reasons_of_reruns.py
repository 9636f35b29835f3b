"""Keep why a build runs again"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("builds", sa.Column("reason", sa.Text(), nullable=False, server_default="", comment="why it runs again"))


def downgrade() -> None:
    op.drop_column("builds", "reason")
