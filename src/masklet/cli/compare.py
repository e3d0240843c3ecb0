"""masklet evaluate policies: memory policies side by side, on clips and on three composed suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from masklet.datasets import LabelledVideo
    from masklet.evaluate.rows import Row
    from masklet.evaluate.subjects import Network

REAL = "clips"


def compare(
    data: Path, names: list[str] | None, out: Path, model: str, jobs: int, device: str | None, dtype: str
) -> None:
    """Follow each first-frame mask under every policy: OUT/table.md, report.html, and strips.

    A strip shows the object of a composed clip on which a policy wins most over recency, or loses most.

    names : clips to take of those in `data` and in the suites; by default all
    """
    from rich.console import Console
    from rich.progress import Progress

    from masklet.evaluate import comparison, layouts, report
    from masklet.evaluate.runner import Named, Run
    from masklet.files import atomic_write
    from masklet.synthetic.suites import render

    console, template = Console(), report.page_template()
    named = Named(model, device, dtype)
    network = comparison.with_memory(named())
    with console.status("composing the suites"):
        places = {REAL: data, **render(out / "suites")}
    clips = {
        suite: [clip for clip in layouts.clips(place) if names is None or clip.name in names]
        for suite, place in places.items()
    }
    items = {clip.name: clip for some in clips.values() for clip in some}
    measurement = comparison.Policies()
    run = Run(measurement, named, str(data.resolve()), out)
    with Progress(console=console) as progress:
        task = progress.add_task(f"policies, {model}", total=len(items))
        rows = run.rows(
            list(items.values()), jobs, lambda name: progress.update(task, track_frame=1, description=name)
        )

    of_suites = {
        suite: [row for row in rows if row.item in {clip.name for clip in some}]
        for suite, some in clips.items()
        if some
    }
    table = comparison.markdown(of_suites)
    console.print(table)
    composed = [row for suite, some in of_suites.items() if suite != REAL for row in some]
    with console.status("taking pictures"):
        shown = _strips(network, composed, items, out)
    with atomic_write(out / "table.md") as part:
        part.write_text("\n".join([table, *shown]))
    report.write_page(
        out / "report.html",
        template,
        f"policies: {model} on {data.name} and composed suites",
        rows,
        axis=measurement.axis,
        headline=measurement.headline,
        picture=lambda name, frame: items[name].picture(frame),
    )
    console.print(f"{out / 'table.md'}\n{out / 'report.html'}")


def _strips(
    network: Network, rows: Sequence[Row], clips: Mapping[str, LabelledVideo], out: Path
) -> list[str]:
    """Write OUT/strips; for each picture the lines that show it."""
    import cv2

    from masklet.evaluate.comparison import PLAIN, Strips, extremes
    from masklet.files import make_folder

    strips, shown, place = Strips(network), list[str](), make_folder(out / "strips")
    for name, each in extremes(rows).items():
        picture = strips.strip(clips[each.item], each.object, (PLAIN, each.rule))
        path = place / f"{name}.jpg"
        cv2.imwrite(str(path), picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 80))
        shown += [f"{each}", "", f"![{each}](strips/{path.name})", ""]
    return shown
