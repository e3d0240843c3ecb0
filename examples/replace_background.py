"""Film: cut an object out as ProRes 4444 with soft edges, and put it before another background. Sound stays.

python examples/replace_background.py
python examples/replace_background.py --video shot.mov --point 640 300 --background beach.jpg
"""

from pathlib import Path

from rich.progress import track as show_progress

import masklet
from masklet import Prompt
from masklet.cli import run_script
from masklet.media import Look, open_frames, writers
from masklet.postprocess import tidy

DEMO = str(Path(__file__).with_name("demo.mp4"))
SPECK = 400  # pixels: smaller islands are dropped, smaller holes are filled


def main(
    video: str = DEMO,
    point: tuple[float, float] = (188, 140),
    background: str = "#00b140",
    soft: float = 2.0,
    model: str = "nano",
    out: Path = Path("out/replace_background"),
) -> None:
    frames = open_frames(video)
    look = Look(background=background, soft=soft)  # "blur", a colour, an image or a video; pixels
    with writers(["cutout-prores", "composite"], out, frames, look=look) as files:
        tracked = masklet.track(masklet.load(model), frames, {0: {1: Prompt(positive=[point])}})
        for masks in show_progress(tracked, "cutting out"):
            cleaned = tidy(masks, holes=SPECK, islands=SPECK)
            files.write(frames[masks.frame], cleaned)
    print(f"for an editor, with alpha: {out / 'cutout.mov'}")
    print(f"to look at: {out / 'composite.mp4'}")


if __name__ == "__main__":
    run_script(main)
