"""A studio in a process of its own, and a page that is used as a person uses it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import av
from playwright.sync_api import Browser, BrowserContext, CDPSession, Locator, Page, Request, ViewportSize

DEMO = Path(__file__).parents[3] / "examples" / "demo.mp4"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FRAMES = 16  # of the clip that the tests use
LONG = 60  # frames of a clip that is still being tracked when a test stops that
SMALL = """() => {
    const small = new OffscreenCanvas(160, 90).getContext("2d");
    small.drawImage(document.querySelector(".stage .base"), 0, 0, 160, 90);
    return Array.from(small.getImageData(0, 0, 160, 90).data);
}"""
CONTROLS = (
    "application|button|checkbox|combobox|dialog|link|listbox|menuitem|meter|navigation|progressbar|radio"
    "|radiogroup|region|slider|spinbutton|switch|textbox"
)
TIMEOUT = 90_000  # milliseconds; a busy machine tracks a frame in a second
END_SECONDS = 120  # in which a server on a busy machine ends
SLOWNESS = float(os.environ.get("SLOW_PAGE", "0"))  # 4: scripts take four times as long, answers 100 ms more


def short_clip(path: Path, frames: int = FRAMES) -> Path:
    """The first frames of the demo clip."""
    with av.open(str(DEMO)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for index, frame in enumerate(source.decode(video=0)):
            if index == frames:
                break
            plain = av.VideoFrame.from_ndarray(frame.to_ndarray(format="yuv420p"), format="yuv420p")
            target.mux(stream.encode(plain))
        target.mux(stream.encode())
    return path


@dataclass
class Server:
    """`masklet studio`, that can be killed and started again on the same data."""

    data: Path
    folder: Path | None = None
    port: int = field(init=False)
    process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        command = [sys.executable, "-m", "masklet", "studio", *([str(self.folder)] if self.folder else [])]
        command += ["--port", str(self.port), "--data", str(self.data), "--no-browser"]
        log = (self.data.parent / "studio.log").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        limit = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"{self.address}api/about", timeout=5):
                    return
            except OSError as error:
                if self.process.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError((self.data.parent / "studio.log").read_text()) from error
                time.sleep(0.1)

    def kill(self) -> None:
        """As if the machine lost its power."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(END_SECONDS)
            self.process = None


class Screen:
    """A page, and what a person does on it. Points are in pixels of the video."""

    def __init__(
        self,
        browser: Browser,
        address: str,
        *,
        timeout: int = TIMEOUT,
        touch: bool = False,
        person: BrowserContext | None = None,
    ) -> None:
        """
        Args:
            person: Whose tab it is; by default somebody new.
        """
        self.timeout = timeout
        self.size = 640, 360  # of the video
        view: ViewportSize = {"width": 820, "height": 1180} if touch else {"width": 1280, "height": 800}
        self.context = person or browser.new_context(viewport=view, has_touch=touch, color_scheme="dark")
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(timeout)
        self.address = address
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda line: self._console(line.type, line.text))
        self.requests: set[Request] = set()  # under way
        self.page.on("request", lambda request: self.requests.add(request))
        self.page.on("requestfinished", lambda request: self.requests.discard(request))
        self.page.on("requestfailed", lambda request: self.requests.discard(request))
        self.ends = 0  # of trackings, that the page was told
        self.ends_awaited = 0
        self.page.on("websocket", lambda line: line.on("framereceived", self._note_end))
        if SLOWNESS:
            self._slow_down()
        self.page.goto(address)

    def _slow_down(self) -> None:
        """As on a weak machine, far from the server: what a test takes for one moment comes apart."""
        self._devtools.send("Emulation.setCPUThrottlingRate", {"rate": SLOWNESS})
        self._devtools.send("Network.enable")
        self.set_offline(False)

    def set_offline(self, is_offline: bool) -> None:
        speed = {"latency": 25 * SLOWNESS, "downloadThroughput": -1, "uploadThroughput": -1}
        self._devtools.send("Network.emulateNetworkConditions", {"offline": is_offline, **speed})

    def _note_end(self, message: str | bytes) -> None:
        event = json.loads(message)
        if event["type"] == "propagation" and event["propagation"]["state"] not in ("waiting", "running"):
            self.ends += 1

    def _console(self, kind: str, text: str) -> None:
        expected = "Failed to load resource" in text or "WebSocket connection" in text
        if kind == "error" and not expected:
            self.complaints.append(text)

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []

    def show_project(self, project: str) -> None:
        self.page.goto(f"{self.address}#project/{project}")
        self.page.locator(f".projects [aria-current=page][href='#project/{project}']").wait_for()

    def upload(self, file: Path) -> None:
        self.page.set_input_files("#file-picker", str(file))
        self.opened()

    def opened(self) -> None:
        """Until the video's first image is on the stage."""
        self.page.wait_for_selector(".stage[data-frame]:not([data-frame='-1'])")

    @property
    def video(self) -> str:
        return self.page.url.split("#video/")[1]

    @property
    def stage(self) -> Locator:
        return self.page.locator(".stage .over")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the video, which is wholly in view, is on the screen."""
        box = self.stage.bounding_box()
        assert box is not None
        width, height = self.size
        scale = min(box["width"] / width, box["height"] / height)
        return (
            box["x"] + box["width"] / 2 + (x - width / 2) * scale,
            box["y"] + box["height"] / 2 + (y - height / 2) * scale,
        )

    def click(self, x: float, y: float, *, minus: bool = False) -> None:
        self.page.mouse.click(*self.at(x, y), button="right" if minus else "left")
        self.answered()

    def drag(self, *points: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.at(*point), steps=4)
        self.page.mouse.up()
        self.answered()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def answered(self) -> None:
        """Until no prompt is under way."""
        self.page.locator(".status .busy").wait_for(state="detached")

    def until(self, condition: Callable[[], object]) -> None:
        limit = time.monotonic() + self.timeout / 1000
        while not condition():
            assert time.monotonic() < limit, "waited too long"
            self.page.wait_for_timeout(50)

    def paint(self) -> None:
        """Until the browser has painted what was changed before."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def quiet(self) -> None:
        """Until no request is under way, none follows from the answers, and these are painted."""
        self.paint()
        self.until(self._is_quiet)

    def _is_quiet(self) -> bool:
        if self.requests:
            return False
        self.paint()
        return not self.requests

    def shows_prompt(self, words: str) -> None:
        """Until this is the prompt of the selected object on the frame in view."""
        self.page.get_by_text(f"Prompt: {words}.").wait_for()

    def frame(self, number: int) -> None:
        """Go to a frame, and wait until it is on the stage."""
        self.page.fill(".frame-number", str(number))
        self.press("Enter")
        self.page.locator(".frame-number").blur()
        self.page.wait_for_selector(f".stage[data-frame='{number}']")

    def tracked(self) -> None:
        """Until one more tracking has ended, however fast or slow, and the page shows what came of it."""
        words = self.page.locator(".progress-words")
        self.moving(lambda: words.all_inner_texts(), lambda: self.ends > self.ends_awaited)
        self.ends_awaited += 1
        self.quiet()

    def tracked_to(self, frames: int) -> None:
        """Until so many frames have masks, and tracking has ended."""

        def count() -> int:
            return len(self.masks(0, max(FRAMES, frames)))

        self.moving(count, lambda: count() == frames)
        self.tracked()

    def moving(self, seen: Callable[[], object], condition: Callable[[], object]) -> None:
        """Until a condition holds. It gives up where what is seen did not change for long."""
        last, limit = seen(), time.monotonic() + self.timeout / 1000
        while not condition():
            now = seen()
            if now != last:
                last, limit = now, time.monotonic() + self.timeout / 1000
            assert time.monotonic() < limit, f"nothing changed for too long: {last}"
            self.page.wait_for_timeout(50)

    def keep_notes(self) -> None:
        """From now on, remember notes that the page shows for seconds only; see `noted`."""
        self.page.evaluate(
            """() => {
                window.notes = [];
                const words = (record) => Array.from(record.addedNodes, (node) => node.textContent);
                const look = (records) => window.notes.push(...records.flatMap(words));
                new MutationObserver(look).observe(document.getElementById("toasts"), { childList: true });
            }"""
        )

    def noted(self, words: str) -> bool:
        return any(words in note for note in self.page.evaluate("() => window.notes"))

    def watch_for(self, selector: str) -> None:
        """From now on, notice an element that may be shown for a moment only; see `has_shown`."""
        self.page.evaluate(
            """(selector) => {
                window.hasShown = false;
                const look = () => (window.hasShown ||= document.querySelector(selector) !== null);
                new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
            }""",
            selector,
        )

    def has_shown(self) -> bool:
        return self.page.evaluate("() => window.hasShown")

    def label(self, start: str) -> str:
        """The whole label of the button whose label starts so."""
        return self.page.locator(f"[aria-label^='{start}']").get_attribute("aria-label") or ""

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """Fingers on the screen, in its pixels: "touchStart", "touchMove" or "touchEnd"."""
        fingers = [{"x": x, "y": y, "id": id} for id, (x, y) in enumerate(points)]
        self._devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})

    @cached_property
    def _devtools(self) -> CDPSession:
        return self.context.new_cdp_session(self.page)

    def nameless(self) -> list[str]:
        """Controls that a screen reader could only call by their kind."""
        return re.findall(
            rf"^\s*- (?:{CONTROLS})\b(?! \").*$", self.page.locator("body").aria_snapshot(), re.M
        )

    def objects(self) -> list[str]:
        return self.page.locator(".object input.name").evaluate_all(
            "fields => fields.map(field => field.value)"
        )

    def masks(self, start: int = 0, stop: int = FRAMES) -> dict[int, set[int]]:
        """Which objects have masks on which frame, as the server says."""
        answer = self.page.evaluate(
            "async (path) => (await fetch(path)).json()",
            f"api/videos/{self.video}/masks?start={start}&stop={stop}",
        )
        return {entry["frame"]: {mask["object"] for mask in entry["masks"]} for entry in answer["frames"]}

    def painted(self) -> int:
        """How much of the stage masks cover now, in pixels of a 160 x 90 image of it."""
        with_masks = self._seen()
        self.press("m")
        without = self._seen()
        self.press("m")
        changed = [abs(a - b) > 4 for a, b in zip(with_masks, without, strict=True)]
        return sum(any(changed[at : at + 4]) for at in range(0, len(changed), 4))

    def _seen(self) -> list[int]:
        self.paint()
        seen: list[int] = self.page.evaluate(SMALL)
        return seen


def ask(screen: Screen, method: str, path: str, body: object = None) -> dict:
    """A call of the API with the cookie of the page."""
    return screen.page.evaluate(
        """async ([method, path, body]) => {
            const headers = { "Content-Type": "application/json" };
            const content = body && JSON.stringify(body);
            const answer = await fetch(`api/${path}`, { method, headers, body: content });
            const text = await answer.text();
            return text ? JSON.parse(text) : null;
        }""",
        [method, path, body],
    )


def new_project(screen: Screen, clip: Path, name: str) -> str:
    """A project of its own with the clip in it, which is shown."""
    project = ask(screen, "POST", "projects", {"name": name})["id"]
    video = ask(screen, "POST", f"projects/{project}/videos", {"path": clip.name})["id"]
    screen.page.goto(f"{screen.address}#video/{video}")
    screen.opened()
    return project
