"""Follow what a camera sees: objects join, are corrected and leave, and memory does not grow.

python examples/camera.py                  the demo clip, frame by frame, as if it were live
python examples/camera.py --source 0       the first camera; also a URL such as rtsp://...
"""

from itertools import islice
from pathlib import Path

import masklet
from masklet import Prompt
from masklet.cli import run_script
from masklet.media import OverlayVideo, stream

DEMO = str(Path(__file__).with_name("demo.mp4"))


def main(
    source: str = DEMO,
    first: tuple[float, float] = (188, 140),
    second: tuple[float, float] = (524, 110),
    joins: int = 48,
    leaves: int = 80,
    frames: int = 108,
    model: str = "nano",
    out: Path = Path("out/camera"),
) -> None:
    tracker = masklet.Tracker(masklet.load(model))
    live = stream(source)  # slower than a camera, we skip frames and get the newest
    prompts = {
        0: {1: Prompt(positive=[first])},
        joins: {2: Prompt(positive=[second])},  # an object joins by its first prompt
    }
    with OverlayVideo(out / "overlay.mp4", live) as video:
        for frame, image in enumerate(islice(live, frames)):
            if frame == leaves:
                tracker.forget(1)
            masks = tracker.step(image, prompts.get(frame))
            visible = [id for id, score in zip(masks.ids, masks.score, strict=True) if score > 0]
            print(f"frame {frame}: following {tracker.ids}, visible {visible}")
            video.write(image, masks)
    print(out / "overlay.mp4")


if __name__ == "__main__":
    run_script(main)
