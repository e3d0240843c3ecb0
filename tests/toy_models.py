"""A toy network that follows, and a fake one that counts: what tests of the core look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from masklet.backends import TorchBackend
from masklet.config import Sam2Config, toy
from masklet.model import Sam2
from masklet.types import Candidates, FrameFeatures, MaskPrediction, Masks, MemorySelection, Prompt

SIZE = (48, 64)


def toy_network(config: Sam2Config | None = None, seed: int = 2) -> Sam2:
    """Random in every weight, norms and embeddings too, so that masks depend on image, prompt and memory."""
    generator = torch.Generator().manual_seed(seed)
    network = Sam2(config or toy()).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith("bias"):
            mean, deviation = 0.0, 0.1
        elif tensor.dim() == 1:  # scales of norms and layers
            mean, deviation = 1.0, 0.2
        elif (tensor.dim() == 2 and len(tensor) > 8) or (tensor.dim() == 4 and len(tensor) > 1):
            mean, deviation = 0.0, tensor[0].numel() ** -0.5
        else:
            mean, deviation = 0.0, 1.0
        tensor.copy_(mean + deviation * torch.randn(tensor.shape, generator=generator))
    return network


def clip(length: int, size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """uint8 (T, H, W, 3): blots that drift to the left."""
    height, width = size
    random = np.random.default_rng(seed)
    blots = torch.from_numpy(random.uniform(0, 255, (1, 3, 6, 8 + length)))
    wide = F.interpolate(blots, (height, width * (8 + length) // 8), mode="bilinear")[0].numpy()
    frames = [wide[:, :, frame * width // 8 :][:, :, :width] for frame in range(length)]
    return np.stack(frames).transpose(0, 2, 3, 1).round().astype(np.uint8)


class Fake(Sam2):
    """Five trivial verbs, counted.

    A mask's logits are all one number: the sum of the object's clicks (1 for each on it, -1 for each beside),
    and from then on what its newest memory says.
    """

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.config, self.memory_dtype = toy(), torch.bfloat16
        self.backend = TorchBackend(self)  # says how many objects and frames go into a call
        self.encoded = 0
        self.batches: list[int] = []  # objects in each attend

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def encode(self, image: Tensor) -> FrameFeatures:
        self.encoded += 1
        c, g = self.config.channels, self.config.grid
        coarse, middle, fine = (torch.zeros(1, c >> level, g << level, g << level) for level in range(3))
        return FrameFeatures(coarse, middle, fine)

    def attend(self, features: FrameFeatures, selections: Sequence[MemorySelection]) -> Tensor:
        self.batches.append(len(selections))
        context = torch.zeros(len(selections), *features.coarse.shape[1:])
        for row, selection in zip(context, selections, strict=True):
            if selection.spatial:
                newest = max((memory for _, memory in selection.spatial), key=lambda memory: memory.frame)
                row += newest.tokens.float().mean()
        return context

    def decode(
        self,
        features: FrameFeatures,
        context: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        hint: Tensor | None = None,
        *,
        candidates: int = 3,
        stable: bool = True,
        present: float = 0.0,
    ) -> Candidates:
        value = context.mean(dim=(1, 2, 3))
        if labels is not None:
            value = torch.where(labels > 0, 1.0, -1.0).sum(dim=1)
        b, side = len(context), self.config.mask_size
        each = value[:, None].expand(b, candidates)
        quality = torch.linspace(0.9, 0.7, candidates).expand(b, candidates)
        pointer = torch.zeros(b, candidates, self.config.channels)
        return Candidates(
            each[:, :, None, None].expand(b, candidates, side, side), quality, pointer, torch.ones(b)
        )

    def adopt(self, features: FrameFeatures, mask: Tensor) -> MaskPrediction:
        side, b = self.config.mask_size, len(mask)
        logits = F.interpolate(20 * mask[:, None] - 10, (side, side))[:, 0]
        return MaskPrediction(logits, torch.ones(b), torch.zeros(b, self.config.channels), torch.ones(b))

    def memorize(
        self, features: FrameFeatures, prediction: MaskPrediction, *, binary: bool = False
    ) -> Tensor:
        value = prediction.logits.mean(dim=(1, 2))
        return value[:, None, None].expand(-1, self.config.grid**2, self.config.memory_channels)


def click(x: float = 20, y: float = 24) -> Prompt:
    return Prompt(positive=[(x, y)])


def blob(size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[10:30, 12:40] = True
    return mask


def assert_equal(one: Masks, other: Masks, *, tolerance: float = 0.0) -> None:
    """The same objects with the same numbers."""
    assert (one.frame, one.ids, one.size) == (other.frame, other.ids, other.size)
    for name in ("low_res", "iou", "score"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance)


def differ(one: Masks, other: Masks, by: float = 1e-3) -> bool:
    """Whether the same objects have other masks."""
    assert one.ids == other.ids
    return bool((one.low_res - other.low_res).abs().max() > by)
