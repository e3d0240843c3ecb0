"""Cut-outs, read back by Pillow and by libvpx, which alone decodes VP9's alpha."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

from masklet.media import CutoutPngs, CutoutVideo, cutout, open_frames
from media.made import box_mask, made_masks, number, numbered

MASK, OTHER = box_mask(20, 14, 44, 38), box_mask(0, 0, 8, 8)


def grey(size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), 100, dtype=np.uint8)


def test_only_objects_are_opaque_and_nothing_else_can_be_seen() -> None:
    image = cutout(grey(), made_masks(0, {1: MASK, 2: OTHER}))
    assert ((image[:, :, 3] == 255) == (MASK | OTHER)).all()
    assert (image[MASK | OTHER, :3] == 100).all() and not image[~(MASK | OTHER)].any()


def test_without_objects_all_is_transparent() -> None:
    assert not cutout(grey(), made_masks(0, {1: MASK}).select()).any()


def test_pngs(tmp_path: Path) -> None:
    masks = made_masks(7, {1: MASK})
    with CutoutPngs(tmp_path) as writer:
        writer.write(numbered(7), masks)
    with PIL.Image.open(tmp_path / "00007.png") as image:
        assert image.mode == "RGBA" and (np.asarray(image) == cutout(numbered(7), masks)).all()


@pytest.mark.parametrize("size", [(48, 64), (49, 65)])
def test_video(tmp_path: Path, size: tuple[int, int]) -> None:
    whole, source = np.ones(size, dtype=bool), open_frames([numbered(frame, size) for frame in range(6)])
    part = box_mask(20, 14, 44, 38, size)
    with CutoutVideo(tmp_path / "cut.webm", source) as writer:
        for frame, image in enumerate(source):
            writer.write(image, made_masks(frame, {1: part if frame == 5 else whole}))
    with av.open(str(tmp_path / "cut.webm")) as container:
        assert container.streams.video[0].metadata["ALPHA_MODE"] == "1"
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        packets = [packet for packet in container.demux(video=0) if packet.size]
        frames = [frame for packet in packets for frame in decoder.decode(packet)]
    images = [frame.to_ndarray(format="rgb24") for frame in frames]
    assert [number(image) for image in images[:5]] == list(range(5))
    times = [float(frame.pts * frame.time_base) for frame in frames]
    assert times == pytest.approx([frame / 24 for frame in range(6)], abs=1e-3)
    alphas = [alpha_of(frame)[: size[0], : size[1]] for frame in frames]
    assert min(alpha.min() for alpha in alphas[:5]) > 250
    assert ((alphas[5] > 127) ^ part).mean() < 0.02
    inside = images[5][16:36, 22:42].astype(int)
    assert np.abs(inside - 90).max() < 12  # no dark edge


def alpha_of(frame: av.VideoFrame) -> np.ndarray:
    """As the decoder left it: converting it loses columns of narrow images."""
    plane = frame.planes[3]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
