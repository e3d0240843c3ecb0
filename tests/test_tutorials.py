"""Every tutorial runs from its first cell to its last, with nano, in an empty folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("nbclient")
REPO = Path(__file__).parents[1]
TUTORIALS = sorted((REPO / "docs" / "tutorials").glob("*.ipynb"))


def notebooks_script() -> ModuleType:
    """dev/notebooks.py, which also writes the outputs that the repository holds."""
    spec = importlib.util.spec_from_file_location("notebooks", REPO / "dev" / "notebooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path: Path, tmp_path: Path) -> None:
    notebook = notebooks_script().run(path, tmp_path)
    assert any(cell.get("outputs") for cell in notebook.cells)
