"""The models that users can choose: the one that the studio was started with, and other available ones.

Available are nano, the checkpoints of a folder, and published models that were downloaded before. A model is
loaded when a project first uses it, on the model's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from masklet.caches import LruCache
from masklet.checkpoint.locations import EMBEDDED, PUBLISHED, find_local
from masklet.config import SIZES
from masklet.errors import MaskletError
from masklet.model import Sam2
from masklet.sessions.image import ImageSession
from masklet.sessions.tracker import Tracker
from masklet.studio import project_schemas
from masklet.studio.errors import ApiError
from masklet.tracking.step import encode_image
from masklet.types import Prompt

LoadModel = Callable[[Path], Sam2]

SUFFIXES = (".safetensors", ".pt", ".pth")
MAX_LOADED = 2  # besides the one that the studio was started with
MEASURED_SIZE = (720, 1280)
MEASURED_FRAMES = 4
SMALL = "a small model for CPUs; larger ones track thin, small and hidden objects better"


class Models:
    """Finds, loads and measures models by name.

    Args:
        model: The one that the studio was started with.
        name: Its name.
        folder: Checkpoints that can be chosen by their file names; None for none.
        load: Loads a checkpoint; None if no other model can be selected.
    """

    def __init__(
        self, model: Sam2, name: str, folder: Path | None = None, load: LoadModel | None = None
    ) -> None:
        self.default = model
        self.default_name = name
        self._folder = folder
        self._load = load
        self._loaded: LruCache[str, Sam2] = LruCache(MAX_LOADED)
        self._milliseconds: dict[str, project_schemas.ModelSpeed] = {}

    def get(self, name: str | None) -> Sam2:
        """A model, which is loaded if necessary. None is the model that the studio was started with.

        Raises:
            ApiError: There is no such model, or it cannot be loaded.
        """
        if name in (None, self.default_name):
            return self.default
        assert name is not None
        model = self._loaded.get(name)
        if model is None:
            model = self._loaded[name] = self._load_file(name)
        return model

    def check(self, name: str) -> str | None:
        """A name as a project stores it: None for the model that the studio was started with.

        Raises:
            ApiError: There is no such model.
        """
        if name == self.default_name:
            return None
        if name not in self._files():
            names = ", ".join([self.default_name, *self._files()])
            raise ApiError(422, "invalid", f"model must be one of {names}. Got {name[:100]}.")
        return name

    def views(self) -> list[project_schemas.Model]:
        """All models that can be chosen, the one that the studio was started with first."""
        return [self.view(name) for name in dict.fromkeys([self.default_name, *self._files()])]

    def view(self, name: str) -> project_schemas.Model:
        is_default = name == self.default_name
        model = self.default if is_default else self._loaded.get(name)
        path = self._files().get(name)
        note = SMALL if name in EMBEDDED else None
        parameters, image_size = None, None
        if model is not None:
            parameters = sum(parameter.numel() for parameter in model.parameters())
            image_size = model.config.image_size
        elif path is not None:
            try:
                parameters = _count_parameters(path)
            except (OSError, SafetensorError, ValueError):
                note = "the file cannot be read"
            image_size = _published_size(name)
        return project_schemas.Model(
            name=name,
            parameters=parameters,
            image_size=image_size,
            bytes=path.stat().st_size if path is not None and path.is_file() else None,
            loaded=model is not None,
            default=is_default,
            milliseconds=self._milliseconds.get(name),
            note=note,
        )

    def measure(self, name: str) -> Iterator[None]:
        """Measure how long clicks and frames take; a slice for each frame."""
        model = self.get(name)
        image = np.random.default_rng(0).integers(0, 256, (*MEASURED_SIZE, 3), dtype=np.uint8)
        height, width = MEASURED_SIZE
        prompt = Prompt(box=(width / 4, height / 4, width / 2, height / 2))
        session = ImageSession(model, image, features=encode_image(model, image), zoom=False)
        yield
        clicks, frames = [], []
        for _ in range(MEASURED_FRAMES):
            start = time.perf_counter()
            session.segment(Prompt(positive=[(width / 2, height / 2)]))
            clicks.append(time.perf_counter() - start)
            yield
        tracker = Tracker(model, zoom=False)
        tracker.step(image, {1: prompt})
        yield
        for _ in range(MEASURED_FRAMES):
            start = time.perf_counter()
            tracker.step(image)
            frames.append(time.perf_counter() - start)
            yield
        click, frame = (round(1000 * min(seconds), 1) for seconds in (clicks, frames))
        self._milliseconds[name] = project_schemas.ModelSpeed(click=click, frame=frame)

    def _load_file(self, name: str) -> Sam2:
        path = self._files().get(name)
        if path is None or self._load is None:
            raise ApiError(
                409,
                "busy",
                f"the project's model {name} is not available. Restore its file, or start a new project.",
            )
        try:
            return self._load(path)
        except MaskletError as error:
            raise ApiError(409, "busy", f"the model {name} cannot be loaded: {error}") from error

    def _files(self) -> dict[str, Path]:
        """Files by the names of their models."""
        if self._load is None:
            return {}
        files = {name: path for name in (*EMBEDDED, *PUBLISHED) if (path := find_local(name)) is not None}
        if self._folder is not None and self._folder.is_dir():
            files |= {path.name: path for path in sorted(self._folder.iterdir()) if path.suffix in SUFFIXES}
        return files


def _count_parameters(path: Path) -> int | None:
    """The numbers in a safetensors file, counted from its header; None for other files."""
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "np") as file:
        return sum(int(np.prod(file.get_slice(key).get_shape())) for key in file.keys())  # noqa: SIM118


def _published_size(name: str) -> int | None:
    size = SIZES.get(name.split("hiera-")[-1])
    return None if size is None else size.image_size
