"""A napari plugin for images, z-stacks and time series: it turns points, boxes and labels into masks.

https://napari.org. The manifest is `napari.yaml` beside this file. Only the widget imports napari.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from masklet.checkpoint import load
from masklet.errors import MaskletError, MissingExtra, PromptError
from masklet.model import Sam2
from masklet.sessions.image import ImageSession
from masklet.sessions.video import VideoSession
from masklet.types import Prompt

if TYPE_CHECKING:
    from magicgui.widgets import FunctionGui

OBJECT = "object"  # the column of object ids in a layer's features

Prompts = dict[int, dict[int, Prompt]]


def make_widget() -> FunctionGui:
    """Create the dock widget, in which users select layers and press a button.

    Raises:
        MissingExtra: napari is not installed.
    """
    try:
        from magicgui import magicgui
    except ImportError as error:
        raise MissingExtra("napari", "napari") from error

    def segment(
        image: napari.layers.Image,  # type: ignore[name-defined]
        points: napari.layers.Points | None = None,  # type: ignore[name-defined]
        not_points: napari.layers.Points | None = None,  # type: ignore[name-defined]
        boxes: napari.layers.Shapes | None = None,  # type: ignore[name-defined]
        brush: napari.layers.Labels | None = None,  # type: ignore[name-defined]
        model: str = "nano",
    ) -> list[napari.types.LayerDataTuple]:  # type: ignore[name-defined]
        from napari.utils.notifications import show_error

        try:
            labels = segment_layers(load(model), image, points, not_points, boxes, brush)
        except MaskletError as error:
            # An error raised here would appear in napari as a traceback of signals.
            show_error(str(error))
            return []
        return [(labels, {"name": f"{image.name} masks", **find_placement(image, labels.ndim)}, "labels")]

    # magicgui resolves these annotations by their full names, so the modules are imported only then.
    segment.__annotations__ |= {
        "image": "napari.layers.Image",
        "points": "napari.layers.Points | None",
        "not_points": "napari.layers.Points | None",
        "boxes": "napari.layers.Shapes | None",
        "brush": "napari.layers.Labels | None",
        "model": str,
        "return": "list[napari.types.LayerDataTuple]",
    }
    widget: FunctionGui = magicgui(segment, call_button="Segment")
    return widget


def find_placement(image: Any, ndim: int) -> dict[str, np.ndarray]:
    """A layer's placement as options of another layer: scale and translation, or an affine matrix.

    Args:
        image: The layer.
        ndim: The number of its axes without colour.
    """
    origin = np.asarray(image.data_to_world(np.zeros(ndim)), dtype=float)[-ndim:]
    steps = [np.asarray(image.data_to_world(step), dtype=float)[-ndim:] - origin for step in np.eye(ndim)]
    matrix = np.stack(steps, axis=1)
    scale = np.diagonal(matrix)
    if np.allclose(matrix, np.diag(scale)):
        return {"scale": scale, "translate": origin}
    affine = np.eye(ndim + 1)
    affine[:ndim, :ndim], affine[:ndim, ndim] = matrix, origin
    return {"affine": affine}


def segment_layers(
    model: Sam2, image: Any, points: Any = None, not_points: Any = None, boxes: Any = None, brush: Any = None
) -> Int[np.ndarray, "*stack H W"]:
    """Segment an image layer from prompts in other layers.

    The column "object" of a layer's features holds object ids. Without it, all points belong to object 1,
    and boxes to objects 1, 2, 3. The values of a labels layer are object ids.

    Args:
        model: The network.
        image: An image layer: an image, or a stack along one axis.
        points: Points on the objects.
        not_points: Points outside the objects.
        boxes: Rectangles, one for each object.
        brush: Painted labels.

    Returns:
        Labels of the layer's shape, for a labels layer.

    Raises:
        PromptError: The layers contain no prompt.
    """
    is_multiscale = getattr(image, "multiscale", False)
    data = np.asarray(image.data[0] if is_multiscale else image.data)
    is_stack = data.ndim - bool(image.rgb) == 3
    prompts = read_prompts(points, not_points, boxes, brush, image)
    if not is_stack:
        prompts = {0: prompts[0]} if 0 in prompts else {}
    if not prompts:
        raise PromptError("there are no prompts: add points, a rectangle or brush strokes.")
    return segment_stack(model, data if is_stack else data[None], prompts, is_stack=is_stack)


def segment_stack(
    model: Sam2, stack: np.ndarray, prompts: Mapping[int, Mapping[int, Prompt]], *, is_stack: bool = True
) -> Int[np.ndarray, "*stack H W"]:
    """Label maps of a stack. Objects are tracked from the prompted pages in both directions.

    Args:
        model: The network.
        stack: (T, H, W) or (T, H, W, 3), of any real type; depth or time along the first axis.
        prompts: By page and object id.
        is_stack: False for a single page, which is then segmented as an image and returned as (H, W).
    """
    if not is_stack:
        masks = ImageSession(model, stack[0]).segment(dict(prompts[0]))
        return masks.label_map()
    session = VideoSession(model, stack)
    for page, by_id in sorted(prompts.items()):
        for id, prompt in by_id.items():
            session.prompt(page, id, prompt)
    for reverse in (False, True):
        for _ in session.propagate(reverse=reverse):
            pass
    return np.stack([session.masks(page).label_map() for page in range(len(session.frames))])


def read_prompts(points: Any, not_points: Any, boxes: Any, brush: Any, image: Any = None) -> Prompts:
    """Convert napari's layers, each of which may be None, to prompts by page and object id.

    Positions are converted to pixels of the image, even if the layers have other scales.
    """
    prompts: Prompts = {}
    for layer in (points, not_points):
        if layer is None:
            continue
        places = _over_image(np.asarray(layer.data), layer, image)
        for (*page, y, x), id in zip(places, object_ids(layer, constant=True), strict=True):
            click = [(float(x), float(y))]
            _add(prompts, page, id, Prompt(positive=click) if layer is points else Prompt(negative=click))
    if boxes is not None:
        shapes = [_over_image(np.asarray(shape), boxes, image) for shape in boxes.data]
        for corners, id in zip(shapes, object_ids(boxes, constant=False), strict=True):
            (y0, x0), (y1, x1) = (getattr(corners, side)(axis=0)[-2:] for side in ("min", "max"))
            _add(prompts, corners[0][:-2], id, Prompt(box=(float(x0), float(y0), float(x1), float(y1))))
    if brush is not None:
        painted = np.asarray(brush.data)
        corners = np.array([np.zeros(painted.ndim), painted.shape], dtype=float)
        if not np.allclose(_over_image(corners, brush, image), corners, atol=0.5):
            raise PromptError(
                "a labels layer must match the image pixel by pixel: give it the image's scale and "
                "translation, or create it while the image is selected."
            )
        pages = painted if painted.ndim == 3 else painted[None]
        for page in np.flatnonzero(pages.any(axis=(1, 2))):
            for id in np.unique(pages[page])[1:] if (pages[page] == 0).any() else np.unique(pages[page]):
                _add(prompts, [page], int(id), Prompt(mask=pages[page] == id))
    return prompts


def _over_image(places: np.ndarray, layer: Any, image: Any) -> np.ndarray:
    """Convert positions of a layer to pixels of the image below it."""
    if not (hasattr(layer, "data_to_world") and hasattr(image, "world_to_data")):
        return places
    return np.array([image.world_to_data(layer.data_to_world(place)) for place in places]).reshape(
        len(places), -1
    )


def object_ids(layer: Any, *, constant: bool) -> list[int]:
    """The object id of each point or shape of a layer."""
    if OBJECT in layer.features:
        ids = list(layer.features[OBJECT])
        if not all(isinstance(id, int | float | np.integer) and id >= 1 and id % 1 == 0 for id in ids):
            raise PromptError(
                f"the column {OBJECT!r} of a layer's features must have whole numbers from 1. Got "
                f"{', '.join(map(str, ids[:20]))}."
            )
        return [int(id) for id in ids]
    return [1 if constant else row for row in range(1, len(layer.data) + 1)]


def _add(prompts: Prompts, page: Any, id: int, prompt: Prompt) -> None:
    here = prompts.setdefault(round(float(page[0])) if len(page) else 0, {})
    here[id] = here[id] | prompt if id in here else prompt
