"""Small clips and masks that tests make for themselves. A frame shows its number, through any codec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from masklet.media import Frames, Writer, open_frames
from masklet.types import Masks

QUICK = {"libx264": {"preset": "veryfast"}, "libvpx": {"cpu-used": "8"}, "libvpx-vp9": {"cpu-used": "8"}}
BITS = 8
BLOCK = 8


def numbered(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """An image whose upper left blocks are the number's bits, and whose lower right corner is red."""
    height, width = size
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    for bit in range(BITS):
        image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (number >> bit & 1)
    image[-16:, -16:] = 220, 30, 30
    return image


def number(image: np.ndarray) -> int:
    """The number that an image shows."""
    blocks = [image[2 : BLOCK - 2, bit * BLOCK + 2 : (bit + 1) * BLOCK - 2] for bit in range(BITS)]
    return sum(int(block.mean() > 127) << bit for bit, block in enumerate(blocks))


def write_video(
    path: Path,
    images: Iterable[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 3,
    rotation: int = 0,
    flip: bool = False,
    pixel_aspect: Fraction | None = None,
    tuning: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video of 25 frames a second, or with the given times in milliseconds.

    tuning, options : of the codec, of the container
    """
    images = list(images)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25, options={**QUICK.get(codec, {}), **(tuning or {})})
        stream.codec_context.thread_count = 1
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        if rotation or flip:
            stream.set_display_rotation(rotation, hflip=flip)
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for place, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image)
            frame.time_base = Fraction(1, 25) if times is None else Fraction(1, 1000)
            frame.pts = place if times is None else times[place]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def clip(path: Path, count: int = 40) -> Path:
    """A numbered H.264 clip with B-frames and a keyframe every 12 frames."""
    return write_video(path, (numbered(frame) for frame in range(count)))


def made_masks(frame: int, masks: dict[int, np.ndarray]) -> Masks:
    """Masks of a frame from bool arrays (H, W) by object id; later ones have the higher logits."""
    arrays = np.array(list(masks.values()), dtype=bool)
    strength = torch.arange(1.0, len(masks) + 1)[:, None, None]
    return Masks(
        frame=frame,
        ids=tuple(masks),
        low_res=torch.where(torch.from_numpy(arrays), strength, -strength),
        size=arrays.shape[1:],
        iou=torch.linspace(0.9, 0.5, len(masks)),
        score=torch.linspace(5.0, 2.0, len(masks)),
    )


def box_mask(x0: int, y0: int, x1: int, y1: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


ONE, TWO = box_mask(4, 6, 20, 30), box_mask(16, 20, 40, 44)  # they overlap
RING = box_mask(2, 2, 30, 30) & ~box_mask(10, 10, 20, 20)
EMPTY = np.zeros((48, 64), dtype=bool)
# Object 1 leaves and comes back; object 2 is tracked from frame 1 on.
CLIP = [
    made_masks(0, {1: ONE}),
    made_masks(1, {1: EMPTY, 2: RING}),
    made_masks(2, {1: ONE, 2: TWO}),
    made_masks(3, {1: ONE, 2: EMPTY}),
]


def made_frames(count: int = len(CLIP)) -> Frames:
    return open_frames([numbered(frame) for frame in range(count)])


def write(writer: Writer, source: Frames, clip: Sequence[Masks] = CLIP) -> None:
    with writer:
        for masks in clip:
            writer.write(source[masks.frame], masks)


def decoded(code: dict) -> np.ndarray:
    """RLE, by pycocotools itself."""
    return coco.decode(code).astype(bool)


def assert_same(read: list[Masks], expected: list[Masks]) -> None:
    assert [masks.frame for masks in read] == [masks.frame for masks in expected]
    for one, other in zip(read, expected, strict=True):
        assert one.ids == other.ids and one.size == other.size
        assert all((one[id] == other[id]).all() for id in other)
        assert one.iou.tolist() == pytest.approx(other.iou.tolist(), abs=1e-4)
        assert one.score.tolist() == pytest.approx(other.score.tolist(), abs=1e-3)
