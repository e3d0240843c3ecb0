"""Render the demo clip: a red balloon drifts over a mountain lake and passes behind a pine.

Nothing is photographed or read from a file; every pixel is computed, so the true masks are known. This script
is the director: who stands where and when. The parts of the scene are in demo_scene/.

    python examples/render_demo.py    writes demo.mp4 and demo_masks.json beside itself, in a minute or two
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from demo_scene.balloon import RED, WHITE, YELLOW, Pose, balloon
from demo_scene.landscape import forest, mountains, noise, pine, sky, water
from demo_scene.light import FOCAL, MARGIN, WATERLINE, H, Image, W, blend, over, ramp

from masklet import rle

WIDTH, HEIGHT, FPS, FRAMES = W // 2, H // 2, 24, 108
POINT = (188, 140)  # on the red balloon in frame 0
MIST = (0.72, 0.60, 0.58, 1.0)


def main() -> None:
    here = Path(__file__).parent
    masks = []
    with av.open(here / "demo.mp4", "w", options={"movflags": "faststart", "fflags": "bitexact"}) as file:
        stream = file.add_stream(
            "libx264", rate=FPS, options={"preset": "veryslow", "crf": "25", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image, mask in frames():
            masks.append(rle.encode(mask))
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode(None))
    (here / "demo_masks.json").write_text(
        json.dumps({"point": POINT, "masks": masks}, separators=(",", ":")) + "\n"
    )


def frames() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every frame, uint8 (h, w, 3), and the red balloon's mask, bool (h, w): half a pixel or more of it."""
    scene = Scene(np.random.default_rng(7))
    grain = np.random.default_rng(8)
    for index in range(FRAMES):
        light, share = scene.frame(index)
        yield develop(light, grain), cv2.resize(share, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) > 0.5


def develop(light: Image, rng: np.random.Generator) -> np.ndarray:
    """From linear light to a frame: exposure, bloom, vignette, a film's curve, half the size, grain."""
    rgb = light[..., :3] * 0.85
    rgb = rgb + 0.25 * cv2.GaussianBlur(np.clip(rgb - 0.8, 0, 3), (0, 0), 14)
    y, x = np.mgrid[-1 : 1 : H * 1j, -1 : 1 : W * 1j].astype(np.float32)
    rgb = rgb * (1 - 0.16 * (x**2 + 0.7 * y**2) ** 1.5)[..., None]
    rgb = rgb * (2.51 * rgb + 0.03) / (rgb * (2.43 * rgb + 0.59) + 0.14)
    frame = cv2.resize(np.clip(rgb, 0, 1) ** (1 / 2.2), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    frame = frame + rng.normal(0, 0.006, (HEIGHT, WIDTH, 1))
    return np.round(np.clip(frame, 0, 1) * 255).astype(np.uint8)


class Scene:
    """What is painted once, and how it stands in each frame."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.sky = sky(rng)
        self.mountains = mountains(rng)
        trees = [pine(rng, 900) for _ in range(3)]
        self.far_shore = forest(rng, trees, 34, 60, haze=0.30)
        self.shore = forest(rng, trees, 40, 92, haze=0.10)
        self.mist = noise(rng, 160, W + 2 * MARGIN, (30, 240), 4)
        self.cloud_shadow = cv2.GaussianBlur(noise(rng, 300, W + 4 * MARGIN, (170, 420), 3), (0, 0), 8)
        self.pines = [cv2.GaussianBlur(pine(rng, 1150), (0, 0), 1.6) for _ in range(3)]  # out of focus

    def frame(self, index: int) -> tuple[Image, np.ndarray]:
        """A frame in linear light, and how much of each pixel is the red balloon."""
        time, second = index / (FRAMES - 1), index / FPS
        camera = Camera(time, second)
        red = red_balloon(camera, time, second)
        view = over(red, self.distance(camera, time, second))
        front = self.foreground(camera, second)
        view = over(front, water(view, camera.x, second))
        return camera.hold(view), camera.hold(red[..., 3] * (1 - front[..., 3]))

    def distance(self, camera: Camera, time: float, second: float) -> Image:
        """Everything behind the red balloon, from the sky to the shore and the yellow balloon."""
        hills = camera.panorama(self.mountains, 9000, 0)
        shadow = camera.panorama(self.cloud_shadow, 9000, 180, drift=60 * second - MARGIN)
        hills[..., :3] *= (1 - 0.4 * ramp(shadow, -0.4, 2.0))[..., None]
        view = over(hills, camera.panorama(self.sky, 1e6, 0))
        white = Pose(camera.across(425, 900), 118 - 10 * time, 17, lean=0.02, spin=0.5)
        view = over(balloon(WHITE, white, haze=0.35), view)
        view = over(camera.panorama(self.far_shore, 460, WATERLINE - 246), view)
        mist = 0.55 + 0.35 * camera.panorama(self.mist, 400, WATERLINE - 110, drift=9 * second)
        row = np.arange(H, dtype=np.float32)[:, None]
        mist = np.clip(mist, 0, 1) * np.exp(-(((row - WATERLINE + 14) / 24) ** 2))
        view = blend(view, MIST, 0.75 * mist)
        view = over(camera.panorama(self.shore, 350, WATERLINE - 240), view)
        view = blend(view, MIST, 0.3 * mist)
        yellow = Pose(camera.across(55 + 22 * time, 190), 236 - 20 * time, 62, lean=-0.03, spin=-0.3 * time)
        return over(balloon(YELLOW, yellow, haze=0.14), view)

    def foreground(self, camera: Camera, second: float) -> Image:
        """The pines of the near shore, swaying; the second one passes in front of the red balloon."""
        front = np.zeros((H, W, 4), np.float32)
        for tree, x, z, top in zip(
            self.pines, (-15.6, 0.4, 14.4), (14, 14, 13), (300, 165, 270), strict=True
        ):
            bend = 0.012 * np.sin(1.3 * second + x)
            left = camera.across(x, z) - tree.shape[1] / 2 + 900 * bend
            front = over(
                cv2.warpAffine(tree, np.array([[1, -bend, left], [0, 1, top]], np.float32), (W, H)), front
            )
        return cv2.blur(front, (9, 1))  # half of what they move while the shutter is open


class Camera:
    """It glides to the right, pans a little, and is held by hand."""

    def __init__(self, time: float, second: float) -> None:
        self.x = 17.0 * (time - 0.5)
        self.pan = (
            40 * np.sin(np.pi * (time - 0.5)) + 3 * np.sin(1.9 * second) + 1.5 * np.sin(4.3 * second + 1)
        )
        self.nod = 3 * np.sin(1.4 * second + 0.5) + 1.5 * np.sin(3.7 * second)

    def across(self, x: float, z: float) -> float:
        """The column at which a thing is seen."""
        return float(W / 2 + (x - self.x) * FOCAL / z - self.pan)

    def panorama(self, image: Image, z: float, top: float, drift: float = 0.0) -> Image:
        """The frame that shows a panorama at a distance, its first row at top."""
        left = self.across(0, z) - W / 2 - MARGIN + drift
        return cv2.warpAffine(image, np.array([[1, 0, left], [0, 1, top]], np.float32), (W, H))

    def hold(self, image: np.ndarray) -> np.ndarray:
        """The hand's nodding; enlarged by so much that no edge shows."""
        zoom = 1.014
        place = np.array(
            [[zoom, 0, (1 - zoom) * W / 2], [0, zoom, (1 - zoom) * H / 2 + self.nod]], np.float32
        )
        return cv2.warpAffine(image, place, (W, H))


def red_balloon(camera: Camera, time: float, second: float) -> Image:
    """It nears, climbs, turns, swings below its own lift, and burns twice."""
    pose = Pose(
        x=camera.across(-34.5 + 66 * time, 100),
        y=262 - 46 * time + 5 * np.sin(1.7 * second),
        radius=112 + 22 * time,
        lean=0.06 * np.sin(1.5 * second),
        spin=0.9 * time,
    )
    burns = (np.sin(np.pi * np.clip((second - start) / 0.9, 0, 1)) for start in (0.9, 3.2))
    return balloon(RED, pose, flame=max(burns) * (0.85 + 0.15 * np.sin(40 * second)), haze=0.03)


if __name__ == "__main__":
    main()
