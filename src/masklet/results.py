"""Conversions of masks: arrays, polygons, COCO, supervision and images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from masklet import rle
from masklet.arrays import ComparesArrays
from masklet.boxes import tight_box
from masklet.drawing import (
    GROUND,
    TOLERANCE,
    Image,
    Ring,
    Tile,
    as_html,
    as_png,
    as_strip,
    outlines,
    paint_objects,
    plot_image,
    show_image,
)
from masklet.errors import MissingExtra, OptionError, whole_number

if TYPE_CHECKING:
    import supervision
    from matplotlib.axes import Axes

ReadImage = Callable[[], Image]


class MaskResult(ComparesArrays, ABC):
    """The conversions that `Masks` and `ImageCandidates` share.

    Attributes:
        size: (H, W) of the image.
        iou: (n,) predicted quality, 0 to 1.
        score: (n,) object score.
        image: Reads the image, if masklet has it.
    """

    size: tuple[int, int]
    iou: Any
    score: Any
    image: ReadImage | None

    @abstractmethod
    def numpy(self) -> Bool[np.ndarray, "n H W"]:
        """All masks as one new bool array."""

    @abstractmethod
    def _numbered(self) -> Iterator[tuple[int, Bool[np.ndarray, "H W"]]]:
        """Pairs of a number, from 1 on, and a mask."""

    @abstractmethod
    def _tiles(self, image: object) -> list[Tile]:
        """The display in a notebook."""

    @cached_property
    def boxes(self) -> Float[np.ndarray, "n 4"]:
        """Tight boxes (x0, y0, x1, y1) in source pixels, x1 and y1 exclusive; zeros where a mask is empty."""
        boxes = [tight_box(mask) or (0, 0, 0, 0) for _, mask in self._numbered()]
        return np.array(boxes, float).reshape(-1, 4)

    def rle(self) -> list[rle.RLE]:
        """Every mask as COCO RLE, in order."""
        return [rle.encode(mask) for _, mask in self._numbered()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("masks are computed when requested, so they cannot be returned without a copy")
        masks = self.numpy()
        return masks if dtype is None else masks.astype(dtype)

    def polygons(self, tolerance: float = TOLERANCE) -> dict[int, list[list[Ring]]]:
        """The outlines of every mask.

        Args:
            tolerance: Pixels by which an outline may differ from the mask's. At 0 it fills to the same mask.

        Returns:
            By object id, or by rank from 1 on: a list of polygons, each an outer ring and its holes. A ring
            is (p, 2), x and y in pixels, with (0, 0) the corner of the first pixel.

        Example:
            >>> from masklet.masks import Masks
            >>> masks = Masks.from_arrays(0, {7: np.ones((2, 3), dtype=bool)}, (2, 3))
            >>> masks.polygons()[7][0][0].tolist()
            [[0.25, 0.25], [0.25, 1.75], [2.75, 1.75], [2.75, 0.25]]
        """
        return {number: outlines(mask, tolerance) for number, mask in self._numbered()}

    def to_coco(
        self, image_id: int = 0, category_ids: Mapping[int, int] | None = None
    ) -> list[dict[str, Any]]:
        """COCO annotations, one for each mask that is not empty. They serve as COCO results too.

        Args:
            image_id: The image's id in the data set.
            category_ids: The class of each object, by its id. By default 1.

        Returns:
            Dicts for `json`: image_id, category_id, segmentation (compressed RLE), area, bbox (x, y, width,
            height), iscrowd, score (the predicted IoU) and object_id.

        Example:
            >>> from masklet.masks import Masks
            >>> masks = Masks.from_arrays(0, {7: np.ones((2, 3), dtype=bool)}, (2, 3))
            >>> masks.to_coco(image_id=5)[0]["bbox"]
            [0.0, 0.0, 3.0, 2.0]
        """
        annotations = []
        rows = zip(self._numbered(), self.boxes.tolist(), self.iou.tolist(), strict=True)
        for (number, mask), (x0, y0, x1, y1), iou in rows:
            if not mask.any():
                continue
            code = rle.encode(mask)
            annotations.append(
                {
                    "image_id": _plain_number(image_id),
                    "category_id": _plain_number((category_ids or {}).get(number, 1)),
                    "segmentation": code,
                    "area": float(rle.area(code)),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                    "score": iou,
                    "object_id": number,
                }
            )
        return annotations

    def to_supervision(self) -> supervision.Detections:
        """The masks that are not empty as `supervision.Detections`, for its annotators, zones and metrics.

        Object ids become `tracker_id`, the predicted IoU `confidence`; object scores are in
        `data["object_score"]`. `masklet.integrations.supervision` has the way back.

        Raises:
            MissingExtra: supervision is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise MissingExtra("supervision", "supervision") from error

        numbers, masks = [number for number, _ in self._numbered()], self.numpy()
        rows = [row for row, mask in enumerate(masks) if mask.any()]
        if not rows:
            return supervision.Detections.empty()
        iou, score = (np.array(values.tolist(), dtype=np.float32)[rows] for values in (self.iou, self.score))
        return supervision.Detections(
            xyxy=self.boxes[rows].astype(np.float32),
            mask=masks[rows],
            confidence=iou,
            tracker_id=np.array(numbers, dtype=int)[rows],
            data={"object_score": score},
        )

    def draw(self, image: object = None) -> Image:
        """The image with the masks painted in, each in its own colour.

        Args:
            image: The image, uint8 (H, W, 3) RGB. By default the one that was segmented, where masklet can
                read it again; frames that were given one by one are not kept, and a grey ground is painted.

        Returns:
            Uint8 (H, W, 3) RGB.

        Raises:
            ValueError: The image has another size than the masks.
        """
        return paint_objects(self._ground(image), self._numbered(), self.boxes)

    def show(self, image: object = None) -> None:
        """Show the image with its masks: below the cell of a notebook, otherwise in the system's viewer.

        Args:
            image: See `draw`.
        """
        show_image(as_strip(self._tiles(image)))

    def plot(self, image: object = None, ax: Axes | None = None) -> Axes:
        """Draw the image with its masks on Matplotlib axes.

        Args:
            image: See `draw`.
            ax: The axes. By default the current ones.

        Returns:
            The axes.

        Raises:
            MissingExtra: Matplotlib is not installed.
        """
        return plot_image(self.draw(image), ax)

    def _ground(self, image: object) -> Image:
        if image is None:
            image = np.full((*self.size, 3), GROUND, dtype=np.uint8) if self.image is None else self.image()
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.shape != (*self.size, 3):
            raise OptionError(
                f"image must be uint8 {(*self.size, 3)}, the image of these masks. "
                f"Got {pixels.dtype} {pixels.shape}."
            )
        return pixels

    def _repr_png_(self) -> bytes:
        return as_png(as_strip(self._tiles(None)))

    def _repr_html_(self) -> str:
        return as_html(self._tiles(None))


def _plain_number(value: int) -> int:
    """A NumPy integer as an int, which `json` can write; anything else unchanged."""
    number = whole_number(value)
    return value if number is None else number
