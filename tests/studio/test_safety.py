"""Whatever is sent, the answer is a sentence with a 4xx, nothing outside is read, and the server stays up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from masklet.errors import MaskletError
from masklet.studio.app import make_app
from masklet.studio.server import address, token_for
from masklet.studio.settings import Limits, Settings
from masklet.studio.studio import Studio
from studio.small import HERE, LENGTH, SIZE, Caller, make_clip, make_studio
from toys import toy_network

TOKEN = "a token of more than sixteen letters"


def assert_refused(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, f"{answer.request.url}: {answer.status_code} {answer.text[:300]}"
    said = answer.json()
    assert said["error"] and said["message"]
    assert "/root" not in said["message"] and "Traceback" not in said["message"]


@pytest.fixture(scope="module")
def video(caller: Caller) -> str:
    video = caller.video()
    caller.click(video)
    return video


@pytest.fixture(autouse=True, scope="module")
def still_up(caller: Caller) -> Iterator[None]:
    yield
    assert caller.get("/about")["model"] == "toy"


PATHS = [
    "../secret.mp4",
    "a/../../secret.mp4",
    "..",
    "/etc/passwd",
    "//etc/passwd",
    "..\\secret.mp4",
    "%2e%2e/secret.mp4",
    "..%2fsecret.mp4",
    "%252e%252e%252fsecret.mp4",
    "link.mp4",
    "linked/secret.mp4",
    "blots.mp4\0.png",
    ".hidden.mp4",
    "file:///etc/passwd",
    "http://127.0.0.1/x.mp4",
    "concat:blots.mp4",
    "\u2025/secret.mp4",
    "a" * 5000,
    "*",
]


@pytest.fixture(scope="module")
def secret(caller: Caller) -> Path:
    folder = caller.studio.settings.folder
    assert folder is not None
    outside = folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    secret = make_clip(outside / "secret.mp4")
    (folder / "link.mp4").symlink_to(secret)
    (folder / "linked").symlink_to(outside)
    (folder / ".hidden.mp4").write_bytes(secret.read_bytes())
    return secret


@pytest.mark.parametrize("path", PATHS)
def test_nothing_outside_of_the_folder_is_read(caller: Caller, secret: Path, path: str) -> None:
    project = caller.get("/projects")["projects"][0]["id"] if caller.get("/projects")["projects"] else ""
    project = project or caller.post("/projects", {"name": "paths"})["id"]
    answer = caller.client.post(f"/api/projects/{project}/videos", json={"path": path})
    assert_refused(answer)
    listed = caller.client.get("/api/folder", params={"path": path})
    assert listed.status_code in (400, 403, 404, 422), listed.text


@pytest.mark.parametrize(
    "path", ["/../tables.py", "/%2e%2e/tables.py", "/..%2ftables.py", "/lib/../../app.py", "/etc/passwd"]
)
def test_the_page_serves_only_itself(caller: Caller, path: str) -> None:
    assert caller.client.get(path).status_code == 404


def test_links_are_not_listed(caller: Caller, secret: Path) -> None:
    names = {entry["name"] for entry in caller.get("/folder")["entries"]}
    assert names == {"blots.mp4", "one.png"}


HUGE = 10**30
NUMBERS = [-1, LENGTH, HUGE, "x", None, 1.5, [], {}]
PROMPTS = [
    {},
    {"frame": 0},
    *({"frame": number, "object": 1, "positive": [[5, 5]]} for number in NUMBERS),
    *({"frame": 0, "object": number, "positive": [[5, 5]]} for number in [0, -1, HUGE, "x", None, 2.5]),
    *(
        {"frame": 0, "object": 1, "positive": points}
        for points in (
            [[1]],
            [[1, 2, 3]],
            5,
            "x",
            [["a", 1]],
            [[-1, 5]],
            [[5, 48]],
            [[1e308, 1]],
            [[None, 1]],
        )
    ),
    {"frame": 0, "object": 1, "positive": [[1, 1]] * 300},
    *(
        {"frame": 0, "object": 1, "box": box}
        for box in ([], [1, 2, 3], [9, 9, 1, 1], [1, 1, 1, 1], ["a"] * 4, [0] * 5, [-500, -500, -400, -400])
    ),
    *(
        {"frame": 0, "object": 1, "mask": {"size": size, "counts": runs}}
        for size, runs in (
            (list(SIZE), ""),
            (list(SIZE), "0"),
            (list(SIZE), "zzzzzzzzzzzzzz"),
            (list(SIZE), "\u00ff\u00fe"),
            (list(SIZE), "P" * 500),
            (list(SIZE), []),
            (list(SIZE), [-5, 3077]),
            (list(SIZE), [HUGE]),
            (list(SIZE), [1]),
            ([10**9, 10**9], [10**18]),
            ([0, 0], []),
            ([SIZE[1], SIZE[0]], [SIZE[0] * SIZE[1]]),
        )
    ),
    {"frame": 0, "object": 1},
    [],
    "x",
]


@pytest.mark.parametrize("body", PROMPTS, ids=lambda body: json.dumps(body)[:60])
def test_prompts_that_cannot_be_meant(caller: Caller, video: str, body: object) -> None:
    assert_refused(caller.client.post(f"/api{video}/prompts", json=body))


def test_other_malformed_calls(caller: Caller, video: str) -> None:
    project = caller.post("/projects", {"name": "odd"})["id"]
    calls: list[tuple[str, str, object]] = [
        *(("GET", f"{video}/frames/{at}.jpg", None) for at in (-1, LENGTH, HUGE, "x", "1.5", "%00")),
        *(("GET", f"{video}/frames/0.jpg?width={width}", None) for width in (0, -5, HUGE, "x")),
        *(("GET", f"{video}/thumbnails/{at}.jpg", None) for at in (-1, LENGTH, HUGE)),
        *(("GET", f"{video}/masks?start={at}", None) for at in (-1, HUGE, "x")),
        *(("GET", f"{video}/masks?objects={ids}", None) for ids in ("x", "1;2", "-1", "²")),
        *(("GET", f"{video}/strips?bins={bins}", None) for bins in (0, -1, HUGE)),
        ("GET", f"{video}/strips?start=5&stop=5", None),
        ("GET", f"{video}/doubtful?skip=x", None),
        ("GET", f"{video}/history?limit=0", None),
        ("GET", f"{video}/prompts/7/1", None),
        *(("PUT", f"{video}/reviewed", body) for body in ({}, {"start": 5, "stop": 1, "reviewed": True})),
        ("PUT", f"{video}/reviewed", {"start": 0, "stop": HUGE, "reviewed": True}),
        *(("POST", f"{video}/objects", {"color": color}) for color in ("red", "#12", "#gggggg", "url(x)")),
        *(("POST", f"{video}/objects", {"name": name}) for name in ("", "  ", "\0", 5, ["a"])),
        *(("PATCH", f"{video}/objects/{id}", {"name": "a"}) for id in (0, 99, HUGE, "x")),
        ("DELETE", f"{video}/objects/77", None),
        ("DELETE", f"{video}/prompts/3/1", None),
        *(("POST", f"{video}/propagation", {"direction": way}) for way in ("up", None, 5)),
        *(("POST", f"{video}/propagation", {"objects": ids}) for ids in ([], [77], [HUGE], "x")),
        *(("POST", f"{video}/propagation", {"start": at}) for at in (-1, LENGTH, HUGE, "x")),
        *(("POST", f"{video}/propagation", {"stop": at}) for at in (0, -2, HUGE)),
        ("POST", f"{video}/propagation", {"resume": True}),
        ("DELETE", f"{video}/propagation", None),
        *(("POST", f"{video}/exports", {"format": name}) for name in ("", "x", "../coco", None)),
        ("POST", f"{video}/exports", {"format": "coco", "objects": [9]}),
        ("POST", f"{video}/candidates", {"frame": 0, "object": 1, "rank": 9}),
        *(("GET", f"/exports/{id}", None) for id in ("x", "..", "%2e%2e", "x/file", "../x/file")),
        *(("GET", f"/videos/{id}", None) for id in ("x", "' OR 1=1 --", "%00", "a" * 3000)),
        *(("POST", f"/projects/{id}/videos", {"path": "blots.mp4"}) for id in ("x", "%27", "..")),
        *(
            ("POST", "/projects", body)
            for body in ({}, {"name": ""}, {"name": 7}, {"name": "a", "policy": "x"})
        ),
        ("PATCH", f"/projects/{project}", {"policy": "samurai"}),
        ("DELETE", "/projects/x", None),
        ("PUT", "/me", {"name": ""}),
        ("PUT", "/me", {}),
        ("GET", "/nothing", None),
        ("POST", "/about", {}),
    ]
    for method, path, body in calls:
        answer = caller.client.request(method, f"/api{path}", json=body)
        assert_refused(answer)
    for content in (b"", b"{", b"[" * 50_000, b"\xff\xfe", b'{"name": NaN}', b"null"):
        sent = caller.client.post(
            "/api/projects", content=content, headers={"content-type": "application/json"}
        )
        assert_refused(sent)


@pytest.mark.parametrize(
    "prompts", ["", "x", "[]", "{}", "5", '{"positive": [[999, 1]]}', '[{"box": 1}]', "[" * 9999]
)
def test_pictures_with_odd_prompts(caller: Caller, prompts: str) -> None:
    picture = (Path(caller.studio.settings.folder or "") / "one.png").read_bytes()
    answer = caller.client.post("/api/image", files={"image": ("a.png", picture)}, data={"prompts": prompts})
    assert_refused(answer)


def test_names_stay_text(caller: Caller, video: str) -> None:
    name = "<img src=x onerror=alert(1)>"
    made = caller.post(f"{video}/objects", {"name": name})
    assert made["name"] == name
    page = caller.client.get("/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "<script>" not in page.text and " onclick=" not in page.text and " style=" not in page.text


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:81"]
)
def test_other_sites_may_change_nothing(caller: Caller, video: str, origin: str) -> None:
    headers = {"origin": origin, "host": "127.0.0.1:80"}
    if origin != "https://127.0.0.1":
        assert caller.client.post("/api/projects", json={"name": "x"}, headers=headers).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect),
        caller.client.websocket_connect(
            f"ws://127.0.0.1/api{video}/events", headers={"origin": "http://evil.example"}
        ),
    ):
        pass


def test_other_names_lead_nowhere(caller: Caller) -> None:
    answer = caller.client.get("/api/about", headers={"host": "rebound.example"})
    assert (answer.status_code, answer.json()["error"]) == (403, "origin")


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
    with Caller(make_studio(tmp_path / "b", limits=replace(Limits(), frames=3))) as caller:
        project = caller.post("/projects", {"name": "long"})["id"]
        said = caller.post(f"/projects/{project}/videos", {"path": "blots.mp4"}, status=400)
        assert "up to 3" in said["message"]
    with Caller(make_studio(tmp_path / "c", limits=replace(Limits(), pixels=100))) as caller:
        project = caller.post("/projects", {"name": "large"})["id"]
        for name in ("blots.mp4", "one.png"):
            said = caller.post(f"/projects/{project}/videos", {"path": name}, status=400)
            assert "64 x 48" in said["message"]


def test_a_decoder_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    limits = replace(Limits(), decode_seconds=0.0)
    with Caller(make_studio(tmp_path, limits=limits)) as caller:
        project = caller.post("/projects", {"name": "slow"})["id"]
        said = caller.post(f"/projects/{project}/videos", {"path": "blots.mp4"}, status=400)
        assert said["error"] == "decoder"


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
