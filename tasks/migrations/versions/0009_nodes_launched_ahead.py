"""Remember which nodes were launched ahead of any request"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("ahead", sa.Boolean(), nullable=False, server_default="false"))
    op.execute("UPDATE nodes SET ahead = true WHERE request = ''")


def downgrade() -> None:
    op.drop_column("nodes", "ahead")
