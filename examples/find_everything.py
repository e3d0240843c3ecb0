"""Everything in an image and in a video, without pointing: masks, a partition, objects over time.

python examples/find_everything.py
"""

from pathlib import Path

import masklet
from masklet.auto import everything_in_image, everything_in_video
from masklet.cli import run_script
from masklet.media import MaskletsJson, OverlayPng, OverlayVideo, Writers, open_frames

DEMO = str(Path(__file__).with_name("demo.mp4"))


def main(
    video: str = DEMO,
    preset: str = "fast",
    max_objects: int = 6,
    fps: float | None = 6.0,
    model: str = "nano",
    out: Path = Path("out/find_everything"),
) -> None:
    network = masklet.load(model)
    frames = open_frames(video, fps=fps)
    found = everything_in_image(network, frames[0], preset, sort="area")
    print(f"first frame: {len(found)} masks")
    OverlayPng(out / "masks.png").write(frames[0], found.uncovered())
    parts = everything_in_image(network, frames[0], preset, partition=True)
    print(f"every pixel once: {len(parts)} parts")
    OverlayPng(out / "parts.png").write(frames[0], parts)

    followed = everything_in_video(network, frames, preset, max_objects=max_objects)
    with Writers(
        MaskletsJson(out / "masklets.json", frames), OverlayVideo(out / "overlay.mp4", frames)
    ) as each:
        for masks in followed:
            each.write(frames[masks.frame], masks)
    for id, track in followed.tracks.items():
        transitions = ", ".join(f"{kind} at {frame}" for frame, kind in track.transitions) or "never lost"
        print(f"object {id}: first on frame {track.first}, visible on {track.visible} frames, {transitions}")
    print(out / "overlay.mp4")


if __name__ == "__main__":
    run_script(main)
