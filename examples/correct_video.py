"""Correct what was followed: click where it went wrong, take it back, save the session and open it again.

python examples/correct_video.py
"""

from pathlib import Path

import numpy as np

import masklet
from masklet import Prompt
from masklet.cli import run_script

DEMO = str(Path(__file__).with_name("demo.mp4"))


def follow(session: masklet.VideoSession) -> dict[int, float]:
    """Follow to the end; the predicted IoU on each frame tells where to look first."""
    return {masks.frame: float(masks.iou[0]) for masks in session.propagate()}


def main(
    video: str = DEMO,
    point: tuple[float, float] = (188, 140),
    wrong: tuple[float, float] = (430, 300),
    model: str = "nano",
    out: Path = Path("out/correct_video"),
) -> None:
    network = masklet.load(model)
    session = masklet.VideoSession(network, video)
    session.prompt(0, 1, Prompt(positive=[point]))
    found = follow(session)

    worst = min(list(found)[1:], key=found.__getitem__)
    print(f"the least sure frame is {worst}, predicted IoU {found[worst]:.2f}")
    before = session.masks(worst)[1]
    after = session.prompt(worst, 1, Prompt(negative=[wrong]))[1]
    print(f"a click there changes {np.count_nonzero(before ^ after)} pixels")

    session.undo()
    print(f"taken back: {np.count_nonzero(before ^ session.masks(worst)[1])} pixels differ from before")

    session.prompt(worst, 1, Prompt(negative=[wrong]))
    follow(session)
    lost = np.count_nonzero(after ^ session.masks(worst)[1])
    print(f"followed again: {lost} pixels of the correction are lost")

    out.mkdir(parents=True, exist_ok=True)
    session.save(out / "session.json")  # where the video is, and what was done; all else is made again
    again = masklet.VideoSession.restore(network, out / "session.json")
    same = all((again.masks(frame)[1] == session.masks(frame)[1]).all() for frame in session.answered)
    print(f"{out / 'session.json'} restored: {'the same masks' if same else 'other masks'}")


if __name__ == "__main__":
    run_script(main)
