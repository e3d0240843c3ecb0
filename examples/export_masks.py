"""Write masks as COCO, YouTube-VIS, palette PNGs and polygons, and read them back with pycocotools.

python examples/export_masks.py
"""

from pathlib import Path

from pycocotools.coco import COCO

import masklet
from masklet import Prompt
from masklet.cli import run_script
from masklet.media import (
    CocoJson,
    PalettePngs,
    PolygonsJson,
    Writers,
    YouTubeVisJson,
    open_frames,
    read_label_maps,
)

DEMO = str(Path(__file__).with_name("demo.mp4"))


def main(
    video: str = DEMO,
    point: tuple[float, float] = (188, 140),
    fps: float | None = 6,
    model: str = "nano",
    out: Path = Path("out/export_masks"),
) -> None:
    frames = open_frames(video, fps=fps)  # six frames of each second are enough to label
    writers = Writers(
        CocoJson(out / "coco.json", frames),
        YouTubeVisJson(out / "youtube_vis.json", frames),
        PolygonsJson(out / "polygons.json", frames),
        PalettePngs(out / "masks"),
    )
    with writers:  # files are whole when it closes, also after Ctrl-C
        for masks in masklet.track(masklet.load(model), frames, {0: {1: Prompt(positive=[point])}}):
            writers.write(frames[masks.frame], masks)

    coco = COCO(out / "coco.json")
    print(f"{len(coco.imgs)} images and {len(coco.anns)} masks in {out / 'coco.json'}")
    print(f"{sum(1 for _ in read_label_maps(out / 'masks'))} label maps in {out / 'masks'}")


if __name__ == "__main__":
    run_script(main)
