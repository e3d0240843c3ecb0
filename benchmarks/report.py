"""Writes the figures into docs/performance.md and README.md: tables between marks, and plots.

python -m benchmarks.report        # from the stored figures
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks import REPO, process_rows, roofline, timed_actions
from benchmarks.results import Results, Row

FIGURES = REPO / "docs"
PAGE = REPO / "docs" / "performance.md"
README = REPO / "README.md"
PLOTS = REPO / "docs" / "images"
MODELS = ("nano", "tiny", "base-plus")


def machine_kind(machine: dict[str, Any]) -> str:
    """The kind of a machine by its vector instructions, which determine the ratios. Each kind has a table."""
    if "gpu" in machine:
        return "gpu"
    instructions = machine["instructions"].split()
    name = next((name for name in ("avx512_vnni", "avx2", "asimd") if name in instructions), "other")
    return f"{name}_amd" if name == "avx512_vnni" and "AMD" in machine["processor"] else name


def figures_path(machine: dict[str, Any]) -> Path:
    """The file with the figures of a kind of machine."""
    return FIGURES / f"performance-{machine_kind(machine)}.json"


def format_row(row: Row) -> str:
    """The median and the range."""
    low, high = min(row.values), max(row.values)
    median = format_number(row.median, row.unit)
    if len(row.values) == 1:
        return median
    return f"{median} ({format_number(low, row.unit)} to {format_number(high, row.unit)})"


def format_number(value: float, unit: str) -> str:
    if unit == "s":
        return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:,.0f} {unit}" if unit == "MiB" else f"{value:.1f}"


def format_cell(row: Row, original: Row | None) -> str:
    """A figure, and by what factor it is better than the original's."""
    if original is None or original is row:
        return format_row(row)
    ratio = row.median / original.median
    return f"{format_row(row)}, **{ratio if row.unit.endswith('/s') else 1 / ratio:.2f}x**"


def make_table(results: Results, model: str, names: dict[str, str]) -> str:
    columns = results.implementations(model)
    lines = [f"| {model} | {' | '.join(columns)} |", "| --- " * (1 + len(columns)) + "|"]
    for key, name in names.items():
        figures = {column: results.get(model, key, column) for column in columns}
        if any(figures.values()):
            cells = [format_cell(row, figures.get("original")) if row else "" for row in figures.values()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def readme_table(results: Results) -> str:
    """Seconds per frame for one object and for eight. Cells that the peers cannot run are empty."""
    columns = (*process_rows.IMPLEMENTATIONS, "masklet, balanced")
    lines = [f"| seconds a frame | {' | '.join(columns)} |", "| --- " * (1 + len(columns)) + "|"]
    for model in MODELS:
        for objects in (1, 8):
            medians = [results.median(model, f"follow {objects}", name) for name in columns]
            if medians[-1] is not None:
                cells = " | ".join("" if median is None else f"{median:.3g}" for median in medians)
                lines.append(f"| {model}, {objects} object{'s' if objects > 1 else ''} | {cells} |")
    return "\n".join(lines)


def machine_table(results: Results) -> str:
    return "\n".join(f"* {name.replace('_', ' ')}: {value}" for name, value in results.machine.items())


def write_pages(results: Results) -> None:
    """Write the marked parts of the page and of the README, and draw the plots."""
    kind = machine_kind(results.machine)
    names = {**timed_actions.ROW_NAMES, **process_rows.ROW_NAMES}
    parts = {f"machine, {kind}": machine_table(results), f"readme, {kind}": readme_table(results)}
    parts |= {"cost": roofline.cost_table(), "million": roofline.million_hours_table()}
    if results.get("machine", "copy", "measured"):
        parts[f"roofline, {kind}"] = roofline.roofline_table(results)
    for model in MODELS:
        if results.implementations(model):
            parts[f"{model}, {kind}"] = make_table(results, model, names)
    for page in (PAGE, README):
        fill_marks(page, parts)
    draw_plots(results)


def fill_marks(page: Path, parts: dict[str, str]) -> None:
    """Write each part between its marks in a page, `<!-- bench: name -->` and `<!-- end -->`, if any."""
    text = page.read_text()
    for name, part in parts.items():
        marks = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = marks.sub(lambda match, part=part: f"{match[1]}{part}\n{match[2]}", text)
    page.write_text(text)


def draw_plots(results: Results) -> None:
    """Plot seconds per frame over the number of objects, with a line for each implementation."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    models = [model for model in MODELS if results.median(model, "follow 1", "masklet")]
    if not models:
        return
    figure, axes = pyplot.subplots(1, len(models), figsize=(4 * len(models), 3.4), squeeze=False)
    shown = [results.implementations(model) for model in models]
    colors = {name: f"C{row}" for row, name in enumerate(max(shown, key=len))}  # the same in all plots
    for axis, model, implementations in zip(axes[0], models, shown, strict=True):
        for implementation in implementations:
            points = [
                (n, results.median(model, row, implementation)) for row, n in timed_actions.OBJECTS.items()
            ]
            measured = [(n, seconds) for n, seconds in points if seconds is not None]
            if measured:
                color = colors.get(implementation)
                axis.plot(*zip(*measured, strict=True), marker="o", label=implementation, color=color)
        axis.set(title=model, xlabel="objects", ylabel="seconds a frame", xscale="log", yscale="log")
        axis.set_xticks([1, 3, 8, 16], ["1", "3", "8", "16"])
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(PLOTS / f"performance-{machine_kind(results.machine)}.png", dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Write the tables of all machines."""
    for path in sorted(FIGURES.glob("performance-*.json")):
        write_pages(Results.read(path, json.loads(path.read_text())["machine"]))


if __name__ == "__main__":
    main()
