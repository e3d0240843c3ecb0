"""Click in an image, look at what is offered, and correct it.

python examples/click_image.py
python examples/click_image.py --image mine.jpg --point 320 180 --wrong 300 260
"""

from pathlib import Path

import masklet
from masklet import Prompt
from masklet.cli import run_script
from masklet.media import OverlayPng, open_frames, read_image, write_label_map

DEMO = Path(__file__).with_name("demo.mp4")


def main(
    image: Path | None = None,
    point: tuple[float, float] = (188, 140),
    wrong: tuple[float, float] = (188, 300),
    model: str = "nano",
    out: Path = Path("out/click_image"),
) -> None:
    pixels = open_frames(DEMO)[0] if image is None else read_image(image)
    session = masklet.ImageSession(masklet.load(model), pixels)  # the image is encoded here, once

    # One click may mean a part or the whole, so there are three answers, best first.
    clicked = Prompt(positive=[point])
    offered = session.segment(clicked)
    for rank, mask in enumerate(offered):
        print(f"answer {rank}: {mask.sum()} pixels, predicted IoU {offered.iou[rank]:.2f}")

    # A correction repeats the clicks and adds one; the answer that it corrects is the hint.
    corrected = session.segment(clicked | Prompt(negative=[wrong]), hint=offered)
    print(f"corrected: {corrected[0].sum()} pixels, predicted IoU {corrected.iou[0]:.2f}")

    OverlayPng(out / "offered.png").write(pixels, offered.as_masks())
    OverlayPng(out / "corrected.png").write(pixels, corrected.as_masks())
    write_label_map(out / "mask.png", corrected[0])
    print(out)


if __name__ == "__main__":
    run_script(main)
