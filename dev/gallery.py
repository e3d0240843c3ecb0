"""Runs the examples with nano, and writes a small image of each result to docs/images/gallery.

    python dev/gallery.py               all
    python dev/gallery.py camera        some of them

docs/gallery.md shows the images. Only every fourth frame of the demo clip is used, to save time.
"""

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

import PIL.Image

from masklet.media import open_frames

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images" / "gallery"
WIDTH = 480
STEP = 4  # every fourth frame is used

# For each example: the shown file, the frame if it is a video, and options for the shortened clip.
SHOWN: dict[str, tuple[str, int, dict[str, Any]]] = {
    "track_clip": ("overlay.mp4", 12, {}),
    "click_image": ("corrected.png", 0, {}),
    "box_and_mask": ("box.png", 0, {}),
    "camera": ("overlay.mp4", 18, {"joins": 12, "leaves": 20}),
    "several_objects": ("overlay.mp4", 16, {"late_frame": 14}),
    "both_directions": ("overlay.mp4", 4, {"frame": 23}),
    "find_everything": ("parts.png", 0, {"fps": None}),
}


def cut_clip(folder: Path) -> None:
    """Write the demo clip as a folder of images, every `STEP`-th frame."""
    folder.mkdir(parents=True)
    frames = open_frames(ROOT / "examples" / "demo.mp4")
    for number, frame in enumerate(range(0, len(frames), STEP)):
        PIL.Image.fromarray(frames[frame]).save(folder / f"{number:03d}.png")


def run_example(name: str, **options: Any) -> None:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(**options)


def main(names: list[str]) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        clip, out = Path(temporary, "clip"), Path(temporary, "out")
        cut_clip(clip)
        for name in names or SHOWN:
            file, frame, options = SHOWN[name]
            source = {"camera": {"source": str(clip)}, "click_image": {}}.get(name, {"video": str(clip)})
            run_example(name, **source, **options, out=out / name)
            path = out / name / file
            image = (
                PIL.Image.fromarray(open_frames(path)[frame])
                if path.suffix == ".mp4"
                else PIL.Image.open(path)
            )
            image = image.convert("RGB")
            image.thumbnail((WIDTH, WIDTH))
            image.save(IMAGES / f"{name}.jpg", quality=80)


if __name__ == "__main__":
    main(sys.argv[1:])
