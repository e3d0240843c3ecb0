"""Data sets to and from FiftyOne, through files. It is installed in an environment of its own.

Its importer and exporter run without its database, whose program PyPI does not have for every system.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from integrations.environments import LENGTH, SIZE, check_masks, export, install, objects
from masklet.media import open_frames, read_label_map, writers
from masklet.types import Masks

INSTALLED = ("fiftyone==1.22.1", "pycocotools==2.0.11")  # it reads run lengths with the latter

# Reads a data set, prints each mask's label and pixels, and writes it as COCO.
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from fiftyone.utils.coco import COCODetectionDatasetExporter, COCODetectionDatasetImporter
images, labels, out = sys.argv[1:]
reader = COCODetectionDatasetImporter(data_path=images, labels_path=labels, label_types=["segmentations"])
masks = {}
with reader, COCODetectionDatasetExporter(export_dir=out, tolerance=0) as writer:
    for path, metadata, detections in reader:
        found = masks.setdefault(Path(path).stem, {})
        for detection in detections.detections:
            full = np.zeros((metadata.height, metadata.width), dtype=int)
            left, top = detection.bounding_box[:2]
            x, y = round(left * metadata.width), round(top * metadata.height)
            height, width = detection.mask.shape
            full[y : y + height, x : x + width] = detection.mask
            found[detection.label] = full.tolist()
        writer.export_sample(path, detections, metadata=metadata)
print(json.dumps(masks))
"""

# Takes a video's masks to FiftyOne and back by the page's own functions.
VIDEO_SCRIPT = """
import sys
video, masklets, out, height, width = sys.argv[1:]
sample = to_fiftyone(video, masklets)
assert sample.media_type == "video" and len(sample.frames) > 1
from_fiftyone(sample, out, (int(height), int(width)))
"""

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fiftyone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has FiftyOne."""
    return install(tmp_path_factory.mktemp("fiftyone"), *INSTALLED)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("exported"))


def test_masks_go_to_fiftyone_exactly_and_come_back_as_its_polygons(
    fiftyone: Path, exported: Path, tmp_path: Path
) -> None:
    words = [fiftyone, "-c", SCRIPT, exported / "images", exported / "coco.json", tmp_path / "back"]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr
    # FiftyOne's polygons lie half a pixel off, and lose holes
    check_masks(answer.stdout, tmp_path / "back", least=0.85)


def test_a_videos_masks_come_back_from_fiftyone_to_the_pixel(
    fiftyone: Path, exported: Path, tmp_path: Path
) -> None:
    blocks = re.findall(r"^```py\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    [functions] = [block for block in blocks if "def to_fiftyone" in block]
    frames = open_frames(exported / "images")
    with writers(["masklets"], tmp_path, frames) as files:
        for frame, image in enumerate(frames):
            files.write(image, Masks.from_arrays(frame, dict(enumerate(objects(frame).values(), 1)), SIZE))
    back = tmp_path / "clips" / "dog" / "masks"
    given = ["clip.mp4", tmp_path / "masklets.json", back, *map(str, SIZE)]
    words = [fiftyone, "-c", functions + VIDEO_SCRIPT, *given]
    answer = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr
    for frame in range(LENGTH):
        labels = read_label_map(back / f"{frame:05d}.png")
        for id, mask in enumerate(objects(frame).values(), 1):
            np.testing.assert_array_equal(labels == id, mask)
