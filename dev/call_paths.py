"""Lists the functions that process a frame, a correction and a mask, by running them with a toy network.

    python dev/call_paths.py            # their number
    python dev/call_paths.py --names    # and their names, in the order of their first calls

Functions of `nn/` and `backends/`, which are the network, comprehensions and lambdas are left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from PIL import Image

import masklet
from masklet import Masks, Prompt, Tracker, VideoSession
from masklet.config import toy
from masklet.media import CocoJson, OverlayVideo, PalettePngs, Writer, open_frames
from masklet.model import Sam2

SOURCE = Path(masklet.__file__).parent
NETWORK = ("nn", "backends")
SIZE = (48, 64)


class Walk:
    """Records masklet's functions in the order of their first calls, in all threads."""

    def __init__(self) -> None:
        self._names: dict[str, None] | None = None
        threading.setprofile(self._note)  # for threads that start later
        sys.setprofile(self._note)

    def of(self, action: Callable[[], object]) -> list[str]:
        """The functions that an action calls, as `file: qualified.name`."""
        names = self._names = dict[str, None]()
        action()
        self._names = None
        return list(names)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        names, code = self._names, frame.f_code
        if names is None or event != "call" or not code.co_filename.startswith(str(SOURCE)):
            return
        path = Path(code.co_filename).relative_to(SOURCE)
        if path.parts[0] not in NETWORK and not code.co_name.startswith("<"):
            names[f"{path}: {code.co_qualname.replace('<locals>.', '')}"] = None


def walk_frame(walk: Walk, model: Sam2, images: np.ndarray) -> list[str]:
    """Track a frame by `Tracker.step`, and compute the mask of its object."""
    tracker = Tracker(model)
    tracker.step(images[0], {1: Prompt(positive=[(20, 20)])})
    tracker.step(images[1])
    return walk.of(lambda: tracker.step(images[2])[1])


def walk_correction(walk: Walk, model: Sam2, images: np.ndarray) -> list[str]:
    """Click on a tracked frame of a `VideoSession`, and compute the mask."""
    video = VideoSession(model, images)
    video.prompt(0, 1, Prompt(positive=[(20, 20)]))
    for _ in video.propagate():
        pass
    return walk.of(lambda: video.prompt(2, 1, Prompt(negative=[(5, 5)]))[1])


def walk_click(walk: Walk, model: Sam2, images: np.ndarray) -> list[str]:
    """Click through the studio's server, from the request to the response."""
    from fastapi.testclient import TestClient

    from masklet.studio.app import make_app
    from masklet.studio.settings import Settings
    from masklet.studio.studio import Studio

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "videos" / "clip"
        folder.mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{number}.png")
        studio = Studio(Settings(data=Path(name) / "data", folder=folder.parent), model, "toy")
        with TestClient(make_app(studio), base_url="http://127.0.0.1:8000") as client:
            project = client.post("/api/projects", json={"name": "walk"}).json()["id"]
            video = client.post(f"/api/projects/{project}/videos", json={"path": "clip"}).json()["id"]
            prompts = f"/api/videos/{video}/prompts"
            click = {"frame": 0, "object": 1, "positive": [[20, 20]]}
            assert client.post(prompts, json=click).is_success
            correction = {"frame": 0, "object": 1, "negative": [[5, 5]]}
            return walk.of(lambda: client.post(prompts, json=correction).raise_for_status())


def walk_writer(walk: Walk, make: Callable[[Path], Writer]) -> list[str]:
    """Write the masks of a second frame to a file."""
    logits, ones = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(0)), torch.ones(2)
    first, second = (Masks(frame, (1, 2), logits, SIZE, ones, ones) for frame in range(2))
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder, make(Path(folder)) as writer:
        writer.write(image, first)
        return walk.of(lambda: writer.write(image, second))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", action="store_true", help="list the functions")
    parser.add_argument("--studio", action="store_true", help="include a click through the studio's server")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    walk, model = Walk(), Sam2(toy()).eval()
    images = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), dtype=np.uint8)
    frames = open_frames(images)
    walks = {
        "a frame through Tracker.step": walk_frame(walk, model, images),
        "a correction in a VideoSession": walk_correction(walk, model, images),
        "a mask to a palette PNG": walk_writer(walk, lambda folder: PalettePngs(folder / "masks")),
        "a mask to COCO": walk_writer(walk, lambda folder: CocoJson(folder / "coco.json", frames)),
        "a mask to an overlay": walk_writer(walk, lambda folder: OverlayVideo(folder / "masks.mp4", frames)),
    }
    if options.studio:
        walks["a click through the studio"] = walk_click(walk, model, images)
    for name, functions in walks.items():
        print(f"{name}: {len(functions)} functions in {len({f.split(':')[0] for f in functions})} files")
        if options.names:
            print("    " + " > ".join(functions))


if __name__ == "__main__":
    main()
