"""Sessions on single images."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import overload

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from masklet.caches import LruCache
from masklet.errors import OptionError, PromptError, check_count
from masklet.image_candidates import Candidate, ImageCandidates
from masklet.media import is_still, read_image
from masklet.model import Sam2, check_features, check_model
from masklet.prompts import (
    check_candidates,
    check_hint,
    check_id,
    check_image_prompt,
    count_candidates,
    split_hint,
)
from masklet.tracking.step import EncodedPrompt, batch_alike, decode_prompts, encode_image, encode_images
from masklet.types import Candidates, FrameFeatures, Masks, MemorySelection, Prompt
from masklet.zoom import Window, Zoom, crop_prompt, find_zoom, mirror_prompt

Hint = Masks | ImageCandidates  # masks; the first is corrected

WINDOWS = 8  # encoded windows that a session caches
PROMPTS_PER_BATCH = 64  # maximum number of prompts decoded together
IMAGES_PER_BATCH = 8  # images encoded together on a GPU; on a CPU this is not faster

Prompts = Prompt | Sequence[Prompt] | Mapping[int, Prompt]
SegmentResult = ImageCandidates | list[ImageCandidates] | Masks


@dataclass(frozen=True)
class View:
    """An encoded image, or window of an image."""

    features: FrameFeatures
    context: Float[Tensor, "1 c h w"]


class ImageSession:
    """Segments objects in an image, which is encoded once. Each prompt then takes milliseconds.

    Args:
        model: A network, as `masklet.load` returns it.
        image: Uint8 (H, W, 3) RGB array, PIL image or path.
        zoom: Segment an object a second time, for one more encoding: a small one in a window around it, a
            large one in the mirrored image. True, False or a `Zoom`. None uses the network's default: nano
            zooms, the published networks do not.
        features: The encoded image, if you have it.

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
        self._image = read_image(image)
        self.size = self._image.shape[0], self._image.shape[1]
        self._zoom = find_zoom(zoom, default=model.config.zoom)
        if self._zoom is not None and not isinstance(image, str | bytes | os.PathLike):
            # A copy: windows are read later, and callers may draw on their array.
            self._image = self._image.copy()
        self._windows: LruCache[Window, View] = LruCache(WINDOWS)
        self._mirrored: View | None = None  # encoded when first used
        self._whole = self._as_view(
            encode_image(model, self._image) if features is None else check_features(model, features)
        )

    @property
    def features(self) -> FrameFeatures:
        """The encoded image."""
        return self._whole.features

    @overload
    def segment(
        self, prompt: Prompt, *, hint: Hint | None = None, candidates: int | None = None
    ) -> ImageCandidates: ...

    @overload
    def segment(
        self,
        prompt: Sequence[Prompt],
        *,
        hint: Sequence[Hint] | None = None,
        candidates: int | None = None,
    ) -> list[ImageCandidates]: ...

    @overload
    def segment(
        self, prompt: Mapping[int, Prompt], *, hint: Masks | None = None, candidates: int | None = None
    ) -> Masks: ...

    @torch.inference_mode()
    def segment(
        self,
        prompt: Prompts,
        *,
        hint: Hint | Sequence[Hint] | None = None,
        candidates: int | None = None,
    ) -> SegmentResult:
        """Segment the object of a prompt, or of each of several prompts.

        A mask in the prompt is the starting point. To correct an answer, add a click to the prompt and pass
        the answer as the hint.

        Args:
            prompt: In pixels of the image. Pass several prompts as a list, or by object id; they are
                decoded together.
            hint: Earlier masks, of which the first is corrected: what `segment` returned, or the masks of a
                video's frame. For a list of prompts, a list of as many; for prompts by id, masks with ids.
            candidates: 3 or 1. By default three for a single click, which may mean the part or the whole.

        Returns:
            The candidates, best first. For a list of prompts, a list of them. For prompts by id, `Masks` with
            the best candidate of each object.

        Raises:
            PromptError: A prompt lies outside the image, or its mask is empty.
            OptionError: `candidates` is neither 1 nor 3.

        Example:
            >>> import numpy as np
            >>> from masklet.config import toy
            >>> session = ImageSession(Sam2(toy()).eval(), np.zeros((48, 64, 3), dtype=np.uint8))
            >>> left, right = Prompt(positive=[(9, 24)]), Prompt(box=(40, 10, 60, 30))
            >>> len(session.segment([left, right])), session.segment({1: left, 2: right}).ids
            (2, (1, 2))
        """
        check_candidates(candidates)
        if isinstance(prompt, Mapping):
            prompts = {check_id(id): one for id, one in prompt.items()}
            hints = _hints_by_id(hint, prompts)
            answers = self._segment_all(list(prompts.values()), hints, candidates)
            if not answers:
                return Masks.empty(0, self.size).with_image(lambda: self._image)
            parts = {id: answer.as_masks(id) for id, answer in zip(prompts, answers, strict=True)}
            return Masks.join(parts)
        if isinstance(prompt, list | tuple):
            listed: Sequence[object] = [None] * len(prompt) if hint is None else _listed_hints(hint)
            if len(listed) != len(prompt):
                raise PromptError(f"{len(prompt)} prompts need {len(prompt)} hints. Got {len(listed)}.")
            return self._segment_all(prompt, listed, candidates)
        (answer,) = self._segment_all([prompt], [hint], candidates)
        return answer

    @torch.inference_mode()
    def steps(self, prompt: Prompt) -> Generator[None, None, ImageCandidates]:
        """Like `segment` for one prompt, in steps: it pauses before each window that zoom encodes."""
        prompt = check_image_prompt(prompt, self.size)
        if self._zoom is None:
            return self.segment(prompt)
        answer = yield from self._zoom.steps(self, prompt, None, count_candidates(prompt))
        return replace(answer, image=lambda: self._image)

    def _segment_all(
        self, prompts: Sequence[object], hints: Sequence[object], candidates: int | None
    ) -> list[ImageCandidates]:
        """The answers to several prompts. Those of the same form are decoded together."""
        side, rows = self.model.config.mask_size, []
        for prompt, hint in zip(prompts, hints, strict=True):
            checked = check_image_prompt(prompt, self.size)
            start, corrected = split_hint(checked, _check_hint(hint, self.size), side)
            rows.append((start, corrected, candidates or count_candidates(checked)))
        if self._zoom is not None:
            zoomed = [self._zoom.segment(self, *row) for row in rows]
            return [replace(answer, image=lambda: self._image) for answer in zoomed]
        encoded = [self._encode_prompt(None, prompt, earlier) for prompt, earlier, _ in rows]
        shapes = [(prompt.shape, count) for prompt, (_, _, count) in zip(encoded, rows, strict=True)]
        answers: dict[int, ImageCandidates] = {}
        for batch in batch_alike(zip(shapes, range(len(rows)), strict=True), PROMPTS_PER_BATCH):
            decoded = self._decode(self._whole, [encoded[row] for row in batch], rows[batch[0]][2])
            ranked = (rank_candidates(decoded.row(index), self.size) for index in range(len(batch)))
            answers |= zip(batch, ranked, strict=True)
        return [replace(answers[row], image=lambda: self._image) for row in range(len(rows))]

    @torch.inference_mode()
    def segment_in(
        self, window: Window | None, prompt: Prompt, hint: Hint | None, candidates: int
    ) -> ImageCandidates:
        """Segment a prompt in a window of the image.

        Args:
            window: x0, y0, x1, y1 in pixels of the image; None for the whole image.
            prompt: In pixels of the image.
            hint: Earlier masks, of which the first is corrected; or None.
            candidates: 3 or 1.
        """
        encoded = self._encode_prompt(window, prompt, hint)
        return rank_candidates(self._decode(self._view(window), [encoded], candidates), self.size, window)

    @torch.inference_mode()
    def segment_both_ways(self, prompt: Prompt, hint: Hint | None, candidates: int) -> ImageCandidates:
        """Segment a prompt in the image and in its mirror image, and return the mean of both.

        Args:
            prompt: In pixels of the image.
            hint: Earlier masks, of which the first is corrected; or None.
            candidates: 3 or 1.
        """
        if self._mirrored is None:
            self._mirrored = self._as_view(encode_image(self.model, self._image, mirrored=True))
        low_res = None if hint is None else hint.low_res[:1].flip(-1)
        turned = EncodedPrompt.of(mirror_prompt(prompt, self.size[1]), self.size, self.model, low_res)
        seen = self._decode(self._whole, [self._encode_prompt(None, prompt, hint)], candidates)
        mirrored = self._decode(self._mirrored, [turned], candidates)
        logits = (seen.logits + mirrored.logits.flip(-1)) / 2
        mean = replace(seen, logits=logits, iou=(seen.iou + mirrored.iou) / 2)
        return rank_candidates(mean, self.size)

    @torch.inference_mode()
    def encode_windows(self, windows: Sequence[Window]) -> None:
        """Encode windows of the image together, as many as fit in the cache, for later calls.

        Args:
            windows: x0, y0, x1, y1 in pixels of the image.
        """
        missing = [window for window in windows[:WINDOWS] if window not in self._windows]
        if not missing:
            return
        images = [self._image[y0:y1, x0:x1] for x0, y0, x1, y1 in missing]
        for window, features in zip(missing, encode_images(self.model, images), strict=True):
            self._windows[window] = self._as_view(features)

    def _encode_prompt(self, window: Window | None, prompt: Prompt, hint: Hint | None) -> EncodedPrompt:
        low_res = None if hint is None else crop_hint(hint, window, self.model.config.mask_size)
        if window is None:
            return EncodedPrompt.of(prompt, self.size, self.model, low_res)
        size = window[3] - window[1], window[2] - window[0]
        return EncodedPrompt.of(crop_prompt(prompt, window), size, self.model, low_res)

    def _decode(self, view: View, prompts: Sequence[EncodedPrompt], candidates: int) -> Candidates:
        context = view.context.expand(len(prompts), -1, -1, -1)
        return decode_prompts(self.model, view.features, context, prompts, candidates=candidates)

    def _view(self, window: Window | None) -> View:
        if window is None:
            return self._whole
        self.encode_windows([window])
        return self._windows[window]

    @torch.inference_mode()
    def _as_view(self, features: FrameFeatures) -> View:
        return View(features, self.model.attend(features, [MemorySelection()]))


def segment_many(
    model: Sam2,
    images: Iterable[object],
    prompts: Iterable[Prompts],
    *,
    zoom: Zoom | bool | None = None,
    candidates: int | None = None,
    batch: int | None = None,
) -> Iterator[SegmentResult]:
    """Segment many images, each with its own prompts. On a GPU, several images are encoded together.

    Only one batch of images is in memory at a time.

    Args:
        model: A network, as `masklet.load` returns it.
        images: Images, as `ImageSession` takes them. Their sizes may differ.
        prompts: For each image a prompt, a list of prompts, or prompts by object id.
        zoom: See `ImageSession`.
        candidates: See `ImageSession.segment`.
        batch: The number of images to encode together. By default eight on a GPU and one on a CPU.

    Returns:
        An iterator over the answers, in the order of the images; see `ImageSession.segment`.

    Raises:
        PromptError: The numbers of images and prompts differ, or a prompt lies outside its image.
        MediaError: An image cannot be read.

    Example:
        >>> import numpy as np
        >>> from masklet.config import toy
        >>> images = [np.zeros((48, 64, 3), dtype=np.uint8), np.zeros((32, 32, 3), dtype=np.uint8)]
        >>> prompts = [Prompt(positive=[(20, 24)]), {1: Prompt(box=(2, 2, 20, 20))}]
        >>> [answer.size for answer in segment_many(Sam2(toy()).eval(), images, prompts)]
        [(48, 64), (32, 32)]
    """
    check_model(model)
    for name, values in (("images", images), ("prompts", prompts)):
        if isinstance(values, str | bytes | os.PathLike | Mapping | Prompt) or not isinstance(
            values, Iterable
        ):
            raise OptionError(
                f"{name} must be a list with an entry for each image. Got {type(values).__name__}."
            )
    if isinstance(images, np.ndarray | Tensor) and images.ndim < 4 and is_still(images):
        raise OptionError(f"images must be a list: [image]. Got one image of shape {tuple(images.shape)}.")
    default = 1 if model.device.type == "cpu" else IMAGES_PER_BATCH
    batch_size = default if batch is None else check_count(batch, "batch")
    return _segment_batches(model, iter(images), iter(prompts), zoom, candidates, batch_size)


def _segment_batches(
    model: Sam2,
    images: Iterator[object],
    prompts: Iterator[Prompts],
    zoom: Zoom | bool | None,
    candidates: int | None,
    batch_size: int,
) -> Iterator[SegmentResult]:
    while batch := [read_image(image) for image in islice(images, batch_size)]:
        asked = list(islice(prompts, len(batch)))
        if len(asked) < len(batch):
            raise PromptError("segment_many needs prompts for each image. Got more images than prompts.")
        for pixels, prompt, features in zip(batch, asked, encode_images(model, batch), strict=True):
            session = ImageSession(model, pixels, zoom=zoom, features=features)
            yield session.segment(prompt, candidates=candidates)
    if next(prompts, None) is not None:
        raise PromptError("segment_many needs prompts for each image. Got more prompts than images.")


def rank_candidates(
    offered: Candidates, size: tuple[int, int], window: Window | None = None
) -> ImageCandidates:
    """The decoder's candidates for one object in an image of `size` (H, W), best first."""
    rows = zip(offered.logits[0], offered.iou[0], offered.score.expand(len(offered.iou[0])), strict=True)
    return ImageCandidates.rank(size, [Candidate(*row, size, window) for row in rows])


def _check_hint(hint: object, size: tuple[int, int]) -> Hint | None:
    if hint is None:
        return None
    if not isinstance(hint, Hint):
        raise PromptError(f"hint must be masks that a session returned. Got {type(hint).__name__}.")
    check_hint(hint.size, len(hint), size)
    return hint


def _listed_hints(hint: object) -> Sequence[object]:
    if not isinstance(hint, list | tuple):
        raise PromptError(f"a list of prompts needs a list of hints. Got {type(hint).__name__}.")
    return hint


def _hints_by_id(hint: object, prompts: Mapping[int, Prompt]) -> list[object]:
    """The masks to correct by object id; None for an object without a mask there."""
    if hint is None:
        return [None] * len(prompts)
    if not isinstance(hint, Masks):
        raise PromptError(f"prompts by id need masks with ids as their hint. Got {type(hint).__name__}.")
    return [hint.select(id) if id in hint else None for id in prompts]


def crop_hint(hint: Hint, window: Window | None, side: int) -> Float[Tensor, "1 h4 w4"]:
    """The low-res logits of the first mask in a window; None for the whole image.

    Args:
        side: The side of the decoder's maps.
    """
    if window is None:
        return hint.low_res[:1]
    x0, y0, x1, y1 = window
    inside = hint.best_part(window) if isinstance(hint, ImageCandidates) else hint.logits[0, y0:y1, x0:x1]
    return F.interpolate(
        inside[None, None], (side, side), mode="bilinear", align_corners=False, antialias=True
    )[0]
