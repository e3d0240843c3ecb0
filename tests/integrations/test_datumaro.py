"""Data sets to and from Datumaro, through files. It is installed in an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from integrations.environments import check_masks, export, install

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
    return install(tmp_path_factory.mktemp("datumaro"), INSTALLED)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("exported"))


def lay_out(exported: Path, folder: Path, form: str) -> Path:
    """The files where Datumaro looks for them."""
    is_coco = form == "coco_instances"
    labels = folder / ("annotations/instances_default.json" if is_coco else "annotations.xml")
    labels.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(exported / ("coco.json" if is_coco else "cvat_masks.xml"), labels)
    shutil.copytree(exported / "images", folder / "images" / ("default" if is_coco else ""))
    return folder


@pytest.mark.parametrize("form", ["coco_instances", "cvat"])
def test_masks_go_to_datumaro_exactly_and_come_back_as_its_polygons(
    datumaro: Path, exported: Path, tmp_path: Path, form: str
) -> None:
    folder = lay_out(exported, tmp_path / "theirs", form)
    words = [datumaro, "-c", SCRIPT, folder, form, tmp_path / "back"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr
    # Datumaro's polygons run through pixels' centres, without holes
    check_masks(answer.stdout, tmp_path / "back", least=0.75)
