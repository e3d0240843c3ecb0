"""Point in the middle of a video and follow the object to both ends.

python examples/both_directions.py
"""

from pathlib import Path

import masklet
from masklet import Prompt
from masklet.cli import run_script
from masklet.media import OverlayVideo

DEMO = str(Path(__file__).with_name("demo.mp4"))


def main(
    video: str = DEMO,
    frame: int = 92,
    point: tuple[float, float] = (395, 130),
    model: str = "nano",
    out: Path = Path("out/both_directions"),
) -> None:
    session = masklet.VideoSession(masklet.load(model), video)
    session.prompt(frame, 1, Prompt(positive=[point]))
    for masks in session.propagate(reverse=True):
        print(f"backwards, frame {masks.frame}: {masks[1].sum()} pixels")
    for masks in session.propagate():
        print(f"forwards, frame {masks.frame}: {masks[1].sum()} pixels")

    with OverlayVideo(out / "overlay.mp4", session.frames) as overlay:  # which takes frames in order
        for number in session.answered:
            overlay.write(session.frames[number], session.masks(number))
    print(out / "overlay.mp4")


if __name__ == "__main__":
    run_script(main)
