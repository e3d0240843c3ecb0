"""A labelling team: track from one box, and hand the masks to CVAT and Label Studio for people to correct.

python examples/prelabel.py
python examples/prelabel.py --video clip.mp4 --box 132 70 247 249 --label car
"""

from pathlib import Path

from rich.progress import track as show_progress

import masklet
from masklet import Prompt
from masklet.cli import run_script
from masklet.media import open_frames, writers

DEMO = str(Path(__file__).with_name("demo.mp4"))
FORMATS = ("cvat", "label-studio", "coco", "frames")


def main(
    video: str = DEMO,
    box: tuple[float, float, float, float] = (132, 70, 247, 249),
    label: str = "balloon",
    fps: float | None = 6,
    model: str = "nano",
    out: Path = Path("out/prelabel"),
) -> None:
    frames = open_frames(video, fps=fps)
    monitor = masklet.VisibilityMonitor()
    doubtful = []
    with writers(FORMATS, out, frames, {1: label}) as files:
        tracked = masklet.track(masklet.load(model), frames, {0: {1: Prompt(box=box)}})
        for masks in show_progress(tracked, "tracking"):
            files.write(frames[masks.frame], masks)
            doubtful += [event.since for event in monitor.step(masks) if event.kind in ("doubtful", "lost")]
    print(f"make a task or project of the images in {out / 'frames'}, and import there")
    print(f"CVAT (Actions > Upload annotations > CVAT for video): {out / 'cvat_tracks.xml'}")
    print(f"Label Studio (Import): {out / 'label_studio.json'}")
    print(f"look first at the frames {doubtful or 'that matter most to you: none is doubtful'}")
    print(f"or correct here: masklet studio {Path(video).parent} --data {out / 'studio'}")


if __name__ == "__main__":
    run_script(main)
