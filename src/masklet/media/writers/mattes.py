"""Mattes for compositing: OpenEXR, a file for each frame and object, with alpha as half floats."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from jaxtyping import Bool, Float32

from masklet.errors import MediaError
from masklet.files import StrPath, atomic_write, make_folder
from masklet.media.readers.source import Image, Source, frame_file_name
from masklet.media.writers.images import soften
from masklet.media.writers.writer import Writer, check_masks
from masklet.types import Masks

PIXELS = "grayf32le"  # the encoder's input; it writes half floats


class MatteExrs(Writer):
    """folder/001/00000.exr, ...: a folder for each object; linear alpha in channel Y, 0 to 1, with overlaps.

    Args:
        path: The folder.
        source: Where the frames come from.
        soft: Pixels over which the edges fade out; 0 is a hard edge.

    Raises:
        MediaError: The folder cannot be written to.
    """

    def __init__(self, path: StrPath, source: Source, *, soft: float = 0.0) -> None:
        self._folder = make_folder(path)
        self._source = source
        self._soft = soft
        self._encode = exr_encoder(source.size, source.pixel_aspect)

    def write(self, image: Image, masks: Masks) -> None:
        check_masks(masks, self._source)
        for id, mask in masks.items():
            path = Path(f"{id:03d}", frame_file_name(masks.frame, ".exr"))
            with atomic_write(self._folder / path) as part:
                part.write_bytes(self._encode(matte(mask, self._soft)))


def matte(mask: Bool[np.ndarray, "H W"], soft: float) -> Float32[np.ndarray, "H W"]:
    """A mask as alpha from 0 to 1 whose edges fade out over `soft` pixels, to both sides.

    Example:
        >>> matte(np.array([[False, True]]), 0).tolist()
        [[0.0, 1.0]]
    """
    return np.clip(soften(mask.astype(np.float32), soft), 0, 1)


def exr_encoder(
    size: tuple[int, int], pixel_aspect: Fraction
) -> Callable[[Float32[np.ndarray, "H W"]], bytes]:
    """The encoder of a grey image as EXR: half floats, ZIP compression.

    Args:
        size: (H, W) of the images.
        pixel_aspect: Width by height of a pixel.
    """
    codec = av.CodecContext.create("exr", "w")
    assert isinstance(codec, VideoCodecContext)
    codec.height, codec.width = size
    codec.pix_fmt = PIXELS
    codec.time_base = Fraction(1, 25)  # files have no time, but encoders need one
    codec.sample_aspect_ratio = pixel_aspect  # without it, FFmpeg leaves out an attribute that EXR requires
    codec.thread_count = 1  # several threads would delay frames
    codec.options = {"compression": "zip16", "format": "half"}

    def encode(image: Float32[np.ndarray, "H W"]) -> bytes:
        frame = av.VideoFrame.from_ndarray(image, format=PIXELS)
        try:
            return b"".join(bytes(packet) for packet in codec.encode(frame))
        except av.FFmpegError as error:
            raise MediaError(
                f"a matte of {size[1]}x{size[0]} pixels cannot be encoded: {error}. Choose another format."
            ) from error

    return encode
