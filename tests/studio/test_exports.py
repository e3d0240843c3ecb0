"""What leaves the studio: files in every format, and what OpenAPI says of the answers."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import av
import PIL.Image

from masklet.media.formats import FORMATS
from masklet.studio.app import PAGE
from masklet.studio.exports import SCRIPT
from studio.small import LENGTH, Caller


def pieces(file: str, content: bytes) -> int:
    """How much is in a file that was exported, by a reader that is not ours."""
    match Path(file).suffix:
        case ".json":
            return len(json.loads(content))
        case ".xml":
            return len(ElementTree.fromstring(content))
        case ".mp4" | ".webm":
            with av.open(io.BytesIO(content)) as container:
                return sum(1 for _ in container.decode(video=0))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            if name.endswith((".png", ".jpg")):
                PIL.Image.open(archive.open(name)).load()
        return len(archive.namelist())


def test_every_format_is_written_and_can_be_read(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    caller.follow(video)
    about = caller.get("/about")
    for format in about["formats"]:
        count = pieces(format["file"], caller.exported(video, format["id"]))
        assert count == LENGTH if format["file"].endswith(("mp4", "webm")) else count, format
    menu = (PAGE / "panels" / "export.js").read_text()
    table = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    for id in (*FORMATS, SCRIPT):
        assert re.search(rf'[ "]{id}"?: \["[^"]+", "[^"]+"\]', menu), f"the page does not say what {id} is"
        assert f"| `{id}` |" in table, f"docs/api.md does not name {id}"
    assert {format["id"] for format in about["formats"]} == {*FORMATS, SCRIPT}


def test_the_description_tells_of_every_answer(caller: Caller) -> None:
    """So that another program can have its calls and types made from it."""
    described = caller.get("/openapi.json")
    names = []
    for path, calls in described["paths"].items():
        for method, call in calls.items():
            names.append(call["operationId"])
            if path.startswith("/label-studio"):
                continue  # its forms are Label Studio's
            for status, answer in call["responses"].items():
                form = answer.get("content", {}).get("application/json", {}).get("schema", {})
                described = "$ref" in form or any("$ref" in option for option in form.get("anyOf", ()))
                silent = status == "204" or path.endswith((".jpg", "/file"))
                assert described or silent, f"{method} {path} does not say what {status} is"
                assert status[0] == "2" or form["$ref"].endswith("/Error")
    assert len(set(names)) == len(names)
