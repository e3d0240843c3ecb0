"""Results of the steps of a long run, so that the same command goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from masklet.errors import MaskletError
from masklet.files import atomic_write

SETTINGS = "settings.json"


class StepResults:
    """A folder with a JSON file for each finished step.

    Args:
        folder: Of the results.
        settings: What decides them.

    Raises:
        MaskletError: The folder has results of other settings.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> StepResults(folder, {"clips": 2}).get("sum", lambda: 1 + 1)
        2
        >>> StepResults(folder, {"clips": 2}).get("sum", lambda: 1 / 0)  # it is there
        2
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        settings = json.loads(json.dumps(settings))
        earlier = self._read(SETTINGS)
        if earlier is None:
            self._write(SETTINGS, settings)
        elif not isinstance(earlier, dict):
            raise MaskletError(f"{folder / SETTINGS} is of something else: choose another --out.")
        elif earlier != settings:
            changed = [name for name, value in settings.items() if earlier.get(name) != value]
            raise MaskletError(
                f"{folder.parent} holds a run with other settings ({', '.join(changed)}): choose another "
                "--out, or the same settings."
            )

    def get(self, name: str, compute: Callable[[], Any]) -> Any:
        """The result of a step as JSON has it: from its file, or else computed now."""
        result = self._read(f"{name}.json")
        if result is None:
            self._write(f"{name}.json", compute())
            result = self._read(f"{name}.json")
        return result

    def _read(self, name: str) -> Any:
        path = self._folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise MaskletError(f"{path} cannot be read: {error}. Remove it to run its step again.") from error

    def _write(self, name: str, content: Any) -> None:
        with atomic_write(self._folder / name) as part:
            part.write_text(json.dumps(content, indent=1), encoding="utf-8")
