"""Images with masks drawn on them, objects cut out of images, and unchanged frames."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageColor
from jaxtyping import UInt8

from masklet.drawing import color as color
from masklet.drawing import paint_masks as paint_masks
from masklet.drawing import paint_objects
from masklet.errors import MediaError
from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.frames import open_frames
from masklet.media.readers.source import Image, Source, frame_file_name
from masklet.media.writers.video import H264, PRORES_4444, VP9_ALPHA, VideoWriter
from masklet.media.writers.writer import Writer, check_image, check_masks
from masklet.types import Masks

MARGIN = 4  # transparent pixels around the objects that keep the image's colour


BLUR = 0.03  # the blur of a background, as a part of the image's width

ReadBackground = Callable[[int, Image], Image]  # takes a frame's number and image, returns the background


def cutout(image: Image, masks: Masks, *, margin: int = 0, soft: float = 0.0) -> UInt8[np.ndarray, "H W 4"]:
    """The image as RGBA: opaque where any object is, transparent and black elsewhere.

    Args:
        image: The image.
        masks: Its masks.
        margin: Transparent pixels around the objects that keep their colour.
        soft: Pixels over which the edges fade out, to both sides. 0 is a hard edge.

    Returns:
        uint8 (H, W, 4), RGBA; alpha is not premultiplied.

    Raises:
        MediaError: The image and the masks differ in size.

    Example:
        >>> masks = Masks.from_arrays(0, {1: np.array([[True, False]])}, (1, 2))
        >>> cutout(np.full((1, 2, 3), 9, dtype=np.uint8), masks).tolist()
        [[[9, 9, 9, 255], [0, 0, 0, 0]]]
    """
    check_image(image, masks)
    inside = np.zeros(image.shape[:2], dtype=np.uint8)
    for _, mask in masks.items():
        inside |= mask
    alpha = fade(inside, soft)
    margin = max(margin, int(np.ceil(3 * soft)))
    colored = cv2.dilate(inside, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) if margin else inside
    return np.dstack([image * colored[:, :, None], alpha])


def fade(inside: UInt8[np.ndarray, "H W"], soft: float) -> UInt8[np.ndarray, "H W"]:
    """Fade out the edges of a mask.

    Args:
        inside: The mask, 0 and 1.
        soft: Pixels over which the edges fade out.

    Returns:
        Alpha, uint8 (H, W), 0 to 255.

    Example:
        >>> fade(np.array([[0, 1, 1]], dtype=np.uint8), 0).tolist()
        [[0, 255, 255]]
    """
    return soften(inside * np.uint8(255), soft)


def soften(alpha: np.ndarray, soft: float) -> np.ndarray:
    """Alpha (H, W) of any dtype, with edges faded over `soft` pixels, to both sides."""
    return cv2.GaussianBlur(alpha, (0, 0), soft, borderType=cv2.BORDER_REPLICATE) if soft else alpha


def open_background(background: str, size: tuple[int, int]) -> ReadBackground:
    """Open a background by its name, at the size (H, W) of the frames.

    Args:
        background: "blur" for the frame itself, out of focus; a colour such as "green" or "#00b140"; or an
            image or video, which starts again when it ends. It is cropped to the frame's shape.
        size: (H, W) of the frames.

    Returns:
        A function of a frame's number and image that returns the background, uint8 (H, W, 3).

    Raises:
        MediaError: It is neither a colour nor a file that can be opened.
    """
    if background == "blur":
        return lambda frame, image: cv2.GaussianBlur(image, (0, 0), max(1.0, BLUR * size[1]))
    try:
        color = PIL.ImageColor.getrgb(background)[:3]
    except ValueError:
        if not os.path.exists(background):
            raise MediaError(
                "a background must be blur, a colour such as green or #00b140, or an image or video. "
                f"There is no file {background!r}."
            ) from None
    else:
        plain = np.full((*size, 3), color, dtype=np.uint8)
        return lambda frame, image: plain
    frames = open_frames(background)
    return lambda frame, image: _cover(frames[frame % len(frames)], size)


def _cover(image: Image, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """An image scaled to cover a frame of `size` (H, W), and cropped around its centre."""
    height, width = size
    scale = max(height / image.shape[0], width / image.shape[1])
    wide, high = (
        max(side, round(scale * old)) for side, old in zip(size[::-1], image.shape[1::-1], strict=True)
    )
    scaled = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    top, left = (high - height) // 2, (wide - width) // 2
    return scaled[top : top + height, left : left + width]


class CutoutPngs(Writer):
    """folder/00000.png, ...: an image with alpha for each frame.

    Args:
        path: The folder.
        soft: Pixels over which the edges fade out; 0 is a hard edge.

    Raises:
        MediaError: The folder cannot be written to.
    """

    def __init__(self, path: StrPath, *, soft: float = 0.0) -> None:
        self._folder = make_folder(path)
        self._soft = soft

    def write(self, image: Image, masks: Masks) -> None:
        check_masks(masks)
        rgba = PIL.Image.fromarray(cutout(image, masks, soft=self._soft))
        with atomic_write(self._folder / frame_file_name(masks.frame, ".png")) as part:
            rgba.save(part, format="PNG", compress_level=1)


class CutoutVideo(VideoWriter):
    """VP9 with alpha in WebM, for browsers and editors.

    Args:
        path: See `VideoWriter`.
        source: See `VideoWriter`.
        soft: Pixels over which the edges fade out; 0 is a hard edge.
    """

    coding = VP9_ALPHA

    def __init__(self, path: StrPath, source: Source, *, soft: float = 0.0) -> None:
        super().__init__(path, source)
        self._soft = soft

    def draw(self, image: Image, masks: Masks) -> UInt8[np.ndarray, "H W 4"]:
        # In a video, 2 x 2 pixels share their colour: without a margin, edges would become dark.
        return cutout(image, masks, margin=MARGIN, soft=self._soft)


class CutoutProRes(CutoutVideo):
    """ProRes 4444 with alpha in QuickTime, for film editors. Files are large.

    Its arguments are those of `CutoutVideo`.
    """

    coding = PRORES_4444


class CompositeVideo(VideoWriter):
    """The objects on another background: H.264 in MP4.

    Args:
        path: The file.
        source: Where the frames come from.
        background: "blur" for the frame itself, out of focus; a colour such as "green" or "#00b140"; or the
            path of an image or video, which starts again when it ends.
        soft: Pixels over which the edges fade out; 0 is a hard edge.

    Raises:
        MediaError: The background is neither a colour nor a file, the file cannot be written, or frames do
            not come in order.
    """

    coding = H264

    def __init__(self, path: StrPath, source: Source, *, background: str = "blur", soft: float = 0.0) -> None:
        self._background = open_background(background, source.size)
        self._soft = soft
        super().__init__(path, source)

    def draw(self, image: Image, masks: Masks) -> Image:
        alpha = cutout(image, masks, soft=self._soft)[:, :, 3:].astype(np.float32) / 255
        behind = self._background(masks.frame, image)
        return np.round(image * alpha + behind * (1 - alpha)).astype(np.uint8)


class FrameImages(Writer):
    """folder/00000.jpg, ...: the frames, under the names that COCO and YouTube-VIS files have for them.

    Images with a file name keep it, and with it their format.

    Args:
        path: The folder.
        source: Where the frames come from.

    Raises:
        MediaError: The folder cannot be written to.
    """

    def __init__(self, path: StrPath, source: Source) -> None:
        self._folder = make_folder(path)
        self._source = source

    def write(self, image: Image, masks: Masks) -> None:
        check_masks(masks, self._source)
        check_image(image, masks)
        path = self._folder / self._source.file_name(masks.frame)
        format = PIL.Image.registered_extensions().get(path.suffix.lower(), "JPEG")
        with atomic_write(path) as part:
            PIL.Image.fromarray(image).save(part, format=format, quality=95)


def overlay(image: Image, masks: Masks) -> Image:
    """Draw masks on an image, each in its object's colour and with an outline.

    Args:
        image: uint8 (H, W, 3), RGB. It is not changed.
        masks: Masks of the same size.

    Returns:
        A new image, uint8 (H, W, 3).

    Raises:
        MediaError: The image and the masks differ in size.
    """
    check_image(image, masks)
    return paint_objects(image, masks.items(), masks.boxes)


class OverlayPng(Writer):
    """A PNG of the image with its masks drawn on it; of several frames, the last.

    Args:
        path: The file.

    Raises:
        MediaError: The file cannot be written.
    """

    def __init__(self, path: StrPath) -> None:
        make_folder(Path(path).parent)
        self._path = path

    def write(self, image: Image, masks: Masks) -> None:
        with atomic_write(self._path) as part:
            PIL.Image.fromarray(overlay(image, masks)).save(part, format="PNG")


class OverlayVideo(VideoWriter):
    """The video with its masks drawn on it: H.264 in MP4, which every player shows.

    Its arguments are those of `VideoWriter`.
    """

    coding = H264

    def draw(self, image: Image, masks: Masks) -> Image:
        return overlay(image, masks)
