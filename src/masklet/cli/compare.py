"""masklet evaluate policies: memory policies side by side, on clips and on three composed suites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

REAL = "clips"
PLAIN = "recency"
WITH_CUTS = "recency, cuts"  # the same rule, with scene cuts watched for


def compare(
    data: Path, names: list[str] | None, out: Path, model: str, jobs: int, device: str | None, dtype: str
) -> None:
    """Follow each first-frame mask by every policy: OUT/table.md, and a strip of a win and a loss each.

    names : clips to take of those in `data` and in the suites; by default all
    """
    from functools import partial

    import cv2
    from rich.console import Console
    from rich.progress import Progress

    from masklet.evaluate import comparison, layouts
    from masklet.evaluate.runner import Named, Run
    from masklet.evaluate.semi_supervised import SemiSupervised
    from masklet.media.files import folder, whole
    from masklet.policies import POLICIES
    from masklet.train.composer.suites import render

    console = Console()
    with console.status("composing the suites"):
        places = {REAL: data, **render(out / "suites")}
    clips = {
        suite: [clip for clip in layouts.clips(place) if names is None or clip.name in names]
        for suite, place in places.items()
    }
    clips = {suite: some for suite, some in clips.items() if some}
    subjects = {name: Named(model, device, dtype, name) for name in POLICIES}
    subjects[WITH_CUTS] = Named(model, device, dtype, PLAIN, cuts=True)
    items = [clip for some in clips.values() for clip in some]
    rows = {}
    with Progress(console=console) as progress:
        for name, named in subjects.items():
            task = progress.add_task(name, total=len(items))
            run = Run(SemiSupervised(), named, str(data.resolve()), folder(out / name.replace(", ", "-")))
            rows[name] = run.rows(items, jobs, partial(_advance, progress, task))

    sets = {
        suite: {
            name: [row for row in found if row.item in {clip.name for clip in some}]
            for name, found in rows.items()
        }
        for suite, some in clips.items()
    }
    table = comparison.markdown(sets)
    with whole(out / "table.md") as part:
        part.write_text(table)
    console.print(table)

    composed = {clip.name: clip for name, some in clips.items() if name != REAL for clip in some}
    plain = subjects[PLAIN]()
    for name in (name for name in subjects if name != PLAIN):
        own = [row for row in rows[name] if row.item in composed]
        ranked = comparison.differences(own, rows[PLAIN])
        for kind, each in (("loss", ranked[0]), ("win", ranked[-1])):
            picture = comparison.strip(composed[each.item], each.object, "mask", (plain, subjects[name]()))
            path = out / "strips" / f"{name.replace(', ', '-')}-{kind}.jpg"
            folder(path.parent)
            cv2.imwrite(str(path), picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 80))
            console.print(f"{path}: {each.item}, object {each.object}, {100 * each.gain:+.1f} J&F")


def _advance(progress: Progress, task: TaskID, name: str) -> None:
    progress.advance(task)
