"""One picture and a person who points at things in it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from masklet.media import read_image
from masklet.model import Sam2, drawn
from masklet.sessions import zoom as closer_look
from masklet.tracking.step import EncodedPrompt
from masklet.transforms import check_prompt, still_to_square
from masklet.types import Closeup, FrameFeatures, MaskPrediction, Masks, MemorySelection, Prompt, Window

KEPT = 8  # windows
LOOKS = 2  # at most, at each answer to a first click


@dataclass(frozen=True)
class View:
    """A picture, or a window of it, as the network sees it."""

    size: tuple[int, int]
    features: FrameFeatures
    context: Float[Tensor, "1 c h w"]


class ImageSession:
    """A picture, encoded once; every prompt after that costs milliseconds.

    image : uint8 (H, W, 3) RGB array, PIL image or path
    closer : look again, from close up, at what fills little of the picture, for one more encoding each; by
             default as the network's config says: nano does, the published networks do not
    features : the encoded image, where it is at hand
    """

    def __init__(
        self,
        model: Sam2,
        image: object,
        *,
        closer: bool | None = None,
        features: FrameFeatures | None = None,
    ) -> None:
        self._picture = read_image(image)
        self.model = model
        self.size = self._picture.shape[0], self._picture.shape[1]
        self._closer = model.config.closer if closer is None else closer
        self._whole = self._view(self._picture, features)
        self._windows: OrderedDict[Window, View] = OrderedDict()

    @property
    def features(self) -> FrameFeatures:
        return self._whole.features

    @torch.inference_mode()
    def segment(self, prompt: Prompt, *, hint: Masks | None = None, candidates: int | None = None) -> Masks:
        """Masks for what a prompt says, best first; their ids are their ranks 0, 1, 2.

        A mask in the prompt is where the search starts; to correct an answer, add the click to the prompt and
        give the answer as the hint.

        hint : earlier masks, of which the first is meant
        candidates : 3 or 1; by default three for a single click, which may mean the part or the whole
        """
        check_prompt(prompt, self.size)
        if candidates not in (None, 1, 3):
            raise ValueError(
                f"candidates must be 1 or 3, as many as the decoder can offer. Got {candidates}."
            )
        many = candidates or (3 if prompt.clicks == 1 and prompt.box is None else 1)
        spot = closer_look.meant(prompt, hint) if self._closer else None
        window = None if spot is None else closer_look.around(spot, self.size)
        if window is not None:
            return self._look_into(window, prompt, hint, many)
        masks = self._look(prompt, hint, many)
        return self._look_again(masks, prompt) if self._closer and spot is None else masks

    def _look(self, prompt: Prompt, hint: Masks | None, candidates: int) -> Masks:
        low_res = None if hint is None else hint.low_res[:1]
        return _ranked(self._ask(self._whole, prompt, low_res, candidates))

    def _look_into(self, window: Window, prompt: Prompt, hint: Masks | None, candidates: int) -> Masks:
        """The same, from close up."""
        side = self.model.config.mask_size
        there = None if hint is None else closer_look.hinted(window, hint, side)
        seen = self._ask(self._window(window), closer_look.within(window, prompt), there, candidates)
        closeups = {id: Closeup(window, logits) for id, logits in zip(seen.ids, seen.low_res, strict=True)}
        low_res = torch.cat([closer_look.coarse(each, self.size, side) for each in closeups.values()])
        return _ranked(Masks(0, seen.ids, low_res, self.size, seen.iou, seen.score, closeups=closeups))

    def _look_again(self, masks: Masks, prompt: Prompt) -> Masks:
        """Each answer from close up, where it fills little of the picture.

        Twice, where the first look shows that its place or size was not what it seemed from afar.
        """
        for _ in range(LOOKS):
            masks = self._look_at_each(masks, prompt)
        return masks

    def _look_at_each(self, masks: Masks, prompt: Prompt) -> Masks:
        again: dict[int, Masks] = {}
        windows: list[Window] = []
        for id, mask in masks.items():
            spot = closer_look.found(mask, prompt)
            window = None if spot is None else closer_look.around(spot, self.size)
            again[id] = masks.select(id)
            if spot is None or window is None:
                continue
            if id not in masks.closeups or closer_look.elsewhere(masks.closeups[id].window, window):
                windows.append(closer_look.shared(window, spot, windows))
                again[id] = self._look_into(windows[-1], prompt, again[id], 1)
        return _ranked(Masks.joined(again))

    def _ask(self, view: View, prompt: Prompt, hint: Tensor | None, candidates: int) -> Masks:
        ask = EncodedPrompt.of(prompt, view.size, self.model, hint, alone=True)
        clicked = ask.points.shape[1] > 0
        offered = self.model.decode(
            view.features,
            view.context,
            ask.points if clicked else None,
            ask.labels if clicked else None,
            ask.hint if ask.mask is None else drawn(ask.mask, self.model.config.mask_size),
            candidates=candidates,
        )
        ids = tuple(range(candidates))
        score = offered.score.expand(candidates)
        return Masks(0, ids, offered.logits[0], view.size, offered.iou[0], score)

    def _window(self, window: Window) -> View:
        if window not in self._windows:
            x0, y0, x1, y1 = window
            self._windows[window] = self._view(self._picture[y0:y1, x0:x1])
            if len(self._windows) > KEPT:
                self._windows.popitem(last=False)
        self._windows.move_to_end(window)
        return self._windows[window]

    @torch.inference_mode()
    def _view(self, pixels: UInt8[np.ndarray, "H W 3"], features: FrameFeatures | None = None) -> View:
        if features is None:
            square = still_to_square(pixels, self.model.config.image_size, self.model.device)
            features = self.model.encode(square)
        return View(
            (pixels.shape[0], pixels.shape[1]), features, self.model.attend(features, [MemorySelection()])
        )


def _ranked(masks: Masks) -> Masks:
    """Best first, by their predicted IoU."""
    order = masks.iou.argsort(descending=True, stable=True).tolist()
    return Masks.joined({rank: masks.select(masks.ids[row]) for rank, row in enumerate(order)})


def closer_answers(
    model: Sam2,
    picture: Callable[[], UInt8[np.ndarray, "H W 3"]],
    features: FrameFeatures,
    prompt: Prompt,
    stands: Masks | None,
) -> Masks | None:
    """What a closer look at a video's frame finds, best first; the best then stands as if it had been drawn.

    None where nobody looked closer, with most networks, and at what is large or was drawn; and where nothing
    was found.

    stands : the object's mask on this frame by now
    """
    if not model.config.closer or prompt.decides:
        return None
    hint = stands if stands is not None and stands[stands.ids[0]].any() else None
    masks = ImageSession(model, picture(), features=features).segment(prompt, hint=hint)
    return masks if masks.closeups and masks[0].any() else None


def judged(adopted: MaskPrediction | None, offered: Masks | None) -> MaskPrediction | None:
    """What was adopted of a closer look, with the quality that was predicted of it there."""
    return adopted if adopted is None or offered is None else replace(adopted, iou=offered.iou[:1])
