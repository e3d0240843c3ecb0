"""One picture and a person who points at things in it, without torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
from masklet.onnx.network import Features, Network, as_network
from masklet.prompts import (
    Prompt,
    check_candidates,
    check_hint_size,
    check_picture_prompt,
    count_candidates,
    label_points,
)
from masklet.zoom import Window, Zoom, crop_prompt, find_zoom

Hint = Masks | ImageCandidates  # masks of which the first is corrected

WINDOWS = 8  # encoded windows that a session keeps


class ImageSession:
    """A picture, encoded once, as `masklet.ImageSession`.

    Args:
        model: A folder that `masklet export onnx` wrote, or a `Network`.
        image: Uint8 (H, W, 3) RGB array, PIL image or path.
        zoom: Segment small objects again in a window around them, for one more encoding each. True, False or
            a `masklet.zoom.Zoom`; None stands for what the manifest says.
        features: The encoded image, where it is at hand.

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
        self._picture = read_image(image)
        self.size = self._picture.shape[0], self._picture.shape[1]
        self._zoom = find_zoom(zoom, default=self.network.manifest.zoom)
        if self._zoom is not None and self._picture is image:
            self._picture = self._picture.copy()  # windows are read later: people draw into what they gave
        self._windows: OrderedDict[Window, Features] = OrderedDict()
        self.features = self._encode(self._picture) if features is None else features

    def segment(
        self, prompt: Prompt, *, hint: Hint | None = None, candidates: int | None = None
    ) -> ImageCandidates:
        """Segment what a prompt means.

        Args:
            prompt: In pixels of the picture.
            hint: Earlier masks, of which the first is corrected.
            candidates: 3 or 1. By default three for a single click, which may mean the part or the whole.

        Returns:
            The masks that the prompt may mean, best first.

        Raises:
            PromptError: The prompt has nothing in the picture, or its mask is empty.
            OptionError: `candidates` is neither 1 nor 3.
        """
        prompt = check_picture_prompt(prompt, self.size)
        check_candidates(candidates)
        if hint is not None and not isinstance(hint, Hint):
            raise PromptError(f"hint must be masks that a session returned. Got {type(hint).__name__}.")
        if hint is not None:
            check_hint_size(hint.size, self.size)
        count = candidates or count_candidates(prompt)
        if self._zoom is None:
            return self.segment_in(None, prompt, hint, count)
        return self._zoom.segment(self, prompt, hint, count)

    def encode_windows(self, windows: Sequence[Window]) -> None:
        """Encode windows of the picture, one after the other: the graph takes one picture at a time."""
        for window in windows[:WINDOWS]:
            self._features_in(window)

    def segment_in(
        self, window: Window | None, prompt: Prompt, hint: Hint | None, candidates: int
    ) -> ImageCandidates:
        """Segment what a prompt means in a window of the picture; None for the whole picture."""
        manifest = self.network.manifest
        low_res = None if hint is None else crop_hint(hint, window, manifest.mask_size)
        size = self.size if window is None else (window[3] - window[1], window[2] - window[0])
        inside = prompt if window is None else crop_prompt(prompt, window)
        features = self._features_in(window)
        points, labels = label_points(inside, size, manifest.image_size)
        if inside.mask is not None and (low_res is None or not len(points)):
            low_res = self.network.adopt(mask_to_square(inside.mask, manifest.image_size))[0]
        if low_res is not None:
            low_res = low_res.clip(-manifest.hint_limit, manifest.hint_limit)
        decoded = self.network.decode(features, features.context, points, labels, low_res)
        rows = (0,) if candidates == 1 else (1, 2, 3)
        return ImageCandidates.rank(
            self.size,
            [Candidate(decoded.logits[row], float(decoded.iou[row]), decoded.score, window) for row in rows],
        )

    def _features_in(self, window: Window | None) -> Features:
        if window is None:
            return self.features
        if window not in self._windows:
            x0, y0, x1, y1 = window
            self._windows[window] = self._encode(self._picture[y0:y1, x0:x1])
            if len(self._windows) > WINDOWS:
                self._windows.popitem(last=False)
        self._windows.move_to_end(window)
        return self._windows[window]

    def _encode(self, picture: np.ndarray) -> Features:
        return self.network.encode(still_to_square(picture, self.network.manifest.image_size))
