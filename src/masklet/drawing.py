"""Draws masks on images, and shows images in notebooks. Depends on arrays only, not on `Masks` or files."""

from __future__ import annotations

import base64
import colorsys
import html
import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import PIL.Image
from jaxtyping import Bool, Float, Int, UInt8

from masklet.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Image = UInt8[np.ndarray, "H W 3"]
Ring = Float[np.ndarray, "_ 2"]  # (x, y) in pixels, (0, 0) being the corner of the first; not closed

TOLERANCE = 0.75  # pixels by which an outline may differ from the mask, to have fewer points

Color = tuple[int, int, int]  # RGB

FILL = 0.4  # share of the colour inside a mask; the rest is the image
SHADE = 0.45  # darkness along the outlines, for contrast with any background
GROUND = 40  # the grey background of masks without an image
TILE, STRIP_TILE = 640, 240  # the longest side of an image in a notebook, alone and in a strip
STRIP = 8  # frames of a filmstrip

# The hues of DAVIS's first six colours, brighter, and orange for its grey.
_FIRST: tuple[Color, ...] = (
    (255, 78, 88),
    (74, 222, 128),
    (255, 205, 56),
    (72, 145, 255),
    (226, 96, 240),
    (38, 208, 230),
    (255, 146, 64),
)
_GOLDEN = (5**0.5 - 1) / 2

_SHIFT = 4  # OpenCV draws with 2**4 steps per pixel


def color(id: int) -> Color:
    """The colour of an object; neighbouring ids have different colours.

    >>> color(1), color(2)
    ((255, 78, 88), (74, 222, 128))
    """
    if 1 <= id <= len(_FIRST):
        return _FIRST[id - 1]
    hue = id * _GOLDEN % 1  # steps of the golden ratio stay away from recent hues
    lightness, saturation = (0.62, 0.85) if id % 2 else (0.72, 0.65)
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, saturation))
    return red, green, blue


def paint_objects(
    image: Image, masks: Iterable[tuple[int, Bool[np.ndarray, "H W"]]], boxes: Float[np.ndarray, "n 4"]
) -> Image:
    """Draw objects on an image, each with its colour and an outline.

    Args:
        image: The image.
        masks: By object id; later ones are drawn on top.
        boxes: Tight boxes of the masks, so that only the part of the image around them is drawn.
    """
    boxes = boxes[boxes.any(axis=1)]
    if not len(boxes):
        return image.copy()
    width = max(1, round(min(image.shape[:2]) / 280))
    window = _window(boxes, 2 * width + 2)
    painted = image.copy()
    colored = [(mask[window], color(id)) for id, mask in masks]
    painted[window] = paint_masks(painted[window], colored, outline=width)
    return painted


def paint_masks(
    image: Image, masks: Iterable[tuple[Bool[np.ndarray, "H W"], Color]], *, fill: float = FILL, outline: int
) -> Image:
    """Draw masks on an image. All drawing in masklet uses this function.

    Args:
        image: The image.
        masks: Each with its colour; later ones are drawn on top.
        fill: Share of the colour inside a mask, 0 to 1.
        outline: Width of the outlines in pixels; 0 for none.
    """
    masks, painted = list(masks), np.ascontiguousarray(image).copy()
    for mask, rgb in masks:
        tinted = cv2.addWeighted(painted, 1 - fill, np.full_like(painted, rgb), fill, 0)
        cv2.copyTo(tinted, mask.astype(np.uint8), painted)
    if not outline:
        return painted
    contours = [(_smooth_contours(mask), rgb) for mask, rgb in masks]
    shaded = painted.copy()
    for lines, _ in contours:
        cv2.polylines(shaded, lines, True, (0, 0, 0), outline + 2, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(painted, 1 - SHADE, shaded, SHADE, 0, dst=painted)
    for lines, rgb in contours:
        bright = [channel + (255 - channel) // 4 for channel in rgb]
        cv2.polylines(painted, lines, True, bright, outline, cv2.LINE_AA, _SHIFT)
    return painted


def paint_labels(image: Image, labels: Int[np.ndarray, "H W"]) -> Image:
    """Draw a label map on an image, in one pass for all objects.

    Args:
        image: The image.
        labels: The object id of each pixel, or 0.
    """
    ids, rows = np.unique(labels, return_inverse=True)
    colors = np.array([color(id) if id else (0, 0, 0) for id in ids.tolist()], dtype=np.uint8)
    tinted = cv2.addWeighted(image, 1 - FILL, colors[rows.reshape(labels.shape)], FILL, 0)
    painted = np.where(labels[..., None] > 0, tinted, image)
    is_edge = np.zeros(labels.shape, dtype=bool)
    is_edge[:-1] |= labels[:-1] != labels[1:]
    is_edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    painted[is_edge] = (painted[is_edge] * (1 - SHADE)).astype(np.uint8)
    return painted


def resize_to_width(image: Image, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """An image that is so many pixels wide, of the same shape."""
    scale = width / image.shape[1]
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def encode_jpeg(image: Image) -> str:
    """An image as the data of a data: URL: a JPEG in base64."""
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return base64.b64encode(jpeg.tobytes()).decode("ascii")


def _window(boxes: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The rows and columns that contain all boxes, with a margin for their outlines."""
    (x0, y0), (x1, y1) = boxes[:, :2].min(axis=0).astype(int), boxes[:, 2:].max(axis=0).astype(int)
    return slice(max(0, y0 - margin), y1 + margin), slice(max(0, x0 - margin), x1 + margin)


def _smooth_contours(mask: np.ndarray) -> list[np.ndarray]:
    """Contours without the steps of their pixels, in OpenCV's fractions of a pixel."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [np.round(_smooth(contour) * 2**_SHIFT).astype(np.int32) for contour in contours]


def _smooth(contour: np.ndarray, reach: int = 2) -> np.ndarray:
    """The mean of each point and its neighbours; a contour that is too short is not changed."""
    if len(contour) < 6 * reach:
        return contour
    return np.mean([np.roll(contour, shift, axis=0) for shift in range(-reach, reach + 1)], axis=0)


def outlines(mask: Bool[np.ndarray, "H W"], tolerance: float = TOLERANCE) -> list[list[Ring]]:
    """The polygons of a mask, each an outer ring and its holes. At tolerance 0 they fill to the same mask.

    >>> outlines(np.ones((2, 3), dtype=bool), 0)[0][0].tolist()
    [[0.25, 0.25], [0.25, 1.75], [2.75, 1.75], [2.75, 0.25]]
    """
    # OpenCV puts contours through pixel centres, half a pixel inside the mask, so a single pixel has no area.
    # At twice the resolution they are a quarter inside, and each pixel's centre is on the correct side.
    doubled = mask.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_ring(contour, tolerance) for contour in contours]
    parents = tree[0, :, 3].tolist() if rings else []  # outer rings of holes; -1 for outer rings
    polygons = {row: [ring] for row, ring in enumerate(rings) if parents[row] < 0}
    for ring, parent in zip(rings, parents, strict=True):
        if parent >= 0:
            polygons[parent].append(ring)
    return list(polygons.values())


def _ring(contour: np.ndarray, tolerance: float) -> Ring:
    simple = cv2.approxPolyDP(contour, 2 * tolerance, closed=True)
    if len(simple) < 3:  # thinner than the tolerance
        simple = contour
    return simple[:, 0].astype(np.float64) / 2 + 0.25


@dataclass(frozen=True)
class Tile:
    """One image of a filmstrip, with what is written below it."""

    image: Image
    caption: str


def as_strip(tiles: Sequence[Tile]) -> Image:
    """Images side by side, scaled down for a notebook."""
    if not tiles:
        return np.full((STRIP_TILE, STRIP_TILE, 3), GROUND, dtype=np.uint8)
    images = [reduce_image(tile.image, STRIP_TILE if len(tiles) > 1 else TILE) for tile in tiles]
    height = max(len(image) for image in images)
    padded = [np.pad(image, ((0, height - len(image)), (0, 4), (0, 0))) for image in images]
    return np.concatenate(padded, axis=1)[:, :-4]


def reduce_image(image: Image, longest: int) -> UInt8[np.ndarray, "h w 3"]:
    """The image with a longest side of at most this many pixels."""
    reduced = PIL.Image.fromarray(image)
    reduced.thumbnail((longest, longest))
    return np.asarray(reduced)


def as_png(image: Image) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def as_html(tiles: Sequence[Tile]) -> str:
    """HTML of images with captions, for a notebook. The images are embedded."""
    side = STRIP_TILE if len(tiles) > 1 else TILE
    figures = []
    for tile in tiles:
        data = base64.b64encode(as_png(reduce_image(tile.image, side))).decode("ascii")
        figures.append(
            '<figure style="display:inline-block;margin:2px">'
            f'<img src="data:image/png;base64,{data}" alt="{html.escape(tile.caption)}">'
            f"<figcaption>{html.escape(tile.caption)}</figcaption></figure>"
        )
    return "".join(figures)


def is_notebook() -> bool:
    """Whether this runs in a notebook."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def show_image(image: Image) -> None:
    """Show an image below the cell of a notebook, otherwise in the system's viewer."""
    shown = PIL.Image.fromarray(image)
    if is_notebook():
        from IPython.display import display

        display(shown)
    else:
        shown.show()


def plot_image(image: Image, ax: Axes | None) -> Axes:
    """Show an image on Matplotlib axes; by default the current ones."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingExtra("notebook", "matplotlib") from error

    axes = plt.gca() if ax is None else ax
    axes.imshow(image)
    axes.set_axis_off()
    return axes
