"""The answer to a prompt on a frame, with or without zoom, as a first prompt or a correction; and a cache of
answers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool

from masklet.model import Sam2
from masklet.sessions.image import rank_candidates
from masklet.tracking.step import Choice, EncodedPrompt, TrackedObject
from masklet.types import ImageCandidates, MaskPrediction, Masks, Prompt
from masklet.zoom import Zoom, add_tracked_box, finish

CACHED_ANSWERS = 4

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
        tracked: bool,
        alone: bool,
        zoom: SegmentImage | None,
    ) -> PreparedPrompt:
        """Prepare a prompt on a frame of `size` (H, W).

        Args:
            prompt: All prompts of the object on this frame, joined.
            before: The object's mask on this frame, which the prompt corrects.
            tracked: Whether that mask was tracked from another frame.
            alone: Use no memory, as in an image.
            zoom: Answers a prompt on the frame as on an image, with zoom; None for no zoom.
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
        """The answer after the object was tracked to the frame with this prompt."""
        assert obj.last is not None
        return obj.last if self.zoomed is None else replace(obj.last, iou=self.zoomed.iou[:1])


class AnswerCache:
    """The answers to the last prompts on single frames, as in a preview.

    They are cached without the image, so that they are small. The answer to a prompt with a mask is never
    cached.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[Hashable, ImageCandidates] = OrderedDict()
        self._begun: tuple[Hashable, Generator[None, None, ImageCandidates]] | None = None

    def get(
        self, frame: int, prompt: Prompt, zoom: Zoom | None, segment: Callable[[], ImageCandidates]
    ) -> ImageCandidates:
        """The answer to a prompt: from the cache, by finishing one that was started in steps, or new.

        Args:
            frame: From 0.
            prompt: In source pixels.
            zoom: How small objects are zoomed.
            segment: Makes a new answer.
        """
        if prompt.mask is not None:
            return segment()
        key = frame, prompt, zoom
        begun, self._begun = self._begun, None
        answer = self._answers.pop(key, None)
        if answer is None:
            answer = finish(begun[1]) if begun is not None and begun[0] == key else segment()
        self._put(key, answer)
        return replace(answer, image=None)

    def make_in_steps(
        self,
        frame: int,
        prompt: Prompt,
        zoom: Zoom | None,
        begin: Callable[[], Generator[None, None, ImageCandidates]],
    ) -> Iterator[None]:
        """Make an answer step by step. If `get` is called for the same answer before the end, it finishes the
        steps.

        Args:
            frame: From 0.
            prompt: In source pixels, without a mask.
            zoom: How small objects are zoomed.
            begin: Begins the steps, which return the answer.
        """
        key = frame, prompt, zoom
        if key in self._answers:
            return
        begun = self._begun = key, begin()
        try:
            while self._begun is begun:
                next(begun[1])
                yield
        except StopIteration as end:
            self._put(key, end.value)
        finally:
            if self._begun is begun:
                self._begun = None

    def _put(self, key: Hashable, answer: ImageCandidates) -> None:
        bare = tuple(candidate.bare() for candidate in answer.ranked)  # masks in the image's size are large
        self._answers[key] = replace(answer, ranked=bare, image=None)
        if len(self._answers) > CACHED_ANSWERS:
            self._answers.popitem(last=False)
