"""python tests/fuzz_readers.py TARGET RUNS SEED: damage what masklet reads, guided by the code it reaches.

Run by tests/test_fuzz.py and by hand. Each input is a sound file in which values, keys, entries or bytes are
replaced; atheris chooses what, and keeps what reaches new code. A reader returns or raises a MaskletError,
in 5 seconds and in 1 GiB more than it began with.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import atheris
import numpy as np

READERS = (
    "boxes",
    "checkpoint",
    "config",
    "datasets",
    "media.readers",
    "prompts",
    "rle",
    "run_folder",
    "sessions.events",
)
with atheris.instrument_imports(include=[f"masklet.{module}" for module in READERS]):
    from masklet import checkpoint, rle
    from masklet.config import toy
    from masklet.datasets.videos import SavLabels
    from masklet.errors import MaskletError
    from masklet.media import open_frames
    from masklet.media.annotations import read_annotations
    from masklet.media.annotations.coco import CocoFile
    from masklet.media.readers.prompt_files import build_prompts, read_prompt_rows
    from masklet.model import Sam2
    from masklet.prompts import Prompt
    from masklet.run_folder import Manifest, Run
    from masklet.sessions.events import Prompted, Script
    from masklet.sessions.saved import SavedSession

SECONDS, BYTES = 5.0, 2**30
SIZE = (24, 32)
MASK = rle.encode(np.eye(*SIZE, dtype=bool))
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -(10**9), 0.5, 1e308, float("nan"), float("inf")),
    *("", "0", "1", "a" * 5000, "\0", "\ud800", "../../x", "b'abc'", "\u202e", "NaN", [], {}, [[]], [None]),
    *([1, 1], [10**9, 10**9], [[0, 0, 9, 0, 9, 9]], {"size": [10**9, 10**9], "counts": [1]}, MASK),
]
POLYGON = [1, 1, 30, 1, 30, 20]
COCO = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": SIZE[1], "height": SIZE[0], "frame_index": 0},
        {"id": "2", "file_name": "b/a.png"},
    ],
    "categories": [{"id": 1, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [POLYGON], "bbox": [1, 1, 9, 9]},
        {"id": 2, "image_id": "2", "segmentation": MASK, "iscrowd": 0, "attributes": {}},
    ],
}
VIDEOS = {
    "videos": [{"id": 1, "file_names": ["a.png"], "width": SIZE[1], "height": SIZE[0]}],
    "categories": [],
    "annotations": [{"id": 1, "video_id": 1, "segmentations": [MASK, None], "bboxes": [None, None]}],
}
SAV = {"masklet_id": [0], "masklet": [[MASK], [MASK]], "video_frame_count": 8, "masklet_frame_step": 4}
LINE = {
    "source": "a.png",
    "frame": 0,
    "object": "dog",
    "class": "x",
    "positive": [[3, 4]],
    "box": [1, 2, 9, 9],
}
TABLE = "source,frame,object,x,y,label,x0,y0,x1,y1\na.png,0,dog,3,4,1,,,,\n,0,2,,,,1,2,9,9\n"
FRAMES = open_frames(np.zeros((3, *SIZE, 3), np.uint8))


def read_coco(path: Path) -> None:
    for entries in CocoFile.read(path).annotations.values():
        for annotation in entries:
            if annotation.segmentation is not None:
                annotation.mask(SIZE)


def read_sav(path: Path) -> None:
    labels = SavLabels.read(path)
    for row in range(len(labels.masks)):
        for column in range(len(labels.ids)):
            labels.mask(row, column, SIZE)


def read_prompts(path: Path) -> None:
    build_prompts(read_prompt_rows(path), path.parent, FRAMES)


def read_manifest(path: Path) -> None:
    Manifest.read(path.parent)


def load(path: Path) -> None:
    checkpoint.load(path, device="cpu", engine="torch", config=toy() if path.suffix == ".pt" else None)


def _session(folder: Path) -> list[Any]:
    script = Script([Prompted(0, 1, Prompt(positive=[(3, 4)]))])
    SavedSession("clip.mp4", SIZE, None, 16, script).write(folder / "sound.json")
    return [json.loads((folder / "sound.json").read_text())]


def _manifest(folder: Path) -> list[Any]:
    run = {"command": "track", "version": "1", "settings": {}, "inputs": {"a.mp4": "00"}}
    assert run.keys() == Run.__dataclass_fields__.keys()
    return [{"run": run, "key": "a", "files": {"masks": 2}, "is_complete": True, "replaces": ["masks"]}]


# A target's file name, its reader, and sound contents: JSON, or bytes.
TARGETS: dict[str, tuple[str, Callable[[Path], Any], Callable[[Path], list[Any]]]] = {
    "coco": ("c.json", read_coco, lambda folder: [COCO]),
    "annotations": ("c.json", read_annotations, lambda folder: [COCO, VIDEOS]),
    "sav": ("c.json", read_sav, lambda folder: [SAV]),
    "prompts": ("p.jsonl", read_prompts, lambda folder: [LINE]),
    "table": ("p.csv", read_prompts, lambda folder: [TABLE.encode()]),
    "session": ("s.json", SavedSession.read, _session),
    "manifest": ("run.json", read_manifest, _manifest),
    "safetensors": ("w.safetensors", load, lambda folder: [_weights(folder / "sound.safetensors")]),
    "pickle": ("w.pt", load, lambda folder: [_weights(folder / "sound.pt")]),
}


def _weights(path: Path) -> bytes:
    layout = {"layout": "original"} if path.suffix == ".pt" else {}
    checkpoint.save(Sam2(toy()), path, **layout)
    return path.read_bytes()


def damage_json(content: Any, choice: atheris.FuzzedDataProvider) -> bytes:
    """Replace, remove or repeat values anywhere in a document."""
    document = {"": copy.deepcopy(content)}
    for _ in range(choice.ConsumeIntInRange(1, 4)):
        holder, key = choice.PickValueInList(list(_places(document)))
        match choice.ConsumeIntInRange(0, 4):
            case 0 if holder is not document:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case 2:
                holder[key] = choice.ConsumeInt(9)
            case 3:
                holder[key] = choice.ConsumeUnicode(12)
            case _:
                holder[key] = copy.deepcopy(choice.PickValueInList(ODD))
    text = json.dumps(document[""])
    return text.encode() if choice.ConsumeIntInRange(0, 9) else damage_bytes(text.encode(), choice)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a document, by what holds it and its key there."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def damage_bytes(content: bytes, choice: atheris.FuzzedDataProvider) -> bytes:
    """Replace, remove and repeat bytes, near the beginning above all."""
    data = bytearray(content)
    for _ in range(choice.ConsumeIntInRange(1, 6)):
        reach = min(len(data), 4096) if choice.ConsumeIntInRange(0, 3) else len(data)
        start = choice.ConsumeIntInRange(0, max(0, reach - 1))
        match choice.ConsumeIntInRange(0, 3):
            case 0:
                data[start : start + 1] = choice.ConsumeBytes(1)
            case 1:
                data[start : start + 8] = choice.ConsumeBytes(choice.ConsumeIntInRange(0, 16))
            case 2:
                data[start:start] = data[start : start + 64]
            case _:
                del data[start : start + choice.ConsumeIntInRange(1, 4096)]
    return bytes(data)


def damage_weights(content: bytes, choice: atheris.FuzzedDataProvider) -> bytes:
    """Damage the JSON at the beginning of a safetensors file, or the pickle within a zip archive."""
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        rebuilt = io.BytesIO()
        with zipfile.ZipFile(rebuilt, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, damage_bytes(data, choice) if name.endswith("data.pkl") else data)
        return rebuilt.getvalue()
    end = 8 + int.from_bytes(content[:8], "little")
    header = damage_json(json.loads(content[8:end]), choice)
    return len(header).to_bytes(8, "little") + header + content[end:]


def main(target: str, runs: int, seed: int) -> None:
    """Read damaged files of a target until one is read wrongly; its content is printed."""
    logging.disable(logging.CRITICAL)
    name, read, make_sound = TARGETS[target]
    folder = Path(tempfile.mkdtemp())
    sound, path = make_sound(folder), folder / name

    def check(data: bytes) -> None:
        choice = atheris.FuzzedDataProvider(data)
        content = choice.PickValueInList(sound)
        if not isinstance(content, bytes):
            damaged = damage_json(content, choice)
        elif target != "table" and choice.ConsumeBool():
            damaged = damage_weights(content, choice)
        else:
            damaged = damage_bytes(content, choice)
        path.write_bytes(damaged)
        start = time.process_time()
        try:
            read(path)
        except MaskletError:
            pass
        except BaseException:
            print(f"{target}, input of {len(damaged)} bytes: {damaged[:3000]!r}", file=sys.stderr)
            raise
        took = time.process_time() - start
        assert took < SECONDS, f"{took:.1f} seconds for {damaged[:3000]!r}"

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    atheris.Setup(
        [
            "fuzz",
            f"-atheris_runs={runs}",
            f"-seed={seed}",
            "-max_len=256",
            "-len_control=0",
            "-rss_limit_mb=0",
            f"-artifact_prefix={folder}/",
        ],
        check,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
