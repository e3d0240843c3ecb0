"""Figures into docs/performance.md: tables between marks, and plots beside them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks import REPO, apart, paper, rows
from benchmarks.results import Results, Row

FIGURES = REPO / "docs"
PAGE = REPO / "docs" / "performance.md"
README = REPO / "README.md"
PLOTS = REPO / "docs" / "images"
MODELS = ("tiny", "base-plus", "nano")


def kind(machine: dict[str, Any]) -> str:
    """What a machine's ratios hang on most: what it multiplies with. The page has a table for each."""
    if "gpu" in machine:
        return "gpu"
    instructions = machine["instructions"].split()
    return next((name for name in ("avx512_vnni", "avx2", "asimd") if name in instructions), "other")


def figures(machine: dict[str, Any]) -> Path:
    """Where those of a kind of machine are kept."""
    return FIGURES / f"performance-{kind(machine)}.json"


def spread(row: Row) -> str:
    """The median, and from where to where."""
    low, high = min(row.values), max(row.values)
    said = number(row.median, row.unit)
    return said if len(row.values) == 1 else f"{said} ({number(low, row.unit)} to {number(high, row.unit)})"


def number(value: float, unit: str) -> str:
    if unit == "s":
        return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:,.0f} {unit}" if unit == "MiB" else f"{value:.1f}"


def cell(row: Row, beside: Row | None) -> str:
    """A figure, and how many times better than the original it is."""
    if beside is None or beside is row:
        return spread(row)
    better = row.median / beside.median if row.unit.endswith("/s") else beside.median / row.median
    return f"{spread(row)}, **{better:.2f}x**"


def table(results: Results, model: str, names: dict[str, str]) -> str:
    subjects = results.subjects(model)
    lines = [f"| {model} | " + " | ".join(subjects) + " |", "| --- " * (1 + len(subjects)) + "|"]
    for key, name in names.items():
        found = {subject: results.get(model, key, subject) for subject in subjects}
        if any(found.values()):
            beside = found.get("original")
            cells = [cell(row, beside) if row else "" for row in found.values()]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def readme_table(results: Results) -> str:
    """Seconds a frame, at one object and at eight."""
    subjects = (*apart.SUBJECTS, "masklet, balanced")
    lines = [f"| seconds a frame | {' | '.join(subjects)} |", "| --- " * (1 + len(subjects)) + "|"]
    for model in MODELS:
        for objects in (1, 8):
            medians = [results.median(model, f"follow {objects}", name) for name in subjects]
            if None not in medians:
                cells = " | ".join(f"{median:.3g}" for median in medians if median is not None)
                lines.append(f"| {model}, {objects} object{'s' if objects > 1 else ''} | {cells} |")
    return "\n".join(lines)


def machine_table(results: Results) -> str:
    said = [f"{name.replace('_', ' ')}: {value}" for name, value in results.machine.items()]
    return "\n".join(f"* {line}" for line in said)


def write(results: Results) -> None:
    """Fill the marked parts of the page and of the README, and draw the plots."""
    here = kind(results.machine)
    parts = {f"machine, {here}": machine_table(results), f"readme, {here}": readme_table(results)}
    parts |= {"cost": paper.table(), "million": paper.million()}
    if results.get("machine", "copy", "measured"):
        parts[f"roofline, {here}"] = paper.roofline(results)
    for model in MODELS:
        if results.subjects(model):
            parts[f"{model}, {here}"] = table(results, model, {**rows.NAMES, **apart.NAMES})
    for page in (PAGE, README):
        fill(page, parts)
    plot(results)


def fill(page: Path, parts: dict[str, str]) -> None:
    """Put each part between its marks, `<!-- bench: name -->` and `<!-- end -->`, where a page has them."""
    text = page.read_text()
    for name, part in parts.items():
        marks = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = marks.sub(lambda found, part=part: f"{found[1]}{part}\n{found[2]}", text)
    page.write_text(text)


def plot(results: Results) -> None:
    """Seconds a frame over the number of objects, a line for each subject."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    models = [model for model in MODELS if results.median(model, "follow 1", "masklet")]
    if not models:
        return
    figure, axes = pyplot.subplots(1, len(models), figsize=(4 * len(models), 3.4), squeeze=False)
    for axis, model in zip(axes[0], models, strict=True):
        for subject in results.subjects(model):
            points = [(n, results.median(model, row, subject)) for row, n in rows.OBJECTS.items()]
            known = [(n, seconds) for n, seconds in points if seconds is not None]
            if known:
                axis.plot(*zip(*known, strict=True), marker="o", label=subject)
        axis.set(title=model, xlabel="objects", ylabel="seconds a frame", xscale="log", yscale="log")
        axis.set_xticks([1, 3, 8, 16], ["1", "3", "8", "16"])
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(PLOTS / f"performance-{kind(results.machine)}.png", dpi=110)
    pyplot.close(figure)
