"""The answer to a prompt on a frame, with or without zoom, as a first prompt or a correction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool

from masklet.model import Sam2
from masklet.sessions.image import rank_candidates
from masklet.tracking.step import Choice, EncodedPrompt, TrackedObject
from masklet.types import ImageCandidates, MaskPrediction, Masks, Prompt
from masklet.zoom import add_box

SegmentImage = Callable[[Prompt, Masks | None], ImageCandidates]  # by prompt and corrected mask


@dataclass(frozen=True, repr=False)
class Answer:
    """The network's answer to a prompt."""

    _size: tuple[int, int]
    _choice: Choice
    _zoomed: ImageCandidates | None

    @cached_property
    def candidates(self) -> ImageCandidates:
        """All candidates for the prompt, best first."""
        return self._zoomed or rank_candidates(self._choice.candidates, self._size)

    @property
    def chosen(self) -> int:
        """The rank of the candidate that is the answer."""
        if self._zoomed is not None:
            return 0
        order = self._choice.candidates.iou[0].argsort(descending=True, stable=True)
        return order.tolist().index(int(self._choice.index[0]))


@dataclass(frozen=True)
class PreparedPrompt:
    """A prompt on a frame, ready for `track_frame`.

    Attributes:
        encoded: The prompt as the network's input.
        zoomed: The answers of zoom, best first. The best is then passed to the network like a user's mask.
        exact: The mask to show if it is finer than the prediction: drawn by a user, or refined by zoom.
    """

    encoded: EncodedPrompt
    zoomed: ImageCandidates | None
    exact: Bool[np.ndarray, "H W"] | None

    @classmethod
    def of(
        cls,
        model: Sam2,
        prompt: Prompt,
        size: tuple[int, int],
        *,
        before: Masks | None,
        boxed: bool,
        alone: bool,
        zoom: SegmentImage | None,
    ) -> PreparedPrompt:
        """Prepare a prompt on a frame of `size` (H, W).

        Args:
            prompt: All prompts of the object on this frame, joined.
            before: The object's mask on this frame, which the prompt corrects.
            boxed: Whether clicks go with that mask's box, because it was tracked from another frame or
                edited.
            alone: Use no memory, as in an image.
            zoom: Answers a prompt on the frame as on an image, with zoom; None for no zoom.
        """
        if zoom is not None and not prompt.is_mask_only:
            corrected = before if before is not None and before[before.ids[0]].any() else None
            if corrected is not None and (boxed or prompt.mask is not None):
                prompt = add_box(prompt, corrected[corrected.ids[0]])
            elif prompt.mask is not None:
                prompt = add_box(prompt, prompt.mask)
            zoomed = zoom(prompt, corrected)
            if zoomed.zoomed and zoomed.best.any():
                encoded = EncodedPrompt.of(Prompt(mask=zoomed.best), size, model, adopts=True)
                return cls(encoded, zoomed, zoomed.best)
        hint = None if before is None else before.low_res
        encoded = EncodedPrompt.of(prompt, size, model, hint, alone=alone, adopts=True)
        return cls(encoded, None, None if encoded.mask is None else prompt.mask)

    def prediction(self, obj: TrackedObject) -> MaskPrediction:
        """The answer after the object was tracked to the frame with this prompt."""
        assert obj.last is not None
        return obj.last if self.zoomed is None else replace(obj.last, iou=self.zoomed.iou[:1])
