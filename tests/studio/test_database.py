"""The database: SQLite and PostgreSQL hold the same; migrations make what the tables say."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from masklet.errors import MaskletError
from masklet.studio.store.database import Database
from masklet.studio.store.tables import Table
from studio.small import LENGTH, Caller, make_studio
from studio.test_session import assert_is_the_session


def test_postgres_holds_what_sqlite_holds(postgres: str, tmp_path: Path) -> None:
    with Caller(make_studio(tmp_path, database=postgres)) as caller:
        video = caller.video()
        caller.click(video)
        caller.follow(video)
        caller.click(video, 3, x=40)
        caller.post(f"{video}/undo")
        caller.post(f"{video}/redo")
        caller.follow(video, scope="affected")
        caller.ask("PUT", f"{video}/reviewed", json={"start": 0, "stop": 2, "reviewed": True})
        assert caller.get(f"{video}/strips?bins=3")["objects"][0]["absent"] == [0, 0, 0]
        assert_is_the_session(caller, video, tmp_path)
        before = caller.get(video), caller.masks(video)
    with Caller(make_studio(tmp_path, database=postgres)) as again:
        assert (again.get(video), again.masks(video)) == before
        assert before[0]["tracked"] == {"1": [[0, LENGTH]]}
        again.ask("DELETE", video)
        again.get(video, status=404)
        # PostgreSQL's texts have no zero character.
        refusal = again.get("/videos/%00", status=422)
        assert refusal["message"] == "The request contains a text or number that cannot be stored."


def assert_as_the_tables_say(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Table.metadata) == []


def test_migrations_make_the_tables(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    assert_as_the_tables_say(database)
    database.close()


def test_migrations_make_the_tables_of_postgres(postgres: str) -> None:
    database = Database(postgres)
    assert_as_the_tables_say(database)
    database.close()


@pytest.mark.parametrize("url", ["nonsense", "oracle://nowhere/x", "sqlite:////no/such/folder/x.db"])
def test_databases_that_cannot_be_used(url: str) -> None:
    with pytest.raises(MaskletError, match="database"):
        Database(url)
