"""Who may ask, from where, and how much; `test_hostile.py` sends what nobody should."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from typer.testing import CliRunner

from masklet.cli import app as command_line
from masklet.errors import MaskletError
from masklet.studio.app import make_app
from masklet.studio.server import address, read_token, token_for
from masklet.studio.settings import Limits, Settings
from masklet.studio.store.tables import Person
from masklet.studio.studio import Studio
from studio.small import HERE, LENGTH, Caller, make_studio
from toy_models import toy_network

TOKEN = "a token of more than sixteen letters"


@pytest.fixture(scope="module")
def video(caller: Caller) -> str:
    video = caller.video()
    caller.click(video)
    return video


def test_names_stay_text(caller: Caller, video: str) -> None:
    name = "<img src=x onerror=alert(1)>"
    made = caller.post(f"{video}/objects", {"name": name})
    assert made["name"] == name
    page = caller.client.get("/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "<script>" not in page.text and " onclick=" not in page.text and " style=" not in page.text


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    studio = make_studio(tmp_path_factory.mktemp("guarded"), token=TOKEN, host="0.0.0.0")
    with TestClient(make_app(studio), base_url=HERE, follow_redirects=False) as client:
        yield client


def test_a_token_is_demanded_everywhere(guarded: TestClient) -> None:
    for path in ("/", "/api/about", "/api/openapi.json", "/main.js", "/label-studio/health", "/?token=wrong"):
        assert guarded.get(path).status_code == 401, path
    for value in ("Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer é"):
        sent = {"authorization": value.encode()}
        assert guarded.get("/api/about", headers=sent).status_code == 401, value
    assert guarded.get("/api/about", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    with pytest.raises(WebSocketDisconnect), guarded.websocket_connect("ws://127.0.0.1/api/videos/x/events"):
        pass


def test_a_browser_without_the_token_shows_a_sentence(guarded: TestClient) -> None:
    answer = guarded.get("/", headers={"accept": "text/html"})
    assert answer.status_code == 401 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<p>A token is needed: open the address that the studio printed at its start.</p>" in answer.text
    assert guarded.get("/").json()["error"] == "token"


def test_a_browser_keeps_the_token_in_a_cookie(guarded: TestClient) -> None:
    answer = guarded.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert guarded.get("/api/about").status_code == 200
    guarded.cookies.clear()


def test_other_addresses_make_a_token() -> None:
    assert token_for("127.0.0.1", None) is None
    made = token_for("0.0.0.0", None)
    assert made is not None and len(made) >= 32
    assert f"?token={made}" in address(Settings(data=Path("x"), host="10.0.0.1", token=made))
    with pytest.raises(MaskletError, match="16 characters"):
        token_for("0.0.0.0", "short")


@pytest.mark.parametrize("way", ["MASKLET_STUDIO_TOKEN", "MASKLET_TOKEN", "file"])
def test_the_token_need_not_be_in_the_process_list(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Settings] = []
    monkeypatch.setattr("masklet.studio.server.serve", lambda settings, *_, **__: started.append(settings))
    monkeypatch.setattr("masklet.cli.options.ModelOptions.load", lambda _: None)
    options = ["studio", f"--data={tmp_path}"]
    if way == "file":
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        options.append(f"--token-file={tmp_path / 'token'}")
    else:
        monkeypatch.setenv(way, TOKEN)
    done = CliRunner().invoke(command_line, options)
    assert done.exit_code == 0, done.output
    assert started[0].token == TOKEN


def test_a_token_file_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MaskletError, match="cannot be read"):
        read_token(tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(MaskletError, match="is empty"):
        read_token(tmp_path / "empty")


def test_limits_are_told(tmp_path: Path) -> None:
    limits = replace(
        Limits(), upload_bytes=3000, objects=2, videos=1, body_bytes=2000, frames=LENGTH, exports=1
    )
    with Caller(make_studio(tmp_path, limits=limits)) as caller:
        video = caller.video()
        project = caller.get(video)["project"]
        whole = (tmp_path / "clips" / "blots.mp4").read_bytes()
        sent = {"files": {"file": ("a.mp4", whole + bytes(4000))}}
        assert caller.ask("POST", f"/projects/{project}/uploads", 413, **sent)["error"] == "limit"
        assert (
            "Delete" in caller.post(f"/projects/{project}/videos", {"path": "one.png"}, status=413)["message"]
        )
        caller.click(video, object=1)
        caller.click(video, object=2)
        assert "2 objects" in caller.click_refused(video, object=3, status=413)["message"]
        caller.post(f"{video}/objects", {}, status=413)
        assert caller.post("/projects", {"name": "x" * 3000}, status=413)["error"] == "limit"
    full = replace(Limits(), data_bytes=1)
    with Caller(make_studio(tmp_path, limits=full)) as caller:
        for path, body in (
            (f"{video}/prompts", {"frame": 0, "object": 1, "positive": [[9, 9]]}),
            (f"{video}/propagation", {}),
            (f"{video}/exports", {"format": "coco"}),
        ):
            assert "at most 0.0 GiB" in caller.post(path, body, status=413)["message"]
        assert len(caller.masks(video)[0]) == 2
    with Caller(make_studio(tmp_path, limits=replace(Limits(), spare_bytes=2**60))) as caller:
        assert "disk" in caller.post(f"{video}/propagation", status=413)["message"]
    with Caller(make_studio(tmp_path / "b", limits=replace(Limits(), frames=3))) as caller:
        project = caller.post("/projects", {"name": "long"})["id"]
        answer = caller.post(f"/projects/{project}/videos", {"path": "blots.mp4"}, status=400)
        assert "the limit is 3" in answer["message"]
    with Caller(make_studio(tmp_path / "c", limits=replace(Limits(), pixels=100))) as caller:
        project = caller.post("/projects", {"name": "large"})["id"]
        for name in ("blots.mp4", "one.png"):
            answer = caller.post(f"/projects/{project}/videos", {"path": name}, status=400)
            assert "64 x 48" in answer["message"]


def test_a_decoder_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    limits = replace(Limits(), decode_seconds=0.0)
    with Caller(make_studio(tmp_path, limits=limits)) as caller:
        project = caller.post("/projects", {"name": "slow"})["id"]
        answer = caller.post(f"/projects/{project}/videos", {"path": "blots.mp4"}, status=400)
        assert answer["error"] == "decoder"


def test_only_who_changes_something_is_kept(tmp_path: Path) -> None:
    with Caller(make_studio(tmp_path)) as caller:

        def people() -> list[str]:
            with caller.studio.database.begin() as session:
                return list(session.scalars(select(Person.name)))

        for number in range(3):
            caller.client.cookies.set("masklet_person", f"cookie {number}")
            guest = caller.get("/about")["person"]
            caller.get("/projects", headers={"Masklet-Person": f"program {number}"})
        assert people() == [] and guest["name"].startswith("guest ")
        caller.post("/projects", {"name": "a"}, headers={"Masklet-Person": "Ada"})
        assert people() == []  # a project is nobody's
        video = caller.video()
        caller.click(video, headers={"Masklet-Person": "Ada"})
        assert people() == ["Ada"]
        caller.ask("PUT", "/me", json={"name": "Grace"})
        assert people() == ["Ada", "Grace"]


def test_few_videos_are_open_at_once(tmp_path: Path) -> None:
    limits = replace(Limits(), live=2)
    with Caller(make_studio(tmp_path, limits=limits)) as caller:
        videos = [caller.video() for _ in range(4)]
        for video in videos * 2:
            caller.click(video)
            assert caller.studio.live.count <= 2
        assert all(len(caller.masks(video)) == 1 for video in videos)


def test_settings_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MaskletError, match="database"):
        Studio(Settings(data=tmp_path, database="nonsense"), toy_network(), "toy")
