"""The database: opened, brought to the newest schema, and used in transactions."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from masklet.errors import MaskletError

MIGRATIONS = Path(__file__).with_name("migrations")
LOCK_SECONDS = 30  # that a writer waits for another
ID_LETTERS = string.ascii_lowercase + string.digits


class Database:
    """SQLite by path, PostgreSQL by URL, or whatever else SQLAlchemy opens."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        try:
            migrate(self.engine)
        except SQLAlchemyError as error:
            raise MaskletError(f"the database {self.engine.url!r} cannot be used: {error}") from error

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A transaction: all of it, or nothing."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def size(self) -> int:
        """Bytes in use, without the pages that deleted rows left free."""
        with self.engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                pages, free, page = (
                    connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                    for name in ("page_count", "freelist_count", "page_size")
                )
                return int((pages - free) * page)
            return int(connection.scalar(select(func.pg_database_size(func.current_database()))) or 0)

    def close(self) -> None:
        self.engine.dispose()


def new_id() -> str:
    """A random id for a row."""
    return "".join(secrets.choice(ID_LETTERS) for _ in range(12))


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring an old or empty database to a schema; by default the newest."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _engine(url: str) -> Engine:
    try:
        if url.startswith("postgresql://"):
            url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        if not url.startswith("sqlite"):
            return create_engine(url, pool_pre_ping=True, pool_size=20)
        engine = create_engine(url, pool_size=20, connect_args={"timeout": LOCK_SECONDS})
    except (ArgumentError, ModuleNotFoundError) as error:
        raise MaskletError(
            f"{url} is not a database that can be opened: {error}. "
            f"Give sqlite:///PATH or postgresql://USER@HOST/NAME, which needs pip install 'psycopg[binary]'."
        ) from error
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    # The write-ahead log lets readers read while the worker writes; NORMAL survives a killed process.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
