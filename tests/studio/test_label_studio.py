"""The ML backend, called as Label Studio calls it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import PIL.Image
import pytest
from fastapi.testclient import TestClient

from masklet import rle
from masklet.prompts import check_prompt
from masklet.studio.app import make_app
from masklet.studio.routes import label_studio as label_studio_routes
from masklet.studio.routes.label_studio import ToolUse, to_prompt
from masklet.studio.settings import Settings
from masklet.studio.studio import TASK_IMAGES, Studio
from toy_models import clip, toy_network

SIZE = (48, 64)
CONFIG = """<View>
  <Image name="image" value="$picture" zoom="true"/>
  <BrushLabels name="brush" toName="image"><Label value="dog"/><Label value="ball"/></BrushLabels>
  <KeyPointLabels name="points" toName="image" smart="true"><Label value="ball"/></KeyPointLabels>
  <RectangleLabels name="boxes" toName="image" smart="true"><Label value="dog"/></RectangleLabels>
</View>"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    place = tmp_path_factory.mktemp("studio")
    (place / "clips").mkdir()
    (place / "clips" / "one image.png").write_bytes(png())
    settings = Settings(data=place / "data", folder=place / "clips")
    with TestClient(make_app(Studio(settings, toy_network(), "toy")), base_url="http://127.0.0.1") as client:
        yield client


def png() -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(clip(1)[0]).save(file, format="PNG")
    return file.getvalue()


def point(x: float, y: float, label: str = "ball", *, positive: bool = True) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.7, "keypointlabels": [label]}
    return {"type": "keypointlabels", "value": value, "is_positive": int(positive), **envelope()}


def rectangle(x: float, y: float, width: float, height: float) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": ["dog"]}
    return {"type": "rectanglelabels", "value": value, **envelope()}


def envelope() -> dict[str, Any]:
    return {
        "id": "a1B2",
        "from_name": "points",
        "to_name": "image",
        "original_width": SIZE[1],
        "original_height": SIZE[0],
        "image_rotation": 0,
    }


def asked(*used: dict[str, Any], image: str = "one image.png") -> dict[str, Any]:
    """A request as Label Studio's api_connector makes it."""
    return {
        "tasks": [{"id": 7, "data": {"picture": image}, "annotations": [], "predictions": []}],
        "model_version": None,
        "project": "3.1700000000",
        "label_config": CONFIG,
        "params": {"login": None, "password": None, "context": {"result": list(used)}},
    }


def masks_of(client: TestClient, *used: dict[str, Any], **data: str) -> list[dict[str, Any]]:
    answer = client.post("/label-studio/predict", json=asked(*used, **data))
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["results"]
    assert prediction["model_version"] == "toy" and 0 <= prediction["score"] <= 1
    return list(prediction["result"])


def pixels(region: dict[str, Any]) -> np.ndarray:
    """The mask of a brush, read as Label Studio's page does."""
    bits = "".join(f"{byte:08b}" for byte in region["value"]["rle"])
    at = 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    count, word, sizes = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        repeated, length = read(1), read(sizes[read(2)]) + 1
        values += [read(word)] * length if repeated else [read(word) for _ in range(length)]
    shape = region["original_height"], region["original_width"], 4
    return np.array(values).reshape(shape)[:, :, 3] > 127


def test_health_and_setup(client: TestClient) -> None:
    assert client.get("/label-studio/health").json()["status"] == "UP"
    sent = {"project": "3.17", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "x"}
    assert client.post("/label-studio/setup", json=sent).json() == {"model_version": "toy"}
    assert client.post("/label-studio/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 201


def test_a_click_is_answered_by_a_brush(client: TestClient) -> None:
    (region,) = masks_of(client, point(31.25, 50))
    assert region["type"] == "brushlabels" and region["value"]["format"] == "rle"
    assert (region["from_name"], region["to_name"]) == ("brush", "image")
    assert region["value"]["brushlabels"] == ["ball"]
    assert (region["original_width"], region["original_height"]) == (64, 48)
    sent = {"image": ("p.png", png())}
    fields = {"prompts": '{"positive": [[20, 24]]}'}
    best = client.post("/api/image", files=sent, data=fields).json()["results"][0]["masks"][0]
    assert (pixels(region) == rle.decode(best["rle"])).all()


def test_each_use_of_a_tool_matters(client: TestClient) -> None:
    uses = [
        [point(31.25, 50)],
        [point(31.25, 50), point(90, 90, positive=False)],
        [rectangle(10, 10, 50, 50)],
        [rectangle(10, 10, 50, 50), point(31.25, 50)],
    ]
    answers = [masks_of(client, *use) for use in uses]
    masks = [pixels(masks[0]).tobytes() if masks else b"" for masks in answers]
    assert len(set(masks)) == len(masks)


@pytest.mark.parametrize(
    ("area", "box"),
    [
        ({"x": 60, "y": 60, "width": -50, "height": -50}, (20, 10, 120, 60)),
        ({"x": 60, "y": 10, "width": 50, "height": 50, "rotation": 90}, (70, 10, 120, 110)),
        ({"x": 60, "y": 60, "width": 50, "height": 20, "rotation": 180}, (20, 40, 120, 60)),
        ({"x": 50, "y": 20, "width": 10, "height": 20, "rotation": 45}, (85.858, 20, 114.142, 48.284)),
    ],
)
def test_a_box_is_taken_where_it_is_shown(area: dict[str, float], box: tuple[float, ...]) -> None:
    use = ToolUse.model_validate({"type": "rectanglelabels", "value": area})
    assert to_prompt([use], (100, 200)).box == pytest.approx(box, abs=1e-3)


def test_a_turned_image_is_refused(client: TestClient) -> None:
    answer = client.post("/label-studio/predict", json=asked(point(20, 20) | {"image_rotation": 90}))
    assert answer.status_code == 422 and "rotated in Label Studio" in answer.json()["message"]


def test_at_the_edge(client: TestClient) -> None:
    masks_of(client, point(100, 100))
    masks_of(client, point(0.5, 1.3))  # in the first pixel


def test_a_point_in_the_first_pixel_is_no_part_of_a_side() -> None:
    for size in ((48, 64), (48, 1), (2, 2)):
        prompt = to_prompt([ToolUse.model_validate(point(0.3, 0.7))], size)
        assert check_prompt(prompt, size).clicks == 1


def test_without_a_use_there_is_nothing_to_say(client: TestClient) -> None:
    brush = {"type": "brushlabels", "value": {"format": "rle", "rle": [0]}, **envelope()}
    for request in (asked(), asked(brush), {**asked(), "params": {}}, {"tasks": [], "label_config": CONFIG}):
        answer = client.post("/label-studio/predict", json=request)
        assert answer.status_code == 200 and answer.json() == {"results": []}


def test_where_images_come_from(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    there = masks_of(client, point(31.25, 50))
    inline = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    with label_studio() as (address, seen):
        monkeypatch.setenv("LABEL_STUDIO_URL", address)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", "secret")
        places = (
            inline,
            "/data/local-files/?d=one%20image.png",
            "/data/upload/1/a.png",
            f"{address}/data/upload/1/a.png",
        )
        for image in places:
            answer = masks_of(client, point(31.25, 50), image=image)
            assert [mask["value"] for mask in answer] == [mask["value"] for mask in there], image
    assert seen == ["Token secret", "Token secret"]


class label_studio:
    """A Label Studio that has one image, and sends whoever asks for another away."""

    def __enter__(self) -> tuple[str, list[str | None]]:
        seen: list[str | None] = []

        class Shelf(BaseHTTPRequestHandler):
            extensions: ClassVar = {}

            def do_GET(self) -> None:
                here = self.path.endswith("a.png")
                self.send_response(200 if here else 302)
                self.send_header("location", "http://127.0.0.1:1/secret.png")
                self.end_headers()
                if here:
                    seen.append(self.headers["authorization"])
                    self.wfile.write(png())

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Shelf)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}", seen

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


BAD = {
    "another host": ({"image": "http://127.0.0.1:1/a.png"}, 403, "fetched from"),
    "a redirect": ({"image": "/data/upload/other.png"}, 400, "cannot be fetched"),
    "another scheme": ({"image": "file:///etc/passwd"}, 403, "fetched from"),
    "a path outside": ({"image": "../../etc/passwd"}, 403, "outside"),
    "an encoded path outside": ({"image": "%2e%2e/%2e%2e/etc/passwd"}, 403, "outside"),
    "a local file outside": ({"image": "/data/local-files/?d=../../etc/passwd"}, 403, "outside"),
    "no such image": ({"image": "none.png"}, 404, "no none.png"),
    "damaged base64": ({"image": "data:image/png;base64,!!!"}, 400, "damaged"),
    "no image in it": ({"image": "data:image/png;base64,aGVsbG8="}, 400, "."),
}


@pytest.mark.parametrize(("data", "status", "part"), BAD.values(), ids=BAD)
def test_images_that_are_not_had(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, data: dict[str, str], status: int, part: str
) -> None:
    with label_studio() as (address, _):
        monkeypatch.setenv("LABEL_STUDIO_URL", address)
        answer = client.post("/label-studio/predict", json=asked(point(31.25, 50), **data))
    assert answer.status_code == status, answer.text
    assert part in answer.json()["message"]


def test_nothing_is_fetched_unless_the_studio_was_told_from_where(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    answer = client.post("/label-studio/predict", json=asked(point(1, 1), image="http://127.0.0.1:1/a.png"))
    assert answer.status_code == 403 and "LABEL_STUDIO_URL" in answer.json()["message"]


@pytest.mark.parametrize(
    "config",
    [
        "",
        "<View>",
        '<View><Image name="image" value="$picture"/></View>',
        '<View><BrushLabels name="b" toName="image"/></View>',
        '<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>',
    ],
)
def test_configs_that_do_not_fit(client: TestClient, config: str) -> None:
    answer = client.post("/label-studio/predict", json={**asked(point(1, 1)), "label_config": config})
    assert answer.status_code == 422 and "label_config" in answer.json()["message"]


@pytest.mark.parametrize("value", [{"x": "a"}, {"x": 1}, {"x": 1e9, "y": 1}, [], None])
def test_tools_that_make_no_sense(client: TestClient, value: object) -> None:
    used = {"type": "keypointlabels", "value": value}
    answer = client.post("/label-studio/predict", json=asked(used))
    assert answer.status_code == 422 and answer.json()["message"].startswith("params.context.result")


class Host:
    """A loopback HTTP server that answers as a function says, and notes what it was asked.

    Attributes:
        asked: The path and authorisation of each request.
    """

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.asked: list[tuple[str, str | None]] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append((self.path, self.headers["authorization"]))
                with contextlib.suppress(OSError):  # the studio hung up
                    answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Host:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def send(handler: BaseHTTPRequestHandler, content: bytes, code: int = 200, **headers: str) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_the_key_never_follows_a_redirect(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with Host(lambda handler: send(handler, png())) as thief:
        target = f"{thief.address}/stolen.png"
        with Host(lambda handler: send(handler, b"", code, location=target)) as host:
            monkeypatch.setenv("LABEL_STUDIO_URL", host.address)
            monkeypatch.setenv("LABEL_STUDIO_API_KEY", "secret")
            body = asked(point(31.25, 50), image=f"/data/upload/{code}.png")
            answer = client.post("/label-studio/predict", json=body)
    assert answer.status_code == 400 and "cannot be fetched" in answer.json()["message"]
    assert host.asked == [(f"/data/upload/{code}.png", "Token secret")] and thief.asked == []


def test_an_image_is_fetched_once_for_all_clicks(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    with Host(lambda handler: send(handler, png())) as host:
        monkeypatch.setenv("LABEL_STUDIO_URL", host.address)
        for x in (20, 30, 40):
            masks_of(client, point(x, 50), image=f"{host.address}/data/once.png")
    assert len(host.asked) == 1


def test_an_image_that_is_too_large_is_refused_while_it_comes(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server never ends: what ends is the studio's reading."""

    def endless(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b"")
        while True:
            handler.wfile.write(bytes(2**20))

    with Host(endless) as host:
        monkeypatch.setenv("LABEL_STUDIO_URL", host.address)
        answer = client.post(
            "/label-studio/predict", json=asked(point(1, 1), image=f"{host.address}/endless.png")
        )
    assert answer.status_code == 413 and "64 MiB" in answer.json()["message"]


def test_an_image_that_trickles_in_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b"")
        while not stop.wait(0.02):
            handler.wfile.write(b"x")

    monkeypatch.setattr(label_studio_routes, "FETCH_SECONDS", 0.2)
    with Host(trickle) as host:
        monkeypatch.setenv("LABEL_STUDIO_URL", host.address)
        body = asked(point(1, 1), image=f"{host.address}/slow.png")
        answer = client.post("/label-studio/predict", json=body)
        stop.set()
    assert answer.status_code == 400 and "did not come within" in answer.json()["message"]


def test_only_a_few_images_are_fetched_at_a_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight are asked for while the server holds its answers back; the others wait, and are then answered."""
    held, release = threading.Semaphore(0), threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        held.release()
        release.wait()
        send(handler, png())

    monkeypatch.setattr(label_studio_routes, "FETCH_SECONDS", 60.0)
    monkeypatch.setattr(label_studio_routes, "WAIT_SECONDS", 60.0)
    with Host(hold) as host, ThreadPoolExecutor(8) as pool:
        monkeypatch.setenv("LABEL_STUDIO_URL", host.address)
        answers = [
            pool.submit(masks_of, client, point(31.25, 50), image=f"{host.address}/{row}.png")
            for row in range(8)
        ]
        for _ in range(TASK_IMAGES):
            held.acquire()
        assert not held.acquire(timeout=0.3) and len(host.asked) == TASK_IMAGES
        release.set()
        assert all(len(answer.result()) == 1 for answer in answers)
    assert len(host.asked) == 8


@pytest.mark.parametrize("image", ["http://[", "//[", "http://a/\ud800.png", "\ud800.png"], ids=ascii)
def test_an_address_that_is_none_is_refused_with_a_sentence(client: TestClient, image: str) -> None:
    body = json.dumps(asked(point(1, 1), image=image))  # half a character stays one in JSON
    answer = client.post("/label-studio/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (403, 422) and answer.json()["message"].endswith("."), answer.text


def test_a_configuration_that_is_no_text_is_refused_with_a_sentence(client: TestClient) -> None:
    body = b'{"schema": "<View>\\ud800</View>"}'
    answer = client.post("/label-studio/setup", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422 and answer.json()["message"].endswith("."), answer.text


def test_the_page_says_how_images_are_reached() -> None:
    """Without these variables every image of a Label Studio is refused."""
    page = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text("utf-8")
    section = page.partition("## Label Studio")[2].partition("\n## ")[0]
    assert label_studio_routes.URL_VARIABLE in section and label_studio_routes.KEY_VARIABLE in section
