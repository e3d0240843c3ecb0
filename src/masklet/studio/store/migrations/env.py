"""How Alembic reaches the database: through the connection that `database.migrate` hands over."""

from alembic import context

from masklet.studio.store.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,  # SQLite changes a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
