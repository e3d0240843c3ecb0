"""Show an object by a box, by a box with a click, and by a mask.

python examples/box_and_mask.py
"""

from pathlib import Path

import masklet
from masklet import Prompt
from masklet.cli import run_script
from masklet.media import OverlayPng, open_frames

DEMO = str(Path(__file__).with_name("demo.mp4"))


def main(
    video: str = DEMO,
    box: tuple[float, float, float, float] = (132, 70, 247, 249),
    point: tuple[float, float] = (188, 140),
    model: str = "nano",
    out: Path = Path("out/box_and_mask"),
) -> None:
    frames, network = open_frames(video), masklet.load(model)
    session = masklet.ImageSession(network, frames[0])
    said = {
        "box": Prompt(box=box),
        "box and click": Prompt(box=box, positive=[point]),
    }
    for name, prompt in said.items():
        masks = session.segment(prompt)  # a box leaves little doubt: one answer
        print(f"{name}: {masks[0].sum()} pixels, predicted IoU {masks.iou[0]:.2f}")
        OverlayPng(out / f"{name.replace(' ', '_')}.png").write(frames[0], masks.as_masks())

    # In a video a mask is the answer on its frame, and is followed from there. It may come from anywhere.
    drawn = masks[0]
    for masks in masklet.track(network, frames, {0: {1: Prompt(mask=drawn)}}):
        if masks.frame == 0:
            agree = (masks[1] & drawn).sum() / max((masks[1] | drawn).sum(), 1)
            print(f"the mask that was given, and the answer on its frame: IoU {agree:.3f}")
    print(f"the last frame: {masks[1].sum()} pixels")
    OverlayPng(out / "last.png").write(frames[masks.frame], masks)
    print(out)


if __name__ == "__main__":
    run_script(main)
