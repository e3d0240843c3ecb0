"""The result of a protocol, and its report: a table, a JSON file, and a page with the worst frames."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from masklet import rle
from masklet.boxes import tight_box
from masklet.drawing import encode_jpeg, resize_to_width
from masklet.errors import MissingExtra
from masklet.files import atomic_write
from masklet.media import paint_masks

if TYPE_CHECKING:
    from jinja2 import Template

NOT_PERCENT = ("switches", "s/frame", "user s", "NoC@85", "NoC@90")  # scores with other units
IMAGES = 12
IMAGE_WIDTH = 400
SMALLEST_REGION = 0.05  # fraction of a side; smaller regions are not enlarged further
MISSED, EXCEEDED, HIT = (30, 144, 255), (255, 80, 60), (60, 200, 90)

WORST_FRAMES = 2  # stored with each result


@dataclass(frozen=True)
class TableRow:
    """Mean scores over some objects."""

    label: str
    objects: int
    scores: dict[str, float]

    @classmethod
    def over(cls, label: str, results: Sequence[ObjectResult]) -> TableRow:
        scores = _mean_scores([result.scores for result in results])
        return cls(label, len({(result.sample, result.object) for result in results}), scores)

    def format(self, name: str) -> str:
        value = self.scores.get(name)
        if value is None:
            return ""
        return f"{value:.2f}" if name in NOT_PERCENT else f"{100 * value:.1f}"


def summarize(results: Sequence[ObjectResult]) -> list[TableRow]:
    """A row for each setting; for a setting with steps a row for each step, and their mean."""
    rows = []
    for setting, of_setting in _group(results, lambda result: result.setting).items():
        steps = _group(of_setting, lambda result: str(result.step))
        if len(steps) > 1:
            rows += [TableRow.over(f"{setting}, step {step}", of_step) for step, of_step in steps.items()]
        rows.append(TableRow.over(f"{setting}, mean" if len(steps) > 1 else setting, of_setting))
    return rows


def summarize_groups(results: Sequence[ObjectResult], setting: str) -> list[TableRow]:
    """A row for each clip or set of images, and their unweighted mean."""
    groups = _group([result for result in results if result.setting == setting], lambda result: result.group)
    rows = [TableRow.over(group, of_group) for group, of_group in groups.items()]
    means = _mean_scores([row.scores for row in rows])
    return [*rows, TableRow(f"mean of {len(rows)}", sum(row.objects for row in rows), means)]


def _mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each score's mean over the objects that have it."""
    names = dict.fromkeys(name for of_object in scores for name in of_object)
    return {
        name: float(np.mean([of_object[name] for of_object in scores if name in of_object])) for name in names
    }


def mean_curve(results: Sequence[ObjectResult], name: str) -> list[tuple[int, float]]:
    """A score's mean at each step."""
    steps = defaultdict(list)
    for result in results:
        if result.step is not None and name in result.scores:
            steps[result.step].append(result.scores[name])
    return [(step, float(np.mean(values))) for step, values in sorted(steps.items())]


def make_table(title: str, rows: Iterable[TableRow]) -> Table:
    """Rows for the terminal, scores in percent."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row.scores))
    table = Table(title=title, title_justify="left")
    table.add_column()
    for name in ("objects", *names):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row.label, str(row.objects), *(row.format(name) for name in names))
    return table


def write_json(path: Path, title: str, command: str, results: Sequence[ObjectResult]) -> None:
    """Write means and results, without the masks of worst frames.

    Args:
        command: The command that made the report.
    """
    fields = [result.to_json() for result in results]
    content = {
        "title": title,
        "command": command,
        "means": {row.label: {"objects": row.objects, **row.scores} for row in summarize(results)},
        "results": [{name: of[name] for name in of if name != "worst"} for of in fields],
    }
    with atomic_write(path) as part:
        part.write_text(json.dumps(content, indent=1))


def load_template() -> Template:
    """The page's template. Load it before a long run, so that a missing package is reported at once."""
    try:
        from jinja2 import Environment, PackageLoader
    except ImportError as error:
        raise MissingExtra("evaluate", "jinja2") from error
    return Environment(loader=PackageLoader("masklet.evaluate", "."), autoescape=True).get_template(
        "page.html.j2"
    )


def write_page(
    path: Path,
    template: Template,
    title: str,
    command: str,
    results: Sequence[ObjectResult],
    *,
    axis: str,
    headline: Sequence[str],
    read_frame: Callable[[str, int], np.ndarray],
) -> None:
    """Write one HTML file that needs no other files.

    Args:
        command: The command that made the report.
        read_frame: Maps a sample's name and a frame to the image, (H, W, 3) uint8.
    """
    settings = list(_group(results, lambda result: result.setting))
    groups = {result.group for result in results}
    text = template.render(
        title=title,
        command=command,
        rows=summarize(results),
        not_percent=[name for name in NOT_PERCENT if any(name in result.scores for result in results)],
        groups={setting: summarize_groups(results, setting) for setting in settings}
        if len(groups) > 1
        else {},
        axis=axis,
        curves={name: mean_curve(results, name) for name in headline},
        worst=[_paint_worst(result, worst, read_frame) for result, worst in worst_frames(results)],
    )
    with atomic_write(path) as part:
        part.write_text(text)


def worst_frames(results: Sequence[ObjectResult]) -> list[tuple[ObjectResult, WorstFrame]]:
    """The worst frames, taken from all clips or sets in rotation."""
    pairs = [(result, worst) for result in results for worst in result.worst]
    turns: dict[str, int] = defaultdict(int)
    taken: set[tuple[str, int, int]] = set()
    queue = []
    for result, worst in sorted(pairs, key=lambda pair: pair[1].score):
        if (result.sample, result.object, worst.frame) not in taken:
            taken.add((result.sample, result.object, worst.frame))
            queue.append((turns[result.group], result, worst))
            turns[result.group] += 1
    return [(result, worst) for _, result, worst in sorted(queue, key=lambda entry: entry[0])[:IMAGES]]


@dataclass(frozen=True)
class CaptionedImage:
    caption: str
    data: str  # data of a data: URL


def _paint_worst(
    result: ObjectResult, worst: WorstFrame, read_frame: Callable[[str, int], np.ndarray]
) -> CaptionedImage:
    truth, answer = rle.decode(worst.truth), rle.decode(worst.answer)
    painted = paint_errors(read_frame(result.sample, worst.frame), truth, answer)
    image = painted[crop_around(truth | answer)]
    frame = "" if "/" in result.sample else f", frame {worst.frame}"  # not for images
    caption = f"{100 * worst.score:.1f}: {result.sample}{frame}, object {result.object}, {result.setting}"
    return CaptionedImage(caption, encode_jpeg(resize_to_width(image, IMAGE_WIDTH)))


def crop_around(region: np.ndarray) -> tuple[slice, slice]:
    """The part of an image around a region, three times its size, in the image's proportions."""
    box = tight_box(region)
    if box is None:
        return slice(None), slice(None)
    x0, y0, x1, y1 = box
    height, width = region.shape
    extent = max((y1 - y0) / height, (x1 - x0) / width, SMALLEST_REGION)
    sides = [min(side, round(3 * extent * side)) for side in region.shape]
    starts = [
        int(np.clip((start + stop - 1) // 2 - side // 2, 0, whole - side))
        for start, stop, side, whole in zip((y0, x0), (y1, x1), sides, region.shape, strict=True)
    ]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return rows, columns


def paint_errors(image: np.ndarray, truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """An image with its hit, missed and exceeded pixels in three colours."""
    regions = (truth & answer, HIT), (truth & ~answer, MISSED), (answer & ~truth, EXCEEDED)
    return paint_masks(image, regions, fill=0.5, outline=0)


def _group(
    results: Iterable[ObjectResult], key: Callable[[ObjectResult], str]
) -> dict[str, list[ObjectResult]]:
    groups: dict[str, list[ObjectResult]] = defaultdict(list)
    for result in results:
        groups[key(result)].append(result)
    return dict(groups)


@dataclass(frozen=True)
class WorstFrame:
    """A frame on which an answer was bad: the truth, the answer, and its score."""

    frame: int
    score: float
    truth: rle.RLE
    answer: rle.RLE


class WorstFrames:
    """Keeps the worst of the frames that are added."""

    def __init__(self) -> None:
        self.frames: tuple[WorstFrame, ...] = ()

    def add(self, frame: int, score: float, truth: np.ndarray, answer: np.ndarray) -> None:
        if len(self.frames) == WORST_FRAMES and score >= self.frames[-1].score:
            return
        worst = WorstFrame(frame, score, rle.encode(truth), rle.encode(answer))
        self.frames = tuple(sorted([*self.frames, worst], key=lambda worst: worst.score)[:WORST_FRAMES])


@dataclass(frozen=True)
class ObjectResult:
    """One object's scores under one setting.

    Attributes:
        sample: The name of the clip or image; images are named SET/FILE.
        setting: The prompt, or the protocol.
        step: The number of clicks or corrected frames, if the setting is a point on a curve.
        scores: By name, in the order of the tables' columns.
    """

    sample: str
    object: int
    setting: str
    step: int | None
    scores: Mapping[str, float]
    worst: tuple[WorstFrame, ...] = ()

    @property
    def group(self) -> str:
        """The clip, or the set of an image."""
        return self.sample.split("/")[0]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ObjectResult:
        return cls(**{**fields, "worst": tuple(WorstFrame(**worst) for worst in fields["worst"])})
