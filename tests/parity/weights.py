"""Random weights that leave nothing at a default, and make a network that reacts to what it is shown."""

from __future__ import annotations

import torch
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor

from masklet.types import Prompt
from parity import original

EMBEDDINGS = ("embed", "token.", "tokens.", "tpos_enc", "no_obj", "no_mem")
# Sharp attention and loud memories: otherwise a random network averages all differences away.
LOUD = ("q_proj", "k_proj", "memory_encoder.out_proj", "iou_prediction_head.layers.2")


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
            mean, deviation = (
                0.0,
                (3 if any(word in name for word in LOUD) else 1) * tensor[0].numel() ** -0.5,
            )
        tensor.copy_(mean + deviation * torch.randn(tensor.shape, generator=generator))


@torch.no_grad()
def balance_scores(model: SAM2VideoPredictor, frames: Tensor) -> None:
    """Set the object score's scale and offset so that a followed object is now in the frame, now absent."""
    head = model.sam_mask_decoder.pred_obj_score_head
    last, offset = head.layers[-1], 100.0
    last.bias.fill_(offset)  # always there, so that memories are made of masks
    seen: list[Tensor] = []
    hook = head.register_forward_hook(lambda _module, _inputs, output: seen.append(output - offset))
    video = original.Video(model, frames, (64, 64))
    video.prompt(0, 1, Prompt(positive=[(20, 24)]))
    for _ in video.propagate():
        pass
    hook.remove()
    scores = torch.cat(seen)
    last.weight.mul_(2 / scores.std())
    last.bias.copy_(-2 / scores.std() * scores.quantile(0.3))


def clip(length: int, size: int, seed: int = 0) -> Tensor:
    """(T, 3, S, S): blurred noise that drifts, so that neighbouring frames are alike and far ones are not."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 10, 12 + length, generator=generator)
    wide = torch.nn.functional.interpolate(coarse, scale_factor=size / 8, mode="bicubic")[0]
    step = size // 8
    frames = [wide[:, :size, step + frame * step // 2 :][..., :size] for frame in range(length)]
    return torch.stack(frames) * 1.2 + 0.3 * torch.randn(length, 3, size, size, generator=generator)
