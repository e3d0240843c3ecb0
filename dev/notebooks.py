"""Runs the tutorials and stores their outputs in the notebooks, reduced in size.

python dev/notebooks.py                   all of docs/tutorials
python dev/notebooks.py camera corpus     some of them
"""

import base64
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import PIL.Image
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
WIDTH = 480  # maximum width of stored images, in pixels
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BAR = re.compile(r"[━╸╺]|(^| )\d+/(\d+|\?) +[-:\d]+( |$)|(^| )\d+/(\d+|\?)$")  # a line of a progress bar
SECONDS = 600  # time limit of a cell


def run(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Execute a notebook in an empty folder that has the examples where the notebook expects them.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    place = folder / "docs" / "tutorials"
    place.mkdir(parents=True, exist_ok=True)
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(ROOT / "examples")
    notebook = nbformat.read(path, as_version=4)
    # Cells call the `masklet` of this Python, without colours and progress bars in its output.
    scripts = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(place)}})
    client.execute(env=environment)
    for number, cell in enumerate(notebook.cells):
        cell.metadata.pop("execution", None)
        cell["id"] = f"cell-{number}"
        if cell.cell_type == "code":
            outputs = [tidy(output, folder) for output in cell.outputs if output.get("name") != "stderr"]
            cell.outputs = join_texts([output for output in outputs if output.get("text") != ""])
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def join_texts(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Join lines that were printed one after the other into one output."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if joined and "text" in output and joined[-1].get("name") == output.get("name"):
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def tidy(output: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Reduce images of an output, and remove progress bars, control characters and temporary paths."""
    if "text" in output:
        lines = CONTROL.sub("", output.text).replace(f"{folder}/docs/tutorials/", "").splitlines()
        kept = [line.rsplit("\r", 1)[-1].rstrip() for line in lines if not BAR.search(line.rstrip())]
        output.text = "".join(f"{line}\n" for line in kept if line)
    data = output.get("data", {})
    if "image/png" in data:
        data.pop("text/html", None)  # it contains the same image again
        data["image/jpeg"] = shrink(base64.b64decode(data.pop("image/png")))
        data["text/plain"] = "<image>"
    return output


def shrink(png: bytes) -> str:
    """Reduce an image to a JPEG of at most `WIDTH` pixels, in base64."""
    image = PIL.Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail((WIDTH, WIDTH))
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=75)
    return base64.b64encode(file.getvalue()).decode()


def main(names: list[str]) -> None:
    paths = [TUTORIALS / f"{name}.ipynb" for name in names] or sorted(TUTORIALS.glob("*.ipynb"))
    for path in paths:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = run(path, Path(folder))
        nbformat.write(notebook, path)
        seconds = time.monotonic() - start
        sys.stdout.write(f"{path.relative_to(ROOT)}: {seconds:.0f} s, {path.stat().st_size // 1024} KiB\n")


if __name__ == "__main__":
    main(sys.argv[1:])
