"""Random weights that leave nothing at a default, and make a network that reacts to what it is shown."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor

from masklet.types import Prompt
from parity import original

EMBEDDINGS = ("embed", "token.", "tokens.", "tpos_enc", "no_obj", "no_mem")


@torch.no_grad()
def randomise(model: SAM2VideoPredictor, seed: int) -> None:
    """Draw every tensor of the original's state dict anew: norms, scales and embeddings too."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith("bias"):
            mean, deviation = 0.0, 0.1
        elif name.endswith("gamma"):
            mean, deviation = 0.3, 0.1
        elif name.endswith("gaussian_matrix"):
            mean, deviation = 0.0, 1.0
        elif tensor.dim() == 1:  # the weight of a norm
            mean, deviation = 1.0, 0.2
        elif any(word in name for word in EMBEDDINGS):
            mean, deviation = 0.0, 1.0
        else:
            mean, deviation = 0.0, tensor[0].numel() ** -0.5
        tensor.copy_(mean + deviation * torch.randn(tensor.shape, generator=generator))


@torch.no_grad()
def balance_scores(model: SAM2VideoPredictor, frames: np.ndarray) -> None:
    """Set the object score's scale and offset so that a tracked object is now in the frame, now absent."""
    head = model.sam_mask_decoder.pred_obj_score_head
    last, offset = head.layers[-1], 100.0
    last.bias.fill_(offset)  # always there, so that memories are made of masks
    seen: list[Tensor] = []
    hook = head.register_forward_hook(lambda _module, _inputs, output: seen.append(output - offset))
    video = original.Video(model, frames)
    video.prompt(0, 1, Prompt(positive=[(20, 24)]))
    for _ in video.propagate(0):
        pass
    hook.remove()
    scores = torch.cat(seen)
    last.weight.mul_(1 / scores.std())
    last.bias.copy_(-scores.quantile(0.3) / scores.std())


def clip(length: int, size: tuple[int, int] = (48, 80), seed: int = 0) -> np.ndarray:
    """uint8 (T, H, W, 3): blots that drift, so that neighbouring frames are alike and far ones are not."""
    height, width = size
    random = np.random.default_rng(seed)
    blots = torch.from_numpy(random.uniform(0, 255, (1, 3, 8, 8 + length)))
    wide = F.interpolate(blots, (height, width * (8 + length) // 8), mode="bicubic")[0].numpy()
    frames = [wide[:, :, frame * width // 8 :][:, :, :width] for frame in range(length)]
    noise = random.normal(0, 8, (length, height, width, 3))
    return (np.stack(frames).transpose(0, 2, 3, 1) + noise).clip(0, 255).astype(np.uint8)
