"""Alembic's entry: runs the migrations on the connection it is handed (see `tasks.database`)."""

from alembic import context

from tasks.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
