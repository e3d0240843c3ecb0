"""A robot's loop: steer towards an object, stop when it is lost, and connect again when the camera goes away.

python examples/robot_camera.py                                  the demo clip
python examples/robot_camera.py --source rtsp://camera/stream    a network camera
"""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

import masklet
from masklet import MediaError, Prompt
from masklet.cli import run_script
from masklet.media import Stream

DEMO = str(Path(__file__).with_name("demo.mp4"))


def watch(source: str, pause: float) -> Iterator[tuple[np.ndarray, Stream]]:
    """The camera's newest frames, for good: it is opened again whenever it fails or ends."""
    while True:
        try:
            camera = masklet.media.stream(source)
            for image in camera:
                yield image, camera
        except MediaError as error:
            print(f"no image: {error}")
        time.sleep(pause)


def main(
    source: str = DEMO,
    point: tuple[float, float] = (188, 140),
    frames: int = 108,
    pause: float = 1.0,
    model: str = "nano",
) -> None:
    tracker = masklet.Tracker(masklet.load(model))  # its memory outlasts a lost connection
    prompts = {1: Prompt(positive=[point])}
    for image, camera in islice(watch(source, pause), frames):
        masks = tracker.step(image, prompts)
        prompts = {}
        mask = masks[1]
        if masks.score[0] <= 0 or not mask.any():
            print("stop: the object is lost")
            continue
        center = np.flatnonzero(mask.any(axis=0)).mean()
        turn = 2 * center / mask.shape[1] - 1  # -1 is the image's left edge, 1 its right
        late = f"{camera.age():.2f} s old, {camera.skipped} frames skipped"
        print(f"steer {turn:+.2f}, {mask.mean():.1%} of the image, {late}")


if __name__ == "__main__":
    run_script(main)
