"""Between a person's pixels and the model's square: images, prompts, masks.

The square does not keep the picture's aspect: so the published weights were trained.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from masklet.boxes import clip_box
from masklet.errors import PromptError
from masklet.nn.prompt_encoder import BOX_END, BOX_START, NEGATIVE, POSITIVE
from masklet.types import Prompt

MEAN = (0.485, 0.456, 0.406)  # of ImageNet
STD = (0.229, 0.224, 0.225)


def frame_to_square(
    image: UInt8[np.ndarray, "H W 3"], side: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "1 3 S S"]:
    """A frame of a video, resized as the published video predictor does it: bicubic, on whole numbers."""
    if image.shape[:2] != (side, side):
        image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    return _normalised(_tensor(image, device))


def still_to_square(
    image: UInt8[np.ndarray, "H W 3"], side: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "1 3 S S"]:
    """A picture, resized as the published image predictor does it: antialiased bilinear, in floats."""
    pixels = _tensor(image, device).float().permute(2, 0, 1)[None]
    if image.shape[:2] != (side, side):
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return _normalised(pixels[0].permute(1, 2, 0))


def _tensor(image: UInt8[np.ndarray, "H W 3"], device: torch.device | str) -> UInt8[Tensor, "H W 3"]:
    # A copy: an array may be mirrored or read-only, which torch does not take.
    return torch.from_numpy(image.copy()).to(device)


def _normalised(pixels: Tensor) -> Float[Tensor, "1 3 S S"]:
    mean, std = (torch.tensor(values, dtype=torch.float32, device=pixels.device) for values in (MEAN, STD))
    return ((pixels.float() / 255 - mean) / std).permute(2, 0, 1)[None].contiguous()


def check_prompt(prompt: object, size: tuple[int, int]) -> Prompt:
    """The prompt as the network takes it on a frame of `size` (H, W): its box is clipped to the frame.

    Raises:
        PromptError: It is empty, or has nothing in the frame, or its mask has another size.

    Example:
        >>> check_prompt(Prompt(box=(-20, 5, 40, 90)), (48, 64))
        Prompt(box=(0.0, 5.0, 40.0, 48.0))
    """
    if not isinstance(prompt, Prompt):
        raise PromptError(
            f"a prompt must be a Prompt, such as Prompt(positive=[(x, y)]). Got {type(prompt).__name__}."
        )
    height, width = size
    if not prompt:
        raise PromptError("a prompt needs a click, a box or a mask. Got an empty one.")
    for x, y in (*prompt.positive, *prompt.negative):
        if not (0 <= x < width and 0 <= y < height):
            raise PromptError(
                f"a click must lie in the frame, 0 <= x < {width} and 0 <= y < {height}. Got ({x:g}, {y:g})."
            )
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        if min(x0, y0) > 0 and max(x1, y1) <= 1:
            raise PromptError(
                f"box is in pixels of the frame, which is {width} wide and {height} high. "
                f"Got ({x0:g}, {y0:g}, {x1:g}, {y1:g}), which looks like parts of its width and height."
            )
        box = clip_box(prompt.box, size)
        if box is None:
            raise PromptError(
                f"box must touch the frame, which is {width} wide and {height} high. "
                f"Got ({x0:g}, {y0:g}, {x1:g}, {y1:g})."
            )
        prompt = replace(prompt, box=box)
    if prompt.mask is not None and prompt.mask.shape != size:
        swapped = ": did you swap width and height?" if prompt.mask.shape == size[::-1] else "."
        raise PromptError(
            f"mask must have shape (H, W) = {size}, the size of the frame. Got {prompt.mask.shape}{swapped}"
        )
    return prompt


def points_to_square(
    prompt: Prompt, size: tuple[int, int], side: int
) -> tuple[Float[Tensor, "1 p 2"], Int[Tensor, "1 p"]]:
    """Clicks and box as labelled points in the model's pixels; a box is two, before the clicks."""
    corners = [] if prompt.box is None else [prompt.box[:2], prompt.box[2:]]
    points = [*corners, *prompt.positive, *prompt.negative]
    labels = [BOX_START, BOX_END][: len(corners)]
    labels += [POSITIVE] * len(prompt.positive) + [NEGATIVE] * len(prompt.negative)
    scale = torch.tensor([side / size[1], side / size[0]], dtype=torch.float32, device="cpu")
    square = torch.tensor(points, dtype=torch.float32, device="cpu").reshape(-1, 2) * scale
    return square[None], torch.tensor(labels, dtype=torch.int64, device="cpu")[None]


def mask_to_square(mask: np.ndarray, side: int) -> Float[Tensor, "1 S S"]:
    """A user's mask at the model's size, still 0 or 1."""
    pixels = torch.from_numpy(mask)[None, None].float()
    if mask.shape != (side, side):
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return (pixels >= 0.5).float()[0]
