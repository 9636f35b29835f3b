"""Let a command be about branches and tags"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("commands", sa.Column("refs", JSONB(), nullable=False, server_default="[]"))


def downgrade() -> None:
    op.drop_column("commands", "refs")
