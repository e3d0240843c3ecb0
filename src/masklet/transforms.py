"""Transforms between source pixels and the model's square: images and masks.

The square does not keep the image's aspect ratio, as in the training of the published weights.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Real, UInt8
from PIL import Image
from torch import Tensor

from masklet.nn.layers import IMAGENET_MEAN, IMAGENET_STD, tensor_on, to_device


def frame_to_square(
    image: UInt8[np.ndarray, "H W 3"], side: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "1 3 S S"]:
    """A frame of a video, resized as the published video predictor does it: bicubic, on whole numbers."""
    if image.shape[:2] != (side, side):
        image = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
    pixels = to_device(torch.from_numpy(image.copy()), device)  # not mirrored or read-only
    return normalize(pixels)


def still_to_square(
    image: UInt8[np.ndarray, "H W 3"], side: int, device: torch.device | str = "cpu"
) -> Float[Tensor, "1 3 S S"]:
    """An image, resized as the published image predictor does it: antialiased bilinear, in floats."""
    pixels = to_device(torch.from_numpy(image.copy()), device).float().permute(2, 0, 1)[None]
    if image.shape[:2] != (side, side):
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return normalize(pixels.permute(0, 2, 3, 1))


def normalize(images: Real[Tensor, "*n S S 3"]) -> Float[Tensor, "n 3 S S"]:
    """Normalise images with values from 0 to 255 for the network, by the mean and deviation of ImageNet."""
    mean, std = (tensor_on(images.device, values, torch.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    planes = images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2)
    # Contiguous bytes first: on the permuted view, the arithmetic takes twice as long.
    return (planes.contiguous().float() / 255).sub_(mean[:, None, None]).div_(std[:, None, None])


def mask_to_square(mask: np.ndarray, side: int) -> Float[Tensor, "1 S S"]:
    """A user's mask at the model's size, still 0 or 1."""
    pixels = torch.from_numpy(mask)[None, None].float()
    if mask.shape != (side, side):
        pixels = F.interpolate(pixels, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return (pixels >= 0.5).float()[0]
