"""Labelled pictures and videos on disk, in the forms that people have them in, as one thing: `Footage`.

Training and evaluation read through this room. It knows nothing of clips, sizes, augmentation or scores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from masklet.datasets.coco import COCO_FILES, coco
from masklet.datasets.labelled_video import Film, Footage, Reel, Truth
from masklet.datasets.pngs import PngVideo, open_pngs, png_videos, pngs
from masklet.datasets.sav import sav, sav_films
from masklet.datasets.stills import masked, sa1b, sa1b_labels, yolo
from masklet.errors import MediaError

__all__ = [
    "Film",
    "Footage",
    "PngVideo",
    "Reel",
    "Truth",
    "coco",
    "find",
    "masked",
    "open_pngs",
    "png_videos",
    "pngs",
    "sa1b",
    "sav",
    "sav_films",
    "yolo",
]

Reader = Callable[[Path], list[Footage]]

FORMS: tuple[tuple[str, Reader], ...] = (  # what shows a form, the more particular first
    ("JPEGImages*", pngs),
    ("*/frames", pngs),
    ("**/*_manual.json", sav),
    ("**/*_auto.json", sav),
    *((name, coco) for name in COCO_FILES),
    ("annotations/*.json", coco),
    ("labels", yolo),
    ("masks", masked),
)


def find(path: Path) -> list[Footage]:
    """The footage of a data set in whichever form it comes, or of all data sets that lie in a folder.

    path : a data set's folder, a folder of such folders, or a COCO json
    """
    if not path.exists():
        raise MediaError(f"there is no data set {path}.")
    if path.is_file():
        return coco(path)
    reader = _reader(path)
    if reader is not None:
        return reader(path)
    inside = sorted(each for each in path.iterdir() if each.is_dir())
    found = [each for folder in inside if (reader := _reader(folder)) is not None for each in reader(folder)]
    if not found:
        raise MediaError(
            f"{path} holds no data set of a known form: DAVIS, MOSE, YouTube-VOS, SA-V, SA-1B, COCO, "
            "YOLO-seg, or images/NAME.jpg with masks/NAME.png."
        )
    return found


def _reader(folder: Path) -> Reader | None:
    known = next((reader for sign, reader in FORMS if any(folder.glob(sign))), None)
    if known is None and any(sa1b_labels(folder)):
        return sa1b
    return known
