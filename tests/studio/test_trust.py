"""Nothing is lost, and nothing that goes wrong is more than a sentence: locks, races, disks, files."""

from __future__ import annotations

import errno
import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from masklet.errors import MaskletError
from masklet.studio.errors import public_message
from masklet.studio.exports import Exports
from masklet.studio.settings import Limits
from masklet.studio.store.database import Database
from masklet.studio.store.uploads import Uploads
from studio.small import LENGTH, Caller, make_clip, make_studio


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """What the server logged as its own mistakes; nothing may be there in the end."""
    with caplog.at_level(logging.ERROR):
        yield caplog.records
    assert not caplog.records, caplog.text


def upload(caller: Caller, project: str, content: bytes, name: str = "a.mp4") -> Any:
    return caller.client.post(f"/api/projects/{project}/uploads", files={"file": (name, content)})


def project(caller: Caller) -> str:
    return str(caller.post("/projects", {"name": "tests"})["id"])


# One server a data folder


def test_a_second_server_on_a_data_folder_is_refused(tmp_path: Path) -> None:
    with Caller(make_studio(tmp_path)) as caller:
        with pytest.raises(MaskletError, match=rf"another studio \(process {os.getpid()}\).*--data"):
            make_studio(tmp_path)
        caller.video()
    with Caller(make_studio(tmp_path)) as again:
        assert len(again.get("/projects")["projects"]) == 1


def test_the_studio_starts_where_python_has_no_fcntl_and_no_resource(tmp_path: Path) -> None:
    """As on Windows, whose processes are spawned and not forked."""
    program = (
        "import multiprocessing, sys; sys.modules['fcntl'] = sys.modules['resource'] = None;"
        "multiprocessing.get_all_start_methods = lambda: ['spawn'];"
        "from pathlib import Path; import masklet.studio.app; from masklet.studio.inference import decoder;"
        "from masklet.studio.store.storage import DataFolderLock; decoder._limit_resources(2**30);"
        "decoder.start_fork_server(); DataFolderLock(Path(sys.argv[1])).close(); print(decoder._START)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "spawn\n"


def test_a_killed_server_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from masklet.studio.store.storage import DataFolderLock;"
        "lock = DataFolderLock(Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    )
    (tmp_path / "data").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "data")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"locked\n"
    with pytest.raises(MaskletError, match=f"process {process.pid}"):
        make_studio(tmp_path)
    process.kill()
    process.communicate()
    make_studio(tmp_path).close()


# Races


@pytest.mark.parametrize("action", ["open", "upload", "click", "follow", "delete", "rename", "export"])
def test_a_project_that_is_deleted_meanwhile(
    tmp_path: Path, action: str, errors: list[logging.LogRecord]
) -> None:
    clip = make_clip(tmp_path / "sent.mp4").read_bytes()
    with Caller(make_studio(tmp_path)) as caller, ThreadPoolExecutor(8) as pool:
        for delay in (0.0, 0.02, 0.1):
            video = caller.video()
            caller.click(video)
            owner = caller.get(video)["project"]
            address = f"/api/projects/{owner}"
            acts: dict[str, Callable[[], Any]] = {
                "open": lambda address=address: caller.client.post(
                    f"{address}/videos", json={"path": "one.png"}
                ),
                "upload": lambda owner=owner: upload(caller, owner, clip),
                "click": lambda video=video: caller.client.post(
                    f"/api{video}/prompts", json={"frame": 2, "object": 1, "positive": [[20, 24]]}
                ),
                "follow": lambda video=video: caller.client.post(f"/api{video}/propagation", json={}),
                "delete": lambda address=address: caller.client.delete(address),
                "rename": lambda video=video: caller.client.patch(f"/api{video}", json={"name": "b"}),
                "export": lambda video=video: caller.client.post(
                    f"/api{video}/exports", json={"format": "coco"}
                ),
            }
            answers = [pool.submit(acts[action]) for _ in range(3)]
            time.sleep(delay)
            answers.append(pool.submit(acts["delete"]))
            statuses = [answer.result().status_code for answer in answers]
            assert all(status < 500 for status in statuses), statuses
            caller.get(f"/projects/{owner}", status=404)
        assert list(caller.studio.settings.uploads.iterdir()) == []


def test_a_project_that_is_deleted_while_its_video_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[logging.LogRecord]
) -> None:
    clip = make_clip(tmp_path / "sent.mp4").read_bytes()
    with Caller(make_studio(tmp_path)) as caller:
        for send in ("upload", "open"):
            owner = project(caller)
            add = Uploads._add

            def delete_first(self: Uploads, *arguments: Any, **options: Any) -> None:
                caller.studio.delete_project(owner)  # noqa: B023
                add(self, *arguments, **options)  # noqa: B023

            monkeypatch.setattr(Uploads, "_add", delete_first)
            if send == "upload":
                answer = upload(caller, owner, clip)
            else:
                answer = caller.client.post(f"/api/projects/{owner}/videos", json={"path": "one.png"})
            monkeypatch.undo()
            assert (answer.status_code, answer.json()["error"]) == (404, "missing")
        assert list(caller.studio.settings.uploads.iterdir()) == []
        assert list(caller.studio.settings.spool.iterdir()) == []


# Full disks and long locks


@pytest.mark.parametrize("where", ["database", "upload"])
def test_a_full_disk_is_507(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, errors: list[logging.LogRecord]
) -> None:
    clip = make_clip(tmp_path / "sent.mp4").read_bytes()
    with Caller(make_studio(tmp_path)) as caller:
        video = caller.video()
        caller.click(video)
        owner = caller.get(video)["project"]
        before = caller.get(video)
        if where == "database":
            with caller.studio.database.engine.connect() as connection:
                pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            monkeypatch.setattr(
                "masklet.studio.store.database.Database.begin", limited(caller.studio.database, pages)
            )
            calls = [
                ("POST", f"{video}/prompts", {"frame": 0, "object": 1, "positive": [[30, 30]]}),
                ("POST", f"{video}/objects", {"name": "x" * 100}),
                ("POST", "/projects", {"name": "x" * 100}),
            ]
            full = []
            for _ in range(60):
                full += [
                    caller.client.request(method, f"/api{path}", json=body) for method, path, body in calls
                ]
                if len([answer for answer in full if answer.status_code == 507]) > 3:
                    break
            assert {answer.status_code for answer in full if not answer.is_success} == {507}
            assert all("disk is full" in answer.json()["message"] for answer in full if not answer.is_success)
        else:

            def no_room(*arguments: object) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            monkeypatch.setattr("masklet.studio.store.uploads.Form._add_data", no_room)
            answer = upload(caller, owner, clip)
            assert (answer.status_code, answer.json()["error"]) == (507, "limit")
            answer = caller.client.post(
                "/api/image", files={"image": ("a.png", clip)}, data={"prompts": "{}"}
            )
            assert answer.status_code == 507
        monkeypatch.undo()
        if where == "upload":
            assert caller.get(video) == before
        caller.click(video, 1)
        assert list(caller.studio.settings.spool.iterdir()) == []


def limited(database: Database, pages: int) -> Callable[..., Any]:
    """`Database.begin` on a disk on which the database cannot grow."""
    begin = Database.begin

    def begin_limited(self: Database) -> Any:
        context = begin(self)
        session = context.__enter__()
        session.connection().exec_driver_sql(f"PRAGMA max_page_count={pages}")

        class Limited:
            def __enter__(self) -> Any:
                return session

            def __exit__(self, *error: Any) -> Any:
                try:
                    return context.__exit__(*error)
                finally:
                    with database.engine.connect() as connection:
                        connection.exec_driver_sql("PRAGMA max_page_count=1000000")

        return Limited()

    return begin_limited


def test_an_export_on_a_full_disk_fails_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[logging.LogRecord]
) -> None:
    def no_room(*arguments: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("masklet.studio.exports.Exports._write", no_room)
    with Caller(make_studio(tmp_path)) as caller:
        video = caller.video()
        caller.click(video)
        state = caller.export(video, format="coco")
        assert state["state"] == "failed" and "disk is full" in state["message"]
        assert list(caller.studio.settings.exports.iterdir()) == []


def test_an_export_whose_failure_finds_no_place_is_not_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such exports would fill the queue until the server is started again."""
    save = Exports._save

    def full(*arguments: object, **values: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Caller(make_studio(tmp_path, limits=replace(Limits(), exports=1))) as caller:
        video = caller.video()
        caller.click(video)
        monkeypatch.setattr(Exports, "_save", full)
        state = caller.export(video, format="coco")
        assert state["state"] == "failed" and "disk is full" in state["message"]
        monkeypatch.setattr(Exports, "_save", save)
        assert caller.export(video, format="coco")["state"] == "finished"
        assert caller.get(f"/exports/{state['id']}")["state"] == "failed"


def test_a_long_lock_is_503_and_maintenance_survives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[logging.LogRecord]
) -> None:
    monkeypatch.setattr("masklet.studio.store.database.LOCK_SECONDS", 0.1)
    monkeypatch.setattr("masklet.studio.app.MAINTENANCE_SECONDS", 0.05)
    with Caller(make_studio(tmp_path)) as caller:
        with closing(sqlite3.connect(tmp_path / "data" / "studio.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = caller.client.post("/api/projects", json={"name": "a"})
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            time.sleep(0.5)
            other.rollback()
        project(caller)
        runs = threading.Event()
        monkeypatch.setattr(caller.studio.exports, "remove_old", runs.set)
        assert runs.wait(120), "the maintenance ended"


# Files


def test_a_video_that_was_replaced_by_another_size_is_refused(tmp_path: Path) -> None:
    with Caller(make_studio(tmp_path)) as caller:
        video = caller.video()
        caller.click(video)
        caller.studio.live.drop(video.rpartition("/")[2])
        path = tmp_path / "clips" / "blots.mp4"
        old = path.read_bytes()
        make_clip(path, LENGTH + 3)
        for answer in (
            caller.click_refused(video, 1, status=400),
            json.loads(caller.client.get(f"/api{video}/frames/1.jpg").text),
        ):
            assert (
                "blots.mp4 was replaced" in answer["message"] and "Restore the old file" in answer["message"]
            )
        path.write_bytes(old)
        caller.click(video)


def test_uploads_of_a_killed_server_are_removed_and_not_counted(tmp_path: Path) -> None:
    spool = tmp_path / "data" / "spool"
    spool.mkdir(parents=True)
    (spool / "abc.mp4").write_bytes(bytes(2000))
    with Caller(make_studio(tmp_path)) as caller:
        assert list(spool.iterdir()) == []
        answer = upload(caller, project(caller), make_clip(tmp_path / "a.mp4").read_bytes())
        assert answer.status_code == 201 and list(spool.iterdir()) == []
        assert len(list(caller.studio.settings.uploads.iterdir())) == 1


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with Caller(make_studio(tmp_path)) as caller:
        owner = project(caller)
        clip = make_clip(tmp_path / "a.mp4").read_bytes()
        edge = b"--edge"
        header = b'content-disposition: form-data; name="file"; filename="a.mp4"'
        body = edge + b"\r\n" + header + b"\r\n\r\n" + clip
        for content in (body, body[: len(body) // 2], b"", b"\r\n" * 100, edge * 1000):
            answer = caller.client.post(
                f"/api/projects/{owner}/uploads",
                content=content,
                headers={"content-type": "multipart/form-data; boundary=edge"},
            )
            assert 400 <= answer.status_code < 500 and answer.json()["message"].endswith("."), answer.text
        assert list(caller.studio.settings.spool.iterdir()) == []
        assert list(caller.studio.settings.uploads.iterdir()) == []


def test_an_upload_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with Caller(make_studio(tmp_path)) as caller:
        headers = {"content-type": "multipart/form-data; boundary=edge"}
        address = "/api/projects/none/uploads"
        answer = caller.client.post(address, content=b"x" * 2**22, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (404, "missing")
        assert list(caller.studio.settings.spool.iterdir()) == []


def test_the_spool_counts_in_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masklet.studio.store.uploads.QUOTA_BYTES", 2**16)
    monkeypatch.setattr("masklet.studio.store.storage.QUOTA_SECONDS", -1.0)
    with Caller(make_studio(tmp_path, limits=replace(Limits(), data_bytes=2**21))) as caller:
        answer = upload(caller, project(caller), bytes(2**23))
        assert answer.status_code == 413 and "at most" in answer.json()["message"]
        assert list(caller.studio.settings.spool.iterdir()) == []


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.ts", "list.mkv", "list.mov"])
@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nblots.mp4\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile blots.mp4\n",
        b"GARBAGE\nblots.mp4",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    ],
)
def test_playlists_are_not_opened(caller: Caller, name: str, content: bytes) -> None:
    path = caller.studio.settings.folder / name
    path.write_bytes(content)
    try:
        owner = project(caller)
        caller.post(f"/projects/{owner}/videos", {"path": name}, status=400)
        assert upload(caller, owner, content, name).status_code == 400
    finally:
        path.unlink()


# What people read


def test_times_have_a_zone(tmp_path: Path) -> None:
    def times(caller: Caller) -> list[str]:
        (first,) = caller.get("/projects")["projects"]
        video = f"/videos/{first['videos'][0]['id']}"
        steps = caller.get(f"{video}/history")["steps"]
        return [first["created"], first["videos"][0]["created"], *(step["at"] for step in steps)]

    with Caller(make_studio(tmp_path)) as caller:
        video = caller.video()
        caller.click(video)
        before = times(caller)
    with Caller(make_studio(tmp_path)) as caller:
        assert times(caller) == before
    assert all(datetime.fromisoformat(time).tzinfo is not None for time in before)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/home/ada/videos/dog.mp4 is damaged", "dog.mp4 is damaged"),
        ("cannot open '/srv/data/uploads/x.mp4': no such file", "Cannot open 'x.mp4': no such file"),
        ("/home/ada lovelace/my clips/dog.mp4 is damaged", "dog.mp4 is damaged"),
        ("cannot open '/srv/our data/my dog.mp4'", "Cannot open 'my dog.mp4'"),
        ('cannot open "/srv/ada\'s data/my dog.mp4"', 'Cannot open "my dog.mp4"'),
        ("neither /a b/c.mp4 nor /d/e f/g.mp4 can be read", "Neither c.mp4 nor g.mp4 can be read"),
        ("/srv/a.json must have images and/or boxes", "a.json must have images and/or boxes"),
        ("C:\\Users\\ada lovelace\\dog.mp4 is damaged", "dog.mp4 is damaged"),
        ("a path must be relative, with / between parts", "A path must be relative, with / between parts"),
        ("http://host/a/b.mp4 cannot be read", "http://host/a/b.mp4 cannot be read"),
        ("there is no clips/dogs/a.mp4 in the folder", "There is no clips/dogs/a.mp4 in the folder"),
    ],
)
def test_messages_have_no_absolute_paths(message: str, shown: str) -> None:
    assert public_message(MaskletError(message)) == shown


def test_errors_of_files_name_no_path_of_the_server(caller: Caller) -> None:
    folder = caller.studio.settings.folder
    for name, content in (("a.png", b"\x89PNG\r\n"), ("b.mp4", bytes(4) + b"ftypisom"), ("c.gif", b"GIF89a")):
        (folder / name).write_bytes(content)
        message = caller.post(f"/projects/{project(caller)}/videos", {"path": name}, status=400)["message"]
        assert str(folder) not in message and str(folder.parent) not in message, message
        assert str(folder) not in upload(caller, project(caller), content, name).text
        (folder / name).unlink()


def test_very_long_names_are_refused_at_once(caller: Caller) -> None:
    video = caller.video()
    long = "a\u0301" * 1_000_000
    start = time.perf_counter()
    for method, path, field in (
        ("POST", "/projects", "name"),
        ("PATCH", video, "name"),
        ("POST", f"{video}/objects", "name"),
        ("POST", f"{video}/objects", "color"),
        ("PUT", "/me", "name"),
        ("POST", f"{video}/exports", "format"),
    ):
        answer = caller.client.request(method, f"/api{path}", json={field: long})
        assert answer.status_code == 422 and len(answer.text) < 1000, answer.text[:300]
    assert time.perf_counter() - start < 5
