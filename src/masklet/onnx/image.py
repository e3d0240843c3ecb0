"""Sessions on single images, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from masklet.caches import LruCache
from masklet.errors import PromptError
from masklet.onnx.masks import (
    Candidate,
    ImageCandidates,
    Masks,
    crop_hint,
    mask_to_square,
    read_image,
    still_to_square,
)
from masklet.onnx.network import Decoded, Features, Network, as_network
from masklet.prompts import (
    Prompt,
    check_candidates,
    check_hint,
    check_image_prompt,
    count_candidates,
    label_points,
    split_hint,
)
from masklet.zoom import Window, Zoom, crop_prompt, find_zoom, mirror_prompt

Hint = Masks | ImageCandidates  # masks; the first is corrected

WINDOWS = 8  # encoded windows that a session caches


class ImageSession:
    """An image, encoded once, as `masklet.ImageSession`.

    Args:
        model: A folder that `masklet export onnx` wrote, or a `Network`.
        image: Uint8 (H, W, 3) RGB array, PIL image or path.
        zoom: Segment an object again, for one more encoding: a small one in a window around it, a large one
            in the mirrored image. True, False or a `masklet.zoom.Zoom`; None stands for what the manifest
            says.
        features: The encoded image, if you have it.

    Raises:
        CheckpointError: The folder is no export.
        MediaError: The image cannot be read.
    """

    def __init__(
        self,
        model: Network | str | Path,
        image: object,
        *,
        zoom: Zoom | bool | None = None,
        features: Features | None = None,
    ) -> None:
        self.network = as_network(model)
        self._image = read_image(image)
        self.size = self._image.shape[0], self._image.shape[1]
        self._zoom = find_zoom(zoom, default=self.network.manifest.zoom)
        if self._zoom is not None and self._image is image:
            # A copy: windows are read later, and callers may draw on their array.
            self._image = self._image.copy()
        self._windows: LruCache[Window, Features] = LruCache(WINDOWS)
        self._mirrored: Features | None = None  # encoded when first used
        self.features = self._encode(self._image) if features is None else features

    def segment(
        self, prompt: Prompt, *, hint: Hint | None = None, candidates: int | None = None
    ) -> ImageCandidates:
        """Segment a prompt.

        Args:
            prompt: In pixels of the image.
            hint: Earlier masks, of which the first is corrected.
            candidates: 3 or 1. By default three for a single click, which may mean the part or the whole.

        Returns:
            The candidates, best first.

        Raises:
            PromptError: The prompt is outside the image, or its mask is empty.
            OptionError: `candidates` is neither 1 nor 3.
        """
        prompt = check_image_prompt(prompt, self.size)
        check_candidates(candidates)
        if hint is not None and not isinstance(hint, Hint):
            raise PromptError(f"hint must be masks returned by a session. Got {type(hint).__name__}.")
        if hint is not None:
            check_hint(hint.size, len(hint), self.size)
        count = candidates or count_candidates(prompt)
        prompt, hint = split_hint(prompt, hint, self.network.manifest.mask_size)
        if self._zoom is None:
            return self.segment_in(None, prompt, hint, count)
        return self._zoom.segment(self, prompt, hint, count)

    def encode_windows(self, windows: Sequence[Window]) -> None:
        """Encode windows of the image, one after the other: the graph takes one image at a time."""
        for window in windows[:WINDOWS]:
            self._features_in(window)

    def segment_in(
        self, window: Window | None, prompt: Prompt, hint: Hint | None, candidates: int
    ) -> ImageCandidates:
        """Segment a prompt in a window of the image; None for the whole image."""
        low_res = None if hint is None else crop_hint(hint, window, self.network.manifest.mask_size)
        size = self.size if window is None else (window[3] - window[1], window[2] - window[0])
        inside = prompt if window is None else crop_prompt(prompt, window)
        decoded = self._decode(self._features_in(window), inside, size, low_res)
        found = [
            Candidate(decoded.logits[row], float(decoded.iou[row]), decoded.score, window)
            for row in _rows(candidates)
        ]
        return ImageCandidates.rank(self.size, found)

    def segment_both_ways(self, prompt: Prompt, hint: Hint | None, candidates: int) -> ImageCandidates:
        """Segment a prompt in the image and in its mirror image, and return the mean of both."""
        low_res = None if hint is None else hint.low_res[0]
        seen = self._decode(self.features, prompt, self.size, low_res)
        if self._mirrored is None:
            self._mirrored = self._encode(self._image, mirrored=True)
        flipped = None if low_res is None else low_res[:, ::-1]
        mirrored = self._decode(self._mirrored, mirror_prompt(prompt, self.size[1]), self.size, flipped)
        logits = (seen.logits + mirrored.logits[..., ::-1]) / 2
        means = [
            Candidate(logits[row], float(seen.iou[row] + mirrored.iou[row]) / 2, seen.score)
            for row in _rows(candidates)
        ]
        return ImageCandidates.rank(self.size, means)

    def _decode(
        self, features: Features, prompt: Prompt, size: tuple[int, int], low_res: np.ndarray | None
    ) -> Decoded:
        """The decoder's answer to a prompt in a view of `size` (H, W)."""
        manifest = self.network.manifest
        points, labels = label_points(prompt, size, manifest.image_size)
        if prompt.mask is not None and (low_res is None or not len(points)):
            low_res = self.network.adopt(mask_to_square(prompt.mask, manifest.image_size))[0]
        if low_res is not None:
            low_res = low_res.clip(-manifest.hint_limit, manifest.hint_limit)
        return self.network.decode(features, features.context, points, labels, low_res)

    def _features_in(self, window: Window | None) -> Features:
        if window is None:
            return self.features
        if window not in self._windows:
            x0, y0, x1, y1 = window
            self._windows[window] = self._encode(self._image[y0:y1, x0:x1])
        return self._windows[window]

    def _encode(self, image: np.ndarray, *, mirrored: bool = False) -> Features:
        square = still_to_square(image, self.network.manifest.image_size)
        return self.network.encode(np.ascontiguousarray(square[..., ::-1]) if mirrored else square)


def _rows(candidates: int) -> tuple[int, ...]:
    """The decoder's rows: its single mask, or the three for a click."""
    return (0,) if candidates == 1 else (1, 2, 3)
