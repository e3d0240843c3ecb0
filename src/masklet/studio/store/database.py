"""The database: checked and migrated to the newest schema at the start, and backed up daily."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sqlite3
import string
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from masklet.errors import MaskletError
from masklet.studio.store.tables import Table

MIGRATIONS = Path(__file__).with_name("migrations")
LOCK_SECONDS = 30  # maximum time that a writer waits for another
ID_LETTERS = string.ascii_lowercase + string.digits
DAILY_BACKUPS = 3  # number of kept daily backups
MIGRATION_BACKUPS = 3
FORMER_TABLES = ("knowledge",)  # names of tables in earlier schemas
ADVISORY_LOCK = 0x6D61736B  # PostgreSQL's lock of the studio that uses the database
HOW_TO_RESTORE = "docs/studio.md says how to restore a backup"

log = logging.getLogger(__name__)


class Database:
    """SQLite by path, PostgreSQL by URL, or whatever else SQLAlchemy opens.

    Args:
        backups: A folder for copies of an SQLite database; None for none.
    """

    def __init__(self, url: str, backups: Path | None = None) -> None:
        self.engine = _create_engine(url)
        self._backups = backups
        self._path = _sqlite_path(self.engine)
        self._advisory: Connection | None = None
        try:
            self._lock_postgres()
            self._check()
            self._migrate()
        except (SQLAlchemyError, sqlite3.Error, CommandError) as error:
            self.close()
            raise MaskletError(_start_message(self._name, error)) from error
        except MaskletError:
            self.close()
            raise

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """A transaction."""
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

    def back_up_daily(self) -> None:
        """Copy an SQLite database once a day, and remove the oldest copies."""
        if self._path is None or self._backups is None:
            return
        today = self._backups / f"{self._path.stem}-{datetime.now(UTC):%Y-%m-%d}.db"
        if not today.exists():
            self._back_up(today)
            dailies = sorted(self._backups.glob(f"{self._path.stem}-????-??-??.db"))
            for old in dailies[:-DAILY_BACKUPS]:
                old.unlink(missing_ok=True)

    def close(self) -> None:
        if self._advisory is not None:
            self._advisory.close()
        self.engine.dispose()

    @property
    def _name(self) -> str:
        return self._path.name if self._path is not None else self.engine.url.render_as_string()

    def _lock_postgres(self) -> None:
        """Raise for a PostgreSQL database that another studio uses. For SQLite, the data folder has a lock
        file."""
        if self.engine.dialect.name == "postgresql":
            self._advisory = self.engine.connect()
            if not self._advisory.scalar(select(func.pg_try_advisory_lock(ADVISORY_LOCK))):
                raise MaskletError(
                    f"another studio is using the database {self._name}. Stop it, or choose another "
                    "--database."
                )
            self._advisory.commit()  # the lock is the connection's, not the transaction's

    def _check(self) -> None:
        """Raise for a damaged SQLite database, which would otherwise be served without an error."""
        if self._path is None or not self._path.exists():
            return
        with self.engine.connect() as connection:
            faults = connection.exec_driver_sql("PRAGMA quick_check(1)").scalars().all()
        if faults != ["ok"]:
            raise MaskletError(
                f"the database {self._name} is damaged ({' '.join(faults[0].split())}). {HOW_TO_RESTORE}."
            )

    def _migrate(self) -> None:
        with self.engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        newest = ScriptDirectory.from_config(_alembic_config()).get_current_head()
        if current is not None and current != newest and self._path and self._backups:
            name = f"{self._path.stem}-{datetime.now(UTC):%Y-%m-%d-%H%M%S}-before-{newest}.db"
            self._back_up(self._backups / name)
            for old in sorted(self._backups.glob(f"{self._path.stem}-*-before-*.db"))[:-MIGRATION_BACKUPS]:
                old.unlink(missing_ok=True)
        migrate(self.engine)

    def _back_up(self, target: Path) -> None:
        """Copy a consistent snapshot of the database; writers do not wait."""
        assert self._path is not None
        target.parent.mkdir(parents=True, exist_ok=True)
        needed = self._path.stat().st_size
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            raise MaskletError(
                f"a backup of the database needs {needed >> 20} MiB, but only {free >> 20} MiB are free. "
                f"Free some space, or remove old files from {target.parent.name}."
            )
        part = target.with_name(f"{target.name}.part")
        part.unlink(missing_ok=True)
        try:
            with (
                closing(sqlite3.connect(self._path, timeout=LOCK_SECONDS)) as source,
                closing(sqlite3.connect(part)) as copy,
            ):
                source.backup(copy)
            with part.open("rb+") as written:
                os.fsync(written.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def new_id() -> str:
    """A random id for a row."""
    return "".join(secrets.choice(ID_LETTERS) for _ in range(12))


def migrate(engine: Engine, revision: str = "head") -> None:
    """Migrate an old or empty database to a schema, completely or not at all.

    Args:
        engine: SQLAlchemy's.
        revision: Of the schema; by default the newest.

    Raises:
        MaskletError: The database has rows and no schema number.
    """
    config = _alembic_config()
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "BEGIN IMMEDIATE"
            )  # Python's driver starts no transaction for CREATE TABLE
            _remove_half_made_tables(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _remove_half_made_tables(connection: Connection) -> None:
    """Repair a database without a schema number: earlier versions of masklet could be killed that early."""
    if MigrationContext.configure(connection).get_current_revision() is not None:
        return
    existing = set(inspect(connection).get_table_names())
    names = [*FORMER_TABLES, *(table.name for table in reversed(Table.metadata.sorted_tables))]
    tables = [name for name in names if name in existing]
    for name in tables:
        if connection.scalar(text(f'SELECT count(*) FROM "{name}"')):
            raise MaskletError(
                f"the database has no schema version, but the table {name} has rows. {HOW_TO_RESTORE}."
            )
    for name in tables:
        connection.exec_driver_sql(f'DROP TABLE "{name}"')


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _start_message(name: str, error: Exception) -> str:
    """Why a database cannot be used, and what to do."""
    reason = str(getattr(error, "orig", None) or error)
    if isinstance(error, CommandError):
        return (
            f"the database {name} was made by a newer version of masklet ({reason}). "
            "Update masklet, or choose another --data folder."
        )
    if "locked" in reason or "busy" in reason:
        return (
            f"the database {name} has been locked by another program for {LOCK_SECONDS} seconds. "
            "Close that program, then start the studio again."
        )
    if "malformed" in reason or "not a database" in reason or "I/O error" in reason:
        return f"the database {name} is damaged ({reason}). {HOW_TO_RESTORE}."
    return f"the database {name} cannot be used: {reason}."


def _sqlite_path(engine: Engine) -> Path | None:
    """The file of an SQLite database."""
    name = engine.url.database
    return Path(name) if engine.dialect.name == "sqlite" and name and name != ":memory:" else None


def _create_engine(url: str) -> Engine:
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
