"""Keep when it was known that a build will fail"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("builds", sa.Column("failing", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("builds", "failing")
