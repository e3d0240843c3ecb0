"""Export to the web: a folder of static files that runs the network in the visitor's browser."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path

from masklet.errors import MaskletError
from masklet.export.onnx import export_onnx, halve_weights
from masklet.export.web.runtime import VERSION, write_runtime
from masklet.files import StrPath, atomic_write, make_folder
from masklet.model import Sam2
from masklet.onnx.network import MANIFEST

SHARED = (  # parts shared with the studio's page
    "favicon.svg",
    "icons.svg",
    "lib/dom.js",
    "lib/rle.js",
    "lib/store.js",
    "lib/toast.js",
    "panels/theme.js",
    "stage/contour.js",
    "stage/marks.js",
    "stage/paint.js",
    "stage/view.js",
    "style/base.css",
    "style/shell.css",
)
HEADERS = """/*
  Cross-Origin-Opener-Policy: same-origin
  Cross-Origin-Embedder-Policy: require-corp
"""
ATTRIBUTE = 'data-theme="dark"'  # in index.html, followed by the example's address


def export_web(
    model: Sam2,
    folder: StrPath,
    *,
    name: str,
    runtime: StrPath | None = None,
    example: StrPath | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """Export a page that segments and tracks in the browser. Any file server can serve it.

    Args:
        model: A network in float32 on the CPU.
        folder: Where the files are written. Files of an earlier export are replaced.
        name: The network's name on the page.
        runtime: onnxruntime-web as npm has it, packed or unpacked. None fetches the pinned version.
        example: A short video or an image that visitors can try.
        report: Is called with a line for each part.

    Returns:
        The size of each file in bytes, by its path below the folder.

    Raises:
        MaskletError: onnxruntime-web cannot be fetched, the network cannot be exported, or the example is
            missing.
        MissingExtra: onnx is not installed.

    Example:
        >>> import masklet
        >>> sizes = export_web(masklet.load(), "site", name="nano")  # doctest: +SKIP
    """
    if example is not None and not Path(example).is_file():
        raise MaskletError(f"the example must be a file. There is no file {example}.")
    folder = make_folder(folder)
    (folder / "index.html").unlink(missing_ok=True)  # written last, after all files are complete
    report(f"onnxruntime-web {VERSION}")
    builds = write_runtime(folder / "onnxruntime", runtime)
    report(f"the graphs of {name}")
    graph_bytes = write_graphs(model, folder / "model", name)
    site = {
        "masklet": version("masklet"),
        "model": name,
        "onnxruntime": VERSION if runtime is None else str(Path(runtime).name),
        "builds": builds,
        "graphBytes": graph_bytes,
    }
    _write(folder / "manifest.json", json.dumps(site, indent=1))
    _write(folder / "_headers", HEADERS)
    write_page(folder, None if example is None else Path(example))
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_graphs(model: Sam2, folder: Path, name: str) -> int:
    """Write the network's graphs, with float16 weights if that is exact. Returns their bytes."""
    with tempfile.TemporaryDirectory() as temporary:
        export_onnx(model, temporary, name=name)
        manifest = json.loads(Path(temporary, MANIFEST).read_text(encoding="utf-8"))
        for graph in manifest["graphs"].values():
            content = halve_weights(Path(temporary, graph["file"]).read_bytes())
            with atomic_write(folder / graph["file"], MaskletError) as part:
                part.write_bytes(content)
            graph["bytes"] = len(content)
            del graph["sha256"]
    _write(folder / MANIFEST, json.dumps(manifest, indent=1))
    return sum(graph["bytes"] for graph in manifest["graphs"].values())


def write_page(folder: Path, example: Path | None) -> None:
    """Write the page, index.html last."""
    package = files("masklet")
    with (
        as_file(package / "export" / "web" / "page") as own,
        as_file(package / "studio" / "page") as shared,
    ):
        sources = {path.relative_to(own).as_posix(): path for path in sorted(own.rglob("*.*"))}
        sources |= {path: shared / path for path in SHARED}
        index = sources.pop("index.html").read_text(encoding="utf-8")
        for path, source in sources.items():
            _write(folder / path, source.read_text(encoding="utf-8"))
    if example is not None:
        address = f"example{example.suffix.lower()}"
        with atomic_write(folder / address, MaskletError) as part:
            shutil.copyfile(example, part)
        index = index.replace(ATTRIBUTE, f'{ATTRIBUTE} data-example="{address}"')
    _write(folder / "index.html", index)


def _write(path: Path, content: str) -> None:
    with atomic_write(path, MaskletError) as part:
        part.write_text(content, encoding="utf-8")
