"""Camera traps: everything in a folder of images, as a table for R or a spreadsheet and as COCO.

python examples/camera_traps.py                     images of the demo clip
python examples/camera_traps.py --folder traps/     your own; the largest objects, below --max-area
"""

import csv
import json
from dataclasses import replace
from pathlib import Path

import PIL.Image

import masklet
from masklet.auto import resolve_grid
from masklet.cli import run_script
from masklet.media import find_images, open_frames, read_image


def make_folder(folder: Path) -> Path:
    """Three frames of the demo clip, as a camera would have taken them."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = open_frames(Path(__file__).with_name("demo.mp4"))
    for frame in (0, 50, 100):
        PIL.Image.fromarray(frames[frame]).save(folder / f"site-1_{frame:04d}.jpg")
    return folder


def main(
    folder: Path | None = None,
    most: int = 5,
    grid: str = "fast",
    max_area: float = 0.25,
    model: str = "nano",
    out: Path = Path("out/camera_traps"),
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    network = masklet.load(model)
    chosen = replace(resolve_grid(grid, network.config), max_area=max_area)
    rows, images, annotations = [], [], []
    for number, path in enumerate(find_images(folder or make_folder(out / "images")), 1):
        everything = masklet.everything(network, read_image(path), chosen, sort="area")
        found, (height, width) = everything.select(*everything.ids[:most]), everything.size
        for id, box, area, iou in zip(found.ids, found.boxes.tolist(), found.areas, found.iou, strict=True):
            rows.append((path.name, id, *box, round(area / (height * width), 4), round(float(iou), 3)))
        images.append({"id": number, "file_name": path.name, "height": height, "width": width})
        annotations += found.to_coco(image_id=number)
        print(f"{path.name}: {len(found)} objects")
    with (out / "objects.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file", "object", "x0", "y0", "x1", "y1", "share", "iou"), *rows])
    numbered = [{**entry, "id": number} for number, entry in enumerate(annotations, 1)]
    coco = {"images": images, "annotations": numbered, "categories": [{"id": 1, "name": "object"}]}
    (out / "coco.json").write_text(json.dumps(coco), encoding="utf-8")
    print(f"{len(rows)} rows in {out / 'objects.csv'}, the masks in {out / 'coco.json'}")


if __name__ == "__main__":
    run_script(main)
