"""Data sets on disk, in the forms that people have them in, as one kind of thing: `Footage`."""

from pathlib import Path

from masklet.errors import MediaError
from masklet.train.readers.footage import Footage, Reel
from masklet.train.readers.stills import COCO_FILES, coco, masked, sa1b, yolo
from masklet.train.readers.videos import pngs, sav

__all__ = ["Footage", "Reel", "coco", "find", "masked", "pngs", "sa1b", "sav", "yolo"]

FORMS = (  # what shows a form, the more particular first
    ("JPEGImages*", pngs),
    ("*/frames", pngs),
    ("**/*_manual.json", sav),
    ("**/*_auto.json", sav),
    *((name, coco) for name in COCO_FILES),
    ("annotations/*.json", coco),
    ("labels", yolo),
    ("masks", masked),
    ("**/*.json", sa1b),
)


def find(path: Path) -> list[Footage]:
    """The footage of a data set, in whichever form it comes.

    path : its folder, or a COCO json
    """
    if not path.exists():
        raise MediaError(f"there is no data set {path}.")
    reader = coco if path.is_file() else next((form for sign, form in FORMS if any(path.glob(sign))), None)
    if reader is None:
        raise MediaError(
            f"{path} holds no data set of a known form: DAVIS, MOSE, YouTube-VOS, SA-V, SA-1B, COCO, "
            "YOLO-seg, or images/NAME.jpg with masks/NAME.png."
        )
    return reader(path)
