"""Follow several objects together, in one batch; each gets the masks that it would get alone.

python examples/several_objects.py
"""

from pathlib import Path

import masklet
from masklet import Prompt
from masklet.cli import run_script
from masklet.media import OverlayVideo, PalettePngs, Writers, open_frames
from masklet.postprocess import tidy

DEMO = str(Path(__file__).with_name("demo.mp4"))


def main(
    video: str = DEMO,
    red: tuple[float, float] = (188, 140),
    yellow: tuple[float, float] = (534, 110),
    late: tuple[float, float] = (597, 55),
    late_frame: int = 56,
    model: str = "nano",
    out: Path = Path("out/several_objects"),
) -> None:
    frames = open_frames(video)
    prompts = {
        0: {1: Prompt(positive=[red]), 2: Prompt(positive=[yellow])},
        late_frame: {3: Prompt(positive=[late])},  # the numbers are yours, from 1 on
    }
    writers = Writers(PalettePngs(out / "masks"), OverlayVideo(out / "overlay.mp4", frames))
    with writers:
        for masks in masklet.track(masklet.load(model), frames, prompts):
            masks = tidy(masks, holes=50, islands=50, exclusive=True)  # for files and eyes; off by default
            writers.write(frames[masks.frame], masks)
            areas = ", ".join(f"{id}: {mask.sum()}" for id, mask in masks.items())
            print(f"frame {masks.frame}: pixels of each object {areas}")
    print(out)


if __name__ == "__main__":
    run_script(main)
