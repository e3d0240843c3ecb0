"""One picture and a person who points at things in it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from masklet.errors import PromptError
from masklet.masks import Candidate, ImageCandidates, Window
from masklet.media import read_image
from masklet.model import Sam2, fill_mask
from masklet.sessions.checks import check_model
from masklet.sessions.zoom import Hint, Zoom, crop_hint, crop_prompt, find_zoom
from masklet.tracking.step import EncodedPrompt, encode_image
from masklet.transforms import check_prompt
from masklet.types import FrameFeatures, MemorySelection, Prompt

WINDOWS = 8  # encoded windows that a session keeps


@dataclass(frozen=True)
class View:
    """A picture, or a window of it, as the network sees it."""

    size: tuple[int, int]
    features: FrameFeatures
    context: Float[Tensor, "1 c h w"]


class ImageSession:
    """A picture, encoded once. Every prompt after that costs milliseconds.

    Args:
        model: A network, as `masklet.load` returns it.
        image: Uint8 (H, W, 3) RGB array, PIL image or path.
        zoom: Segment small objects again in a window around them, for one more encoding each. True, False or
            a `Zoom`; None stands for what the network's config says: nano zooms, the published networks do
            not.
        features: The encoded image, where it is at hand.

    Raises:
        MediaError: The image cannot be read.

    Example:
        >>> import numpy as np
        >>> from masklet.config import toy
        >>> session = ImageSession(Sam2(toy()), np.zeros((48, 64, 3), dtype=np.uint8))
        >>> candidates = session.segment(Prompt(positive=[(20, 24)]))
        >>> len(candidates), candidates[0].shape, candidates.iou.shape
        (3, (48, 64), torch.Size([3]))
    """

    def __init__(
        self,
        model: Sam2,
        image: object,
        *,
        zoom: Zoom | bool | None = None,
        features: FrameFeatures | None = None,
    ) -> None:
        self.model = check_model(model)
        self._picture = read_image(image)
        self.size = self._picture.shape[0], self._picture.shape[1]
        self._zoom = find_zoom(zoom, model.config)
        self._windows: OrderedDict[Window, View] = OrderedDict()
        self._whole = self._as_view(
            self.size, encode_image(model, self._picture) if features is None else features
        )

    @property
    def features(self) -> FrameFeatures:
        """The encoded picture."""
        return self._whole.features

    @torch.inference_mode()
    def segment(
        self, prompt: Prompt, *, hint: Hint | None = None, candidates: int | None = None
    ) -> ImageCandidates:
        """Segment what a prompt means.

        A mask in the prompt is where the search starts. To correct an answer, add the click to the prompt and
        give the answer as the hint.

        Args:
            prompt: In pixels of the picture.
            hint: Earlier masks, of which the first is corrected: what `segment` returned, or the masks of a
                video's frame.
            candidates: 3 or 1. By default three for a single click, which may mean the part or the whole.

        Returns:
            The masks that the prompt may mean, best first.

        Raises:
            PromptError: The prompt has nothing in the picture.
            ValueError: `candidates` is neither 1 nor 3.
        """
        prompt = check_prompt(prompt, self.size)
        if candidates not in (None, 1, 3):
            raise ValueError(
                f"candidates must be 1 or 3, as many as the decoder can offer. Got {candidates}."
            )
        if hint is not None and not isinstance(hint, Hint):
            raise PromptError(f"hint must be masks that a session returned. Got {type(hint).__name__}.")
        count = candidates or (3 if prompt.clicks == 1 and prompt.box is None else 1)
        if self._zoom is None:
            return self.segment_in(None, prompt, hint, count)
        return self._zoom.segment(self, prompt, hint, count)

    @torch.inference_mode()
    def segment_in(
        self, window: Window | None, prompt: Prompt, hint: Hint | None, candidates: int
    ) -> ImageCandidates:
        """Segment what a prompt means in a window of the picture; None for the whole picture."""
        view, size = self._view(window), self.model.config.mask_size
        low_res = None if hint is None else crop_hint(hint, window, size)
        inside = prompt if window is None else crop_prompt(prompt, window)
        encoded = EncodedPrompt.of(inside, view.size, self.model, low_res, alone=True)
        clicked = encoded.points.shape[1] > 0
        decoded = self.model.decode(
            view.features,
            view.context,
            encoded.points if clicked else None,
            encoded.labels if clicked else None,
            encoded.hint if encoded.mask is None else fill_mask(encoded.mask, size),
            candidates=candidates,
        )
        rows = zip(decoded.logits[0], decoded.iou[0], decoded.score.expand(candidates), strict=True)
        return ImageCandidates.rank(self.size, [Candidate(*row, window) for row in rows])

    def _view(self, window: Window | None) -> View:
        if window is None:
            return self._whole
        if window not in self._windows:
            x0, y0, x1, y1 = window
            features = encode_image(self.model, self._picture[y0:y1, x0:x1])
            self._windows[window] = self._as_view((y1 - y0, x1 - x0), features)
            if len(self._windows) > WINDOWS:
                self._windows.popitem(last=False)
        self._windows.move_to_end(window)
        return self._windows[window]

    @torch.inference_mode()
    def _as_view(self, size: tuple[int, int], features: FrameFeatures) -> View:
        return View(size, features, self.model.attend(features, [MemorySelection()]))
