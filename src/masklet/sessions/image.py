"""One picture and a person who points at things in it."""

from __future__ import annotations

import torch

from masklet.media import read_image
from masklet.model import Sam2, drawn
from masklet.tracking import Ask
from masklet.transforms import check_prompt, still_to_square
from masklet.types import Masks, Prompt, Recall


class ImageSession:
    """A picture, encoded once; every prompt after that costs milliseconds.

    image : uint8 (H, W, 3) RGB array, PIL image or path
    """

    def __init__(self, model: Sam2, image: object) -> None:
        picture = read_image(image)
        self.model = model
        self.size = picture.shape[0], picture.shape[1]
        with torch.inference_mode():
            self.features = model.encode(still_to_square(picture, model.config.image_size, model.device))
            self._context = model.attend(self.features, [Recall()])

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
        ask = Ask.of(prompt, self.size, self.model, None if hint is None else hint.low_res[:1], alone=True)
        clicked, drew = ask.points.shape[1], ask.mask is not None
        offered = self.model.decode(
            self.features,
            self._context,
            ask.points if clicked else None,
            ask.labels if clicked else None,
            drawn(ask.mask, self.model.config.mask_size) if ask.mask is not None else ask.hint,
            candidates=candidates or (1 if drew or clicked > 1 else 3),
        )
        order = offered.iou[0].argsort(descending=True, stable=True)
        return Masks(
            frame=0,
            ids=tuple(range(len(order))),
            low_res=offered.logits[0, order],
            size=self.size,
            iou=offered.iou[0, order],
            score=offered.score.expand(len(order)),
        )
