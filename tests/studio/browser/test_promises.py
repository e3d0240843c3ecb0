"""What the page promises of large files, many objects, exports and its start, in a browser."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
from playwright.sync_api import Browser, Request

from masklet import rle
from studio.browser.screen import DEMO, FRAMES, Screen, Server, ask, short_clip

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RED = (188, 140)
LIMIT = 256  # objects of a video
DISC = (1500, 2600, 500)  # in an image of 24 megapixels: its middle and radius
SOUND = "The sound of these frames is in the file."


def test_a_click_beyond_the_object_limit_changes_nothing(opened: Callable[[], Screen], clip: Path) -> None:
    screen = opened()
    project = ask(screen, "POST", "projects", {"name": "Limit"})["id"]
    video = ask(screen, "POST", f"projects/{project}/videos", {"path": clip.name})["id"]
    screen.page.evaluate(
        """async ([path, count]) => {
            const headers = { "Content-Type": "application/json" };
            for (let made = 0; made < count; made++) {
                const answer = await fetch(path, { method: "POST", headers, body: "{}" });
                if (!answer.ok) throw new Error(await answer.text());
            }
        }""",
        [f"api/videos/{video}/objects", LIMIT],
    )
    screen.page.goto(f"{screen.address}#video/{video}")
    screen.opened()
    screen.press("a")
    for point in (RED, (320, 250)):
        screen.click(*point)
        message = screen.page.locator(".toast.error", has_text=f"at most {LIMIT} objects")
        message.wait_for()
        message.get_by_role("button", name="Dismiss").click()
        assert screen.page.locator(".object.selected[data-object]").count() == 0
    now = ask(screen, "GET", f"videos/{video}")
    assert len(now["objects"]) == LIMIT and now["prompts"] == [] and screen.masks() == {}


def test_an_image_of_24_megapixels_is_clicked_and_painted(
    opened: Callable[[], Screen], tmp_path: Path
) -> None:
    x, y, radius = DISC
    height, width = 4000, 6000
    image = np.full((height, width, 3), (60, 110, 60), dtype=np.uint8)
    rows, columns = np.ogrid[:height, :width]
    image[(columns - x) ** 2 + (rows - y) ** 2 < radius**2] = (220, 60, 40)
    PIL.Image.fromarray(image).save(tmp_path / "large.jpg")
    screen = opened()
    images: list[Request] = []
    screen.page.on("request", lambda request: images.append(request) if ".jpg" in request.url else None)
    screen.upload(tmp_path / "large.jpg")
    screen.size = width, height
    screen.click(x, y)
    screen.shows_prompt("1 positive")
    left, top, right, bottom = mask_of(screen)["box"]
    assert left < x < right and top < y < bottom
    assert max(right - left, bottom - top) < 4 * radius  # the disc, not the image
    screen.press("a", "d")
    screen.drag((4000, 1000), (5000, 1000))
    screen.shows_prompt("a mask")
    stroke = rle.decode({"size": [height, width], "counts": mask_of(screen)["counts"]})
    assert stroke[1000, 4000:5000].all() and not stroke[:, :3500].any() and not stroke[2000:].any()
    assert screen.painted() > 50
    # The page shows what fits on the screen, and never asks for all pixels.
    assert images and all("width=" in each.url or "thumbnails" in each.url for each in images)


def mask_of(screen: Screen) -> dict:
    """The mask of the newest object on the first frame."""
    (frame,) = ask(screen, "GET", f"videos/{screen.video}/masks?start=0&stop=1")["frames"]
    return frame["masks"][-1]


def test_an_overlay_keeps_the_sound_unless_told_otherwise(
    opened: Callable[[], Screen], tmp_path: Path
) -> None:
    screen = opened()
    screen.upload(with_sound(tmp_path / "sound.mp4"))
    screen.press("d")
    screen.drag((100, 100), (180, 100))
    screen.shows_prompt("a mask")
    screen.press("Control+e")
    kept = export(screen, "overlay", tmp_path)
    screen.page.get_by_text(SOUND).wait_for()
    with av.open(str(kept)) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
        assert abs(samples / 48_000 - FRAMES / 24) < 0.1
    screen.page.get_by_label("keep the sound in videos").uncheck()
    silent = export(screen, "overlay", tmp_path)
    with av.open(str(silent)) as file:
        assert not file.streams.audio and file.streams.video
    assert screen.page.get_by_text(SOUND).count() == 0


def with_sound(path: Path) -> Path:
    """A short clip with a tone."""
    silent = short_clip(path.with_name("silent.mp4"))
    with av.open(str(silent)) as source, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        audio = target.add_stream("aac", rate=48_000, layout="mono")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                target.mux(packet)
        tone = np.sin(np.arange(round(48_000 * FRAMES / 24)) * 0.05).astype(np.float32)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], "fltp", "mono")
            frame.rate, frame.pts = 48_000, start
            target.mux(audio.encode(frame))
        target.mux(audio.encode(None))
    return path


def export(screen: Screen, format: str, folder: Path) -> Path:
    with screen.page.expect_download() as download:
        screen.page.click(f"[data-format={format}]")
    screen.page.locator(f"[data-format={format}]:not([aria-disabled])").wait_for()
    screen.page.locator(".export-notes:not(.earlier) a").wait_for()
    path = folder / f"{format}-{len(list(folder.iterdir()))}.mp4"
    download.value.save_as(path)
    return path


def test_the_background_is_replaced(screen: Screen, tmp_path: Path) -> None:
    screen.press("d")
    screen.drag((300, 180), (420, 180))
    screen.shows_prompt("a mask")
    mask = rle.decode({"size": [360, 640], "counts": mask_of(screen)["counts"]})
    screen.press("Control+e")
    screen.page.get_by_label("Background, for “Other background”").select_option("green")
    replaced = first_frame(export(screen, "composite", tmp_path))
    original = first_frame(DEMO)
    inside, outside = eroded(mask, 4), ~eroded(~eroded(~mask, 4), 4) & ~mask
    green = replaced[outside].mean(axis=0)
    assert green[1] > 100 and green[0] < 60 and green[2] < 60  # CSS has (0, 128, 0)
    assert np.abs(replaced[inside].astype(int) - original[inside]).mean() < 12


def eroded(mask: np.ndarray, steps: int) -> np.ndarray:
    for _ in range(steps):
        padded = np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def first_frame(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24")


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[tuple[Server, subprocess.Popen[str]]]:
    """A server that was told to start, and may not listen yet."""
    server = Server(tmp_path / "data")
    server.data.mkdir()
    command = [sys.executable, "-m", "masklet", "studio", "--port", str(server.port)]
    command += ["--data", str(server.data), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield server, process
        process.terminate()


def test_the_address_that_is_printed_can_be_opened_at_once(
    chromium: Browser, starting: tuple[Server, subprocess.Popen[str]]
) -> None:
    server, process = starting
    assert process.stdout is not None
    said = next((line for line in process.stdout if "The studio is at" in line), "")
    assert server.address in said
    screen = Screen(chromium, server.address)  # one request, no second try
    screen.page.wait_for_selector(".drop")
    screen.close()
