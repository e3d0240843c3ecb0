"""The log of a run (JSON lines, and TensorBoard), and its report: one HTML page with scores and images."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from jinja2 import Environment, PackageLoader
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from masklet.datasets.types import Clip
from masklet.drawing import encode_jpeg, resize_to_width
from masklet.files import atomic_write
from masklet.masks import enlarge
from masklet.media import color, paint_masks
from masklet.model import Sam2
from masklet.train.loop import VALIDATION, LogRow
from masklet.train.recipe import Recipe, ValidationSet
from masklet.train.validation import CLICKS, IOU_BIAS, IOU_ERROR, answer_image, answer_still

log = logging.getLogger(__name__)

LOG = "log.jsonl"
IMAGES = 8
IMAGE_WIDTH = 256
CURVE_POINTS = 200  # longer logs are averaged
SMOOTHING = 20  # the smooth line averages over this fraction of a curve
VALIDATION_LOSS = VALIDATION + "loss"
CURVES = ("loss", "focal", "dice", "iou", "score", "rate")


class RunLog:
    """Writes rows to log.jsonl and TensorBoard. If that fails, the run continues."""

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.path = out / LOG
        self._end_last_line()
        self.board = SummaryWriter(str(out / "tensorboard"))

    def _end_last_line(self) -> None:
        """End a line that was truncated by a kill, since the next row would be lost otherwise."""
        if self.path.is_file() and self.path.stat().st_size:
            with self.path.open("rb+") as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")

    def write(self, row: LogRow) -> None:
        """Append a row, which has its `step`."""
        try:
            with self.path.open("a") as file:
                file.write(json.dumps({**row, "time": round(time.time(), 1)}) + "\n")
            for name, value in row.items():
                if name != "step":
                    self.board.add_scalar(name.replace(", ", "/"), value, int(row["step"]))
        except OSError as error:
            log.warning("step %d is not in %s: %s", row["step"], self.path, error)

    def write_images(self, step: int, images: Iterable[UInt8[np.ndarray, "H W 3"]]) -> None:
        """Add images to TensorBoard."""
        try:
            for index, image in enumerate(images):
                self.board.add_image(f"validation/{index}", image, step, dataformats="HWC")
        except OSError as error:
            log.warning("the images of step %d are not in the log: %s", step, error)

    def close(self) -> None:
        try:
            self.board.close()
        except OSError as error:
            log.warning("the last rows are not in TensorBoard's log: %s", error)


def read_log(out: Path) -> list[LogRow]:
    """The rows of a log in the order of steps. A resumed run repeats rows: the newest counts."""
    rows: dict[tuple[float, bool], LogRow] = {}
    with (out / LOG).open() as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:  # truncated when the run was killed
                continue
            rows[row["step"], "loss" in row] = row
    return [rows[key] for key in sorted(rows)]


@dataclass(frozen=True)
class Curve:
    """A number over the steps, as points of a drawing 500 wide and 200 high; and smoothed."""

    name: str
    first: float
    last: float
    low: float
    high: float
    steps: int
    line: str
    smooth: str

    @classmethod
    def of(cls, name: str, rows: Sequence[LogRow]) -> Curve:
        steps, values = (np.array([row[key] for row in rows]) for key in ("step", name))
        if len(steps) > CURVE_POINTS:
            parts = np.array_split(np.arange(len(steps)), CURVE_POINTS)
            steps, values = (np.array([column[part].mean() for part in parts]) for column in (steps, values))
        low, high = float(values.min()), float(values.max())
        xs = 500 * steps / max(steps[-1], 1)
        ys = 200 - 200 * (values - low) / (high - low or 1.0)
        window = np.ones(1 + len(ys) // SMOOTHING)
        means = np.convolve(ys, window, "same") / np.convolve(np.ones(len(ys)), window, "same")
        lines = (" ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, line, strict=True)) for line in (ys, means))
        return cls(name, float(values[0]), float(values[-1]), low, high, int(rows[-1]["step"]), *lines)


@dataclass(frozen=True, eq=False)
class ImageStrip:
    """Images of one width, by their captions."""

    images: Mapping[str, UInt8[np.ndarray, "H W 3"]]

    @classmethod
    def of(cls, images: Mapping[str, UInt8[np.ndarray, "H W 3"]]) -> ImageStrip:
        return cls({caption: resize_to_width(image, IMAGE_WIDTH) for caption, image in images.items()})

    @property
    def encoded(self) -> list[tuple[str, str]]:
        """Captions, and images as the data of a data: URL."""
        return [(caption, encode_jpeg(image)) for caption, image in self.images.items()]

    @property
    def strip(self) -> UInt8[np.ndarray, "H W 3"]:
        """All side by side."""
        return np.hstack(list(self.images.values()))


def write_report(out: Path, title: str, about: str, command: str, images: Iterable[ImageStrip]) -> Path:
    """Write `report.html`, a page that needs no other files.

    Args:
        out: The run's folder, which holds its log.
        about: A description of the run: what was trained, from which weights.
        command: The command that made the report.
    """
    rows = read_log(out)
    steps = [row for row in rows if "loss" in row and np.isfinite(row["loss"])]
    validations = [row for row in rows if "loss" not in row]
    names = [name for name in (validations[-1] if validations else {}) if name.startswith(VALIDATION)]
    validations = [row for row in validations if all(name in row for name in names)]
    template = Environment(loader=PackageLoader("masklet.train", "."), autoescape=True).get_template(
        "report.html.j2"
    )
    text = template.render(
        title=title,
        about=about,
        command=command,
        steps=int(steps[-1]["step"]) if steps else 0,
        skipped=sum("loss" in row for row in rows) - len(steps),
        seconds=sum(row["seconds"] for row in steps),
        scores=[
            _score(name, [row[name] for row in validations]) for name in names if name != VALIDATION_LOSS
        ],
        curves=[Curve.of(name, steps) for name in CURVES if steps and name in steps[0]],
        validation_curves=[Curve.of(name, validations) for name in names],
        strips=list(images),
    )
    path = out / "report.html"
    with atomic_write(path) as part:
        part.write_text(text)
    return path


def _score(name: str, values: Sequence[float]) -> tuple[str, float, float, float]:
    """A score's name, and its first, best and last value."""
    name = name.removeprefix(VALIDATION)
    best = min(values, key=abs) if name in (IOU_ERROR, IOU_BIAS) else max(values)
    return name, values[0], best, values[-1]


def predictions(recipe: Recipe, model: Sam2) -> Iterator[ImageStrip]:
    """The answers of a network on some validation images, or on stills if there are no images."""
    validation = recipe.validation or ValidationSet()
    for sample in validation.images[:IMAGES]:
        answers = list(answer_image(model, sample, validation))
        yield _paint_strip(
            sample.image,
            truth=[answer.truth for answer in answers],
            one_click=[answer.one_click.best for answer in answers],
            clicks=[answer.clicks for answer in answers],
            box=[answer.box for answer in answers],
        )
    for still in validation.stills[: max(0, IMAGES - len(validation.images))]:
        logits = answer_still(model, still)
        yield _paint_strip(
            still.images[0],
            truth=still.masks[0],
            one_click=_threshold(logits.one_click, still),
            clicks=_threshold(logits.clicks, still),
            box=_threshold(logits.box, still),
        )


def _paint_strip(
    image: UInt8[np.ndarray, "H W 3"],
    *,
    truth: Iterable[np.ndarray],
    one_click: Iterable[np.ndarray],
    clicks: Iterable[np.ndarray],
    box: Iterable[np.ndarray],
) -> ImageStrip:
    columns = {"truth": truth, "1 click": one_click, f"{CLICKS} clicks": clicks, "box": box}
    return ImageStrip.of({caption: _paint(image, masks) for caption, masks in columns.items()})


def _threshold(logits: Tensor, still: Clip) -> Bool[np.ndarray, "b H W"]:
    size = still.images.shape[1], still.images.shape[2]
    with torch.inference_mode():
        return (enlarge(logits, size) > 0).cpu().numpy()


def _paint(image: UInt8[np.ndarray, "H W 3"], masks: Iterable[Bool[np.ndarray, "H W"]]) -> np.ndarray:
    """An image with each mask in its own colour."""
    return paint_masks(image, [(mask, color(id)) for id, mask in enumerate(masks, 1)], fill=0.55, outline=0)
