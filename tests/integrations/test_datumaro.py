"""Data sets to and from Datumaro, through files. It is installed in an environment of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from masklet.datasets import find_items
from masklet.media import open_frames, writers
from masklet.types import Masks

SIZE, LENGTH = (40, 60), 3
INSTALLED = "datumaro==1.13.12"

# Reads a data set, prints each mask's label and pixels, and writes it as COCO with polygons: it marks
# masks in run lengths as crowds, which no training takes.
SCRIPT = """
import json, sys
import datumaro
folder, form, out = sys.argv[1:]
dataset = datumaro.Dataset.import_from(folder, form)
names = [item.name for item in dataset.categories()[datumaro.AnnotationType.label].items]
masks = {
    item.id: {
        names[mask.label]: mask.image.astype(int).tolist()
        for mask in item.annotations
        if mask.type == datumaro.AnnotationType.mask
    }
    for item in dataset
}
dataset.export(out, "coco_instances", save_media=True)
print(json.dumps(masks))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def datumaro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has Datumaro."""
    folder = tmp_path_factory.mktemp("datumaro")
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=300)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input"]
        subprocess.run([*pip, INSTALLED], check=True, capture_output=True, timeout=600)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"Datumaro cannot be installed here: {error}")
    return folder / "bin" / "python"


def objects(frame: int) -> dict[str, np.ndarray]:
    """A dog with a hole, and a ball."""
    dog, ball = np.zeros(SIZE, dtype=bool), np.zeros(SIZE, dtype=bool)
    dog[5 + frame : 20 + frame, 5:25] = True
    dog[8:10, 8:10] = False
    ball[22:30, 30 + frame : 50] = True
    return {"dog": dog, "ball": ball}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, and masklet's exports of them as COCO and CVAT for images."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "pictures").mkdir()
    for frame in range(LENGTH):
        picture = np.full((*SIZE, 3), 40 * frame, dtype=np.uint8)
        PIL.Image.fromarray(picture).save(folder / "pictures" / f"{frame:05d}.png")
    frames = open_frames(folder / "pictures")
    with writers(["coco", "cvat-images"], folder, frames, {1: "dog", 2: "ball"}) as files:
        for frame, image in enumerate(frames):
            arrays = dict(enumerate(objects(frame).values(), 1))
            files.write(image, Masks.from_arrays(frame, arrays, SIZE))
    return folder


def lay_out(exported: Path, folder: Path, form: str) -> Path:
    """The files where Datumaro looks for them."""
    is_coco = form == "coco_instances"
    labels = folder / ("annotations/instances_default.json" if is_coco else "annotations.xml")
    labels.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(exported / ("coco.json" if is_coco else "cvat_masks.xml"), labels)
    shutil.copytree(exported / "pictures", folder / "images" / ("default" if is_coco else ""))
    return folder


@pytest.mark.parametrize("form", ["coco_instances", "cvat"])
def test_masks_go_to_datumaro_exactly_and_come_back_as_its_polygons(
    datumaro: Path, exported: Path, tmp_path: Path, form: str
) -> None:
    folder = lay_out(exported, tmp_path / "theirs", form)
    words = [datumaro, "-c", SCRIPT, folder, form, tmp_path / "back"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr
    read = json.loads(answer.stdout.splitlines()[-1])
    assert len(read) == LENGTH
    for frame in range(LENGTH):
        for name, mask in objects(frame).items():
            np.testing.assert_array_equal(np.array(read[f"{frame:05d}"][name]) > 0, mask)

    items = {Path(item.name).stem: item.open() for item in find_items(tmp_path / "back")}
    assert len(items) == LENGTH
    for frame in range(LENGTH):
        picture = items[f"{frame:05d}"]
        masks = picture.masks(0, picture.objects(0))
        assert len(masks) == 2
        for mask in objects(frame).values():  # Datumaro's polygons run through pixels' centres, without holes
            assert max((mask & other).sum() / (mask | other).sum() for other in masks) > 0.75
