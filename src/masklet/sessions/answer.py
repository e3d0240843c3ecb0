"""The answer to one prompt on a frame of a video or stream: with zoom or without, anew or as a correction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool

from masklet.masks import ImageCandidates
from masklet.model import Sam2
from masklet.sessions.image import rank_candidates
from masklet.tracking.step import Choice, EncodedPrompt, TrackedObject
from masklet.types import MaskPrediction, Masks, Memory, Prompt
from masklet.zoom import add_tracked_box

SegmentPicture = Callable[[Prompt, Masks | None], ImageCandidates]  # of a prompt, and the mask it corrects


@dataclass(frozen=True)
class Answer:
    """What the network answers to a prompt.

    Attributes:
        prediction: The answer, as the network goes on with it.
        memory: Its memory; None where the object's policy did not store it.
        exact: The mask to show where it is finer than the prediction: a person's, or one that zoom refined.
    """

    prediction: MaskPrediction
    memory: Memory | None
    exact: Bool[np.ndarray, "H W"] | None
    _size: tuple[int, int] = field(repr=False)
    _choice: Choice = field(repr=False)
    _zoomed: ImageCandidates | None = field(repr=False)

    @cached_property
    def candidates(self) -> ImageCandidates:
        """All masks that the prompt may mean, best first."""
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
        encoded: What the network is asked.
        zoomed: What zoom found, best first. The best is then given to the network as a person's mask is.
        exact: See `Answer`.
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
        tracked: bool,
        alone: bool,
        zoom: SegmentPicture | None,
    ) -> PreparedPrompt:
        """Prepare a prompt on a frame of `size` (H, W).

        Args:
            prompt: All prompts of the object on this frame, joined.
            before: The object's mask on this frame, which the prompt corrects.
            tracked: Whether that mask was tracked from another frame.
            alone: Look at no memory, as in a picture.
            zoom: Answers a prompt on the frame as on a picture, with zoom; None where that is not wanted.
        """
        if zoom is not None and not prompt.is_mask_only:
            corrected = before if before is not None and before[before.ids[0]].any() else None
            if corrected is not None and tracked:
                prompt = add_tracked_box(prompt, corrected[corrected.ids[0]])
            zoomed = zoom(prompt, corrected)
            if zoomed.zoomed and zoomed.best.any():
                encoded = EncodedPrompt.of(Prompt(mask=zoomed.best), size, model, alone=True)
                return cls(encoded, zoomed, zoomed.best)
        hint = None if before is None else before.low_res
        encoded = EncodedPrompt.of(prompt, size, model, hint, alone=alone)
        return cls(encoded, None, None if encoded.mask is None else prompt.mask)

    def prediction(self, obj: TrackedObject) -> MaskPrediction:
        """The answer, once the object was tracked to the frame with this prompt."""
        assert obj.last is not None
        return obj.last if self.zoomed is None else replace(obj.last, iou=self.zoomed.iou[:1])
