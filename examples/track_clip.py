"""Track one object through a clip, from one click.

python examples/track_clip.py
python examples/track_clip.py --video mine.mp4 --point 320 180 --out out/mine
"""

from pathlib import Path

import masklet
from masklet import Prompt
from masklet.cli import run_script
from masklet.media import MaskletsJson, OverlayVideo, PalettePngs, Writers, open_frames

DEMO = str(Path(__file__).with_name("demo.mp4"))


def main(
    video: str = DEMO,
    point: tuple[float, float] = (188, 140),
    model: str = "nano",
    out: Path = Path("out/track_clip"),
) -> None:
    frames = open_frames(video)  # a file, a folder or glob of images, an array
    prompts = {0: {1: Prompt(positive=[point])}}  # frame -> object id -> prompt

    writers = Writers(
        PalettePngs(out / "masks"),
        MaskletsJson(out / "masklets.json", frames),
        OverlayVideo(out / "overlay.mp4", frames),
    )
    with writers:
        for masks in masklet.track(masklet.load(model), frames, prompts):
            writers.write(frames[masks.frame], masks)
            x0, y0, x1, y1 = masks.boxes[0]
            print(f"frame {masks.frame}: {masks[1].sum()} pixels in {x0:g},{y0:g} to {x1:g},{y1:g}")
            print(f"  predicted IoU {masks.iou[0]:.2f}, object score {masks.score[0]:+.1f}")
    print(out / "overlay.mp4")


if __name__ == "__main__":
    run_script(main)
