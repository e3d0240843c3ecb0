"""Starts with a database that is half-migrated, newer, locked or damaged; and backups."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from masklet.errors import MaskletError
from masklet.studio.store import database as database_module
from masklet.studio.store.database import Database, migrate
from masklet.studio.store.tables import Project, Table
from studio.test_database import assert_as_the_tables_say

FIRST = "0001"


def open_database(folder: Path) -> Database:
    return Database(f"sqlite:///{folder / 'studio.db'}", folder / "backups")


def execute(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "studio.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def make_old(folder: Path) -> None:
    """A database of the first schema, with a project in it."""
    database = Database.__new__(Database)
    database.engine = database_module._create_engine(f"sqlite:///{folder / 'studio.db'}")
    migrate(database.engine, FIRST)
    database.engine.dispose()
    execute(folder, "INSERT INTO projects VALUES ('p1', 'dogs', 'recency', '2026-01-01 00:00:00')")


def names(database: Database) -> list[str]:
    with database.begin() as session:
        return [project.name for project in session.query(Project)]


@pytest.mark.parametrize("tables", range(1, len(Table.metadata.sorted_tables) + 1))
def test_a_first_migration_that_was_cut_short_is_repaired(tmp_path: Path, tables: int) -> None:
    open_database(tmp_path).close()
    left = [table.name for table in Table.metadata.sorted_tables[:tables]]
    others = [table.name for table in Table.metadata.sorted_tables[tables:]]
    execute(tmp_path, "DELETE FROM alembic_version", *(f"DROP TABLE {name}" for name in reversed(others)))
    assert left
    database = open_database(tmp_path)
    assert_as_the_tables_say(database)
    database.close()


def test_rows_without_a_schema_number_are_left_alone(tmp_path: Path) -> None:
    make_old(tmp_path)
    execute(tmp_path, "DELETE FROM alembic_version")
    with pytest.raises(MaskletError, match="restore a backup"):
        open_database(tmp_path)
    with closing(sqlite3.connect(tmp_path / "studio.db")) as connection:
        assert connection.execute("SELECT name FROM projects").fetchall() == [("dogs",)]


def test_a_later_migration_that_was_cut_short_is_repaired(tmp_path: Path) -> None:
    make_old(tmp_path)
    execute(tmp_path, "ALTER TABLE results ADD COLUMN anchor BOOLEAN DEFAULT 0 NOT NULL")
    database = open_database(tmp_path)
    assert_as_the_tables_say(database)
    assert names(database) == ["dogs"]
    database.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(tmp_path)
    before = (tmp_path / "studio.db").read_bytes()

    def fail(*arguments: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("alembic.runtime.migration.HeadMaintainer.update_to_step", fail)
    with pytest.raises(RuntimeError):
        open_database(tmp_path)
    assert (tmp_path / "studio.db").read_bytes() == before
    monkeypatch.undo()
    database = open_database(tmp_path)
    assert names(database) == ["dogs"]
    database.close()


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True])
def test_killed_at_any_moment_it_opens_again(tmp_path: Path, old: bool) -> None:
    """The process is killed while it migrates: the next start has all tables and rows."""
    program = (
        "import sys; from pathlib import Path; from studio.test_database_start import open_database;"
        "print('ready', flush=True); sys.stdin.readline(); open_database(Path(sys.argv[1]))"
    )
    generator = random.Random(0)
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        if old:
            make_old(folder)
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(generator.uniform(0, 0.25))
        process.kill()
        process.communicate()
        database = open_database(folder)
        assert_as_the_tables_say(database)
        assert names(database) == (["dogs"] if old else [])
        database.close()


def test_a_newer_database_is_refused_in_a_sentence(tmp_path: Path) -> None:
    open_database(tmp_path).close()
    execute(tmp_path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(MaskletError, match=r"newer version of masklet.*Update masklet"):
        open_database(tmp_path)


def test_a_locked_database_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(tmp_path).close()
    monkeypatch.setattr(database_module, "LOCK_SECONDS", 0.2)
    with closing(sqlite3.connect(tmp_path / "studio.db")) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(MaskletError, match="locked by another program"):
            open_database(tmp_path)


@pytest.mark.parametrize("damage", ["pages", "header", "text"])
def test_a_damaged_database_is_refused_in_a_sentence(tmp_path: Path, damage: str) -> None:
    open_database(tmp_path).close()
    path = tmp_path / "studio.db"
    content = bytearray(path.read_bytes())
    if damage == "pages":
        for page in range(1, len(content) // 4096):
            content[page * 4096 : page * 4096 + 40] = bytes(range(40))
    elif damage == "header":
        content[:100] = bytes(100)
    else:
        content = bytearray(b"this is no database" * 1000)
    path.write_bytes(content)
    with pytest.raises(MaskletError, match=r"damaged.*restore a backup"):
        open_database(tmp_path)


def test_a_backup_is_made_before_a_migration(tmp_path: Path) -> None:
    make_old(tmp_path)
    open_database(tmp_path).close()
    (backup,) = (tmp_path / "backups").glob("studio-*-before-*.db")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT name FROM projects").fetchall() == [("dogs",)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(FIRST,)]
    open_database(tmp_path).close()  # nothing to migrate: no further backup
    assert list((tmp_path / "backups").iterdir()) == [backup]


def test_a_daily_backup_can_be_restored(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    with database.begin() as session:
        session.add(Project(id="p1", name="dogs", policy="recency"))
    database.back_up_daily()
    for day in range(1, 9):
        (tmp_path / "backups" / f"studio-2020-01-0{day}.db").touch()
    with database.begin() as session:
        session.add(Project(id="p2", name="cats", policy="recency"))
    database.back_up_daily()  # there is one of today
    database.close()
    (backup,) = (path for path in (tmp_path / "backups").iterdir() if "2020" not in path.name)
    for path in tmp_path.glob("studio.db*"):
        path.unlink()
    backup.rename(tmp_path / "studio.db")
    restored = open_database(tmp_path)
    assert names(restored) == ["dogs"]
    restored.back_up_daily()
    assert len(list((tmp_path / "backups").glob("studio-????-??-??.db"))) == 3
    restored.close()
