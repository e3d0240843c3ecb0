"""What is shown of a run when it has ended: one HTML page with curves, scores and pictures of predictions."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, UInt8
from jinja2 import Environment, PackageLoader
from torch import Tensor

from masklet.files import atomic_write
from masklet.media import color, paint_masks
from masklet.model import Sam2
from masklet.synthetic.clip import Clip
from masklet.train.recipe import Recipe
from masklet.train.run_log import read_rows
from masklet.train.validation import CLICKS, answer_still

PICTURED = 8
PICTURE_WIDTH = 256
POINTS = 200  # of a curve; longer logs are averaged
SMOOTHED = 20  # parts of a curve over which its smooth line averages; one with fewer points is its own
HELD_BACK = "held back, "
HELD_LOSS = HELD_BACK + "loss"
CURVES = ("loss", "focal", "dice", "iou", "score", "rate")

Rows = Sequence[dict[str, float]]


@dataclass(frozen=True)
class Curve:
    """A number over the steps, as points of a drawing 500 wide and 200 high; and the same less its noise."""

    name: str
    first: float
    last: float
    low: float
    high: float
    steps: int
    line: str
    smooth: str

    @classmethod
    def of(cls, name: str, rows: Rows) -> Curve:
        steps, values = (np.array([row[key] for row in rows]) for key in ("step", name))
        if len(steps) > POINTS:
            parts = np.array_split(np.arange(len(steps)), POINTS)
            steps, values = (np.array([each[part].mean() for part in parts]) for each in (steps, values))
        low, high = float(values.min()), float(values.max())
        xs = 500 * steps / max(steps[-1], 1)
        ys = 200 - 200 * (values - low) / (high - low or 1.0)
        window = np.ones(1 + len(ys) // SMOOTHED)
        means = np.convolve(ys, window, "same") / np.convolve(np.ones(len(ys)), window, "same")
        lines = (" ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, each, strict=True)) for each in (ys, means))
        return cls(name, float(values[0]), float(values[-1]), low, high, int(rows[-1]["step"]), *lines)


@dataclass(frozen=True, eq=False)
class Shown:
    """A row of pictures of one width, by their captions."""

    pictures: Mapping[str, UInt8[np.ndarray, "H W 3"]]

    @classmethod
    def of(cls, pictures: Mapping[str, UInt8[np.ndarray, "H W 3"]]) -> Shown:
        return cls({caption: _narrowed(picture) for caption, picture in pictures.items()})

    @property
    def packed(self) -> list[tuple[str, str]]:
        """Captions, and pictures as the data of a data: URL."""
        return [(caption, _packed(picture)) for caption, picture in self.pictures.items()]

    @property
    def strip(self) -> UInt8[np.ndarray, "H W 3"]:
        """All side by side."""
        return np.hstack(list(self.pictures.values()))


def write_report(out: Path, title: str, about: str, shown: Iterable[Shown]) -> Path:
    """Write `report.html`, which needs nothing beside it.

    out : the run's folder, which holds its log
    about : what learned, and from what start, in a sentence or two
    """
    rows = read_rows(out)
    steps = [row for row in rows if "loss" in row and np.isfinite(row["loss"])]
    measured = [row for row in rows if "loss" not in row]
    held = [name for name in (measured[-1] if measured else {}) if name.startswith(HELD_BACK)]
    template = Environment(loader=PackageLoader("masklet.train", "."), autoescape=True).get_template(
        "report.html.j2"
    )
    text = template.render(
        title=title,
        about=about,
        steps=int(steps[-1]["step"]) if steps else 0,
        passed_over=sum("loss" in row for row in rows) - len(steps),
        seconds=sum(row["seconds"] for row in steps),
        scores=[_score(name, [row[name] for row in measured]) for name in held if name != HELD_LOSS],
        curves=[Curve.of(name, steps) for name in CURVES if steps and name in steps[0]],
        held_back=[Curve.of(name, measured) for name in held],
        shown=list(shown),
    )
    path = out / "report.html"
    with atomic_write(path) as part:
        part.write_text(text)
    return path


def _score(name: str, values: Sequence[float]) -> tuple[str, float, float, float]:
    """What was measured, and how it was at the start, at best, and at the end."""
    return name.removeprefix(HELD_BACK), values[0], max(values), values[-1]


def predictions(recipe: Recipe, model: Sam2) -> Iterator[Shown]:
    """What a network makes of some held-back stills."""
    for still in recipe.exam.stills[:PICTURED] if recipe.exam else ():
        answers = answer_still(model, still)
        shown: dict[str, Bool[np.ndarray, "b H W"]] = {
            "truth": still.masks[0],
            "1 click": _masks(answers.chosen, still),
            f"{CLICKS} clicks": _masks(answers.clicks, still),
            "box": _masks(answers.box, still),
        }
        yield Shown.of({caption: painted(still.images[0], masks) for caption, masks in shown.items()})


def _masks(logits: Tensor, still: Clip) -> Bool[np.ndarray, "b H W"]:
    size = still.images.shape[1:3]
    with torch.inference_mode():
        return (F.interpolate(logits[:, None], size, mode="bilinear")[:, 0] > 0).cpu().numpy()


def painted(image: UInt8[np.ndarray, "H W 3"], masks: Bool[np.ndarray, "b H W"]) -> np.ndarray:
    """An image with each mask in a colour of its own."""
    return paint_masks(image, [(mask, color(id)) for id, mask in enumerate(masks, 1)], fill=0.55, outline=0)


def _narrowed(image: UInt8[np.ndarray, "H W 3"]) -> np.ndarray:
    scale = PICTURE_WIDTH / image.shape[1]
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _packed(image: UInt8[np.ndarray, "H W 3"]) -> str:
    _, packed = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return base64.b64encode(packed.tobytes()).decode("ascii")
