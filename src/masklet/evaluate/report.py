"""What is shown of a run: a table for the terminal, a JSON file, a page with a curve and the worst frames."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from rich.table import Table

from masklet import rle
from masklet.boxes import tight_box
from masklet.errors import MissingExtra
from masklet.evaluate.rows import Row, Shot
from masklet.files import atomic_write
from masklet.media import paint_masks

if TYPE_CHECKING:
    from jinja2 import Template

PLAIN = ("switches", "s/frame", "user s")  # scores that are no shares of one
PICTURED = 12
PICTURE_WIDTH = 400
SMALLEST_SHOWN = 0.05  # of a side: what is smaller is not enlarged further
MISSED, EXCEEDED, HIT = (30, 144, 255), (255, 80, 60), (60, 200, 90)


@dataclass(frozen=True)
class Line:
    """Mean scores over some objects."""

    label: str
    objects: int
    scores: dict[str, float]

    @classmethod
    def over(cls, label: str, rows: Sequence[Row]) -> Line:
        scores = _means([row.scores for row in rows])
        return cls(label, len({(row.item, row.object) for row in rows}), scores)

    def shown(self, name: str) -> str:
        value = self.scores.get(name)
        if value is None:
            return ""
        return f"{value:.2f}" if name in PLAIN else f"{100 * value:.1f}"


def lines(rows: Sequence[Row]) -> list[Line]:
    """A line for each setting; for one that is a curve by itself a line for each step, and their mean."""
    found = []
    for setting, of_setting in _grouped(rows, lambda row: row.setting).items():
        steps = _grouped(of_setting, lambda row: str(row.step))
        if len(steps) > 1:
            found += [Line.over(f"{setting}, step {step}", each) for step, each in steps.items()]
        found.append(Line.over(f"{setting}, mean" if len(steps) > 1 else setting, of_setting))
    return found


def group_lines(rows: Sequence[Row], setting: str) -> list[Line]:
    """A line for each clip, or set of pictures; and their mean, in which each counts once."""
    groups = _grouped([row for row in rows if row.setting == setting], lambda row: row.group)
    found = [Line.over(group, each) for group, each in groups.items()]
    means = _means([line.scores for line in found])
    return [*found, Line(f"mean of {len(found)}", sum(line.objects for line in found), means)]


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Each score's mean over those that have it."""
    names = dict.fromkeys(name for each in scores for name in each)
    return {name: float(np.mean([each[name] for each in scores if name in each])) for name in names}


def curve(rows: Sequence[Row], name: str) -> list[tuple[int, float]]:
    """A score's mean at each step."""
    steps = defaultdict(list)
    for row in rows:
        if row.step is not None:
            steps[row.step].append(row.scores[name])
    return [(step, float(np.mean(values))) for step, values in sorted(steps.items())]


def table(title: str, lines: Iterable[Line]) -> Table:
    """Lines for the terminal, scores in percent."""
    lines = list(lines)
    names = list(dict.fromkeys(name for line in lines for name in line.scores))
    shown = Table(title=title, title_justify="left")
    shown.add_column()
    for name in ("objects", *names):
        shown.add_column(name, justify="right")
    for line in lines:
        shown.add_row(line.label, str(line.objects), *(line.shown(name) for name in names))
    return shown


def write_json(path: Path, title: str, rows: Sequence[Row]) -> None:
    """Means and rows; the pictured masks stay in the items' own files."""
    said = {
        "title": title,
        "means": {line.label: {"objects": line.objects, **line.scores} for line in lines(rows)},
        "rows": [{name: value for name, value in row.to_json().items() if name != "shots"} for row in rows],
    }
    with atomic_write(path) as part:
        part.write_text(json.dumps(said, indent=1))


def page_template() -> Template:
    """The page's layout; asked for before a long run, so that a missing package does not come as its end."""
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
    rows: Sequence[Row],
    *,
    axis: str,
    headline: Sequence[str],
    picture: Callable[[str, int], np.ndarray],
) -> None:
    """One HTML file that needs nothing beside it.

    picture : from an item's name and a frame to the image, (H, W, 3) uint8
    """
    settings, groups = list(_grouped(rows, lambda row: row.setting)), {row.group for row in rows}
    text = template.render(
        title=title,
        lines=lines(rows),
        plain=[name for name in PLAIN if any(name in row.scores for row in rows)],
        groups={setting: group_lines(rows, setting) for setting in settings} if len(groups) > 1 else {},
        axis=axis,
        curves={name: curve(rows, name) for name in headline},
        worst=[_pictured(row, shot, picture) for row, shot in worst(rows)],
    )
    with atomic_write(path) as part:
        part.write_text(text)


def worst(rows: Sequence[Row]) -> list[tuple[Row, Shot]]:
    """The worst frames, no clip or set twice before each had its turn."""
    ranked = sorted(((row, shot) for row in rows for shot in row.shots), key=lambda pair: pair[1].score)
    turns: dict[str, int] = defaultdict(int)
    seen: set[tuple[str, int, int]] = set()
    queued = []
    for row, shot in ranked:
        if (row.item, row.object, shot.frame) not in seen:
            seen.add((row.item, row.object, shot.frame))
            queued.append((turns[row.group], row, shot))
            turns[row.group] += 1
    return [(row, shot) for _, row, shot in sorted(queued, key=lambda entry: entry[0])[:PICTURED]]


@dataclass(frozen=True)
class Pictured:
    caption: str
    data: str  # of a data: URL


def _pictured(row: Row, shot: Shot, picture: Callable[[str, int], np.ndarray]) -> Pictured:
    truth, answer = rle.decode(shot.truth), rle.decode(shot.answer)
    image = painted(picture(row.item, shot.frame), truth, answer)[near(truth | answer)]
    scale = PICTURE_WIDTH / image.shape[1]
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, packed = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    frame = "" if "/" in row.item else f", frame {shot.frame}"  # a picture is one
    caption = f"{100 * shot.score:.1f}: {row.item}{frame}, object {row.object}, {row.setting}"
    return Pictured(caption, base64.b64encode(packed.tobytes()).decode("ascii"))


def near(region: np.ndarray) -> tuple[slice, slice]:
    """The part of an image that shows a region well, in the image's proportions: thrice its size, or all."""
    box = tight_box(region)
    if box is None:
        return slice(None), slice(None)
    x0, y0, x1, y1 = box
    height, width = region.shape
    extent = max((y1 - y0) / height, (x1 - x0) / width, SMALLEST_SHOWN)
    sides = [min(side, round(3 * extent * side)) for side in region.shape]
    starts = [
        int(np.clip((start + stop - 1) // 2 - side // 2, 0, whole - side))
        for start, stop, side, whole in zip((y0, x0), (y1, x1), sides, region.shape, strict=True)
    ]
    rows, columns = (slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    return rows, columns


def painted(image: np.ndarray, truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """An image with what was hit, missed and exceeded in three colours."""
    regions = (truth & answer, HIT), (truth & ~answer, MISSED), (answer & ~truth, EXCEEDED)
    return paint_masks(image, regions, fill=0.5, outline=0)


def _grouped(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)
