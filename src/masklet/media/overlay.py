"""Masks for people to look at: painted over the picture, as a video or as one picture."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import PIL.Image
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from masklet.errors import MediaError
from masklet.media.files import StrPath, folder, unfinished, whole, writing
from masklet.media.palette import color
from masklet.media.source import Image, Source
from masklet.media.writer import Writer
from masklet.types import Masks

FILL = 0.4  # of a mask's area is its colour; the rest is the picture
SHADE = 0.45  # darkness along the outlines, which sets them off against any background
TICK = Fraction(1, 90_000)  # seconds; whole numbers of it make all usual frame rates

_SHIFT = 4  # OpenCV draws at 1 / 2**4 of a pixel


def overlay(image: Image, masks: Masks) -> Image:
    """The picture with its masks painted in, each in its object's colour and with an outline."""
    painted = image.copy()
    for id, mask in masks.items():
        painted[mask] = (1 - FILL) * painted[mask] + FILL * np.array(color(id))
    outlines = {id: _outlines(mask) for id, mask in masks.items()}
    width = max(1, round(min(masks.size) / 280))
    shaded = painted.copy()
    for lines in outlines.values():
        cv2.polylines(shaded, lines, True, (0, 0, 0), width + 2, cv2.LINE_AA, _SHIFT)
    cv2.addWeighted(painted, 1 - SHADE, shaded, SHADE, 0, dst=painted)
    for id, lines in outlines.items():
        bright = [channel + (255 - channel) // 4 for channel in color(id)]
        cv2.polylines(painted, lines, True, bright, width, cv2.LINE_AA, _SHIFT)
    return painted


def _outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Contours without the stairs of their pixels, in OpenCV's fractions of a pixel."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [np.round(_smooth(contour) * 2**_SHIFT).astype(np.int32) for contour in contours]


def _smooth(contour: np.ndarray, reach: int = 2) -> np.ndarray:
    """Each point's mean with its neighbours; a contour too short for that stays as it is."""
    if len(contour) < 6 * reach:
        return contour
    return np.mean([np.roll(contour, shift, axis=0) for shift in range(-reach, reach + 1)], axis=0)


class OverlayPng(Writer):
    """One picture; should there be several frames, the last."""

    def __init__(self, path: StrPath) -> None:
        folder(Path(path).parent)
        self._path = path

    def write(self, image: Image, masks: Masks) -> None:
        with whole(self._path) as part:
            PIL.Image.fromarray(overlay(image, masks)).save(part, format="PNG")


class OverlayVideo(Writer):
    """H.264 in MP4, which every player shows; each frame at its time in the source.

    Frames must come in order. The file appears when it is closed. An odd side grows by a pixel.
    """

    def __init__(self, path: StrPath, source: Source) -> None:
        self._path = path
        self._source = source
        self._part = unfinished(path)
        self._first: float | None = None
        self._frame = -1
        self._pts = -1
        self._closed = False
        with writing(path):
            self._container = av.open(
                os.fspath(self._part), "w", format="mp4", options={"movflags": "faststart"}
            )
        rate = Fraction(source.fps).limit_denominator(1001)
        self._stream = self._container.add_stream("libx264", rate, {"crf": "20", "preset": "veryfast"})
        height, width = source.size
        self._stream.height, self._stream.width = height + height % 2, width + width % 2
        self._stream.pix_fmt = "yuv420p"
        codec = self._stream.codec_context
        codec.time_base = TICK
        codec.colorspace, codec.color_range = Colorspace.ITU709, ColorRange.MPEG
        codec.color_primaries, codec.color_trc = ColorPrimaries.BT709, ColorTrc.BT709

    def write(self, image: Image, masks: Masks) -> None:
        if masks.frame <= self._frame:
            raise MediaError(
                f"an overlay video takes frames in order. Got frame {masks.frame} after frame {self._frame}: "
                f"write it when all masks are known."
            )
        seconds = self._source.time(masks.frame)
        self._first = seconds if self._first is None else self._first
        self._frame = masks.frame
        self._pts = max(self._pts + 1, round((seconds - self._first) / TICK))
        painted = overlay(image, masks)
        height, width = painted.shape[:2]
        even = np.pad(painted, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even).reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = self._pts, TICK
        with writing(self._path):
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            with writing(self._path):
                self._container.mux(self._stream.encode(None))
                self._container.close()
                if self._first is not None:  # a video without frames is none
                    os.replace(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)
