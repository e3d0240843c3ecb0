"""Doubles the width of a trained network's head without changing its results.

    OMP_NUM_THREADS=1 python dev/widen_head.py nano nano-wide.safetensors IMAGE

The trunk does not change. Each channel of the head becomes two channels of the same value (Net2Net, arXiv
1511.05641), and the weights that read it are halved. A random number is added to the weight of one and
subtracted from the other, so that training can separate them. This changes no result while they are equal.

Two parts are not exact. The position encoding that memory attention adds to features, scaled by a tenth, has
other periods in every second pair of channels. Pointers become four memory tokens instead of two; the new
ones are nearly zero. Both networks segment IMAGE, then segment it again with that memory, and the differences
are printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import typer
from torch import Tensor

import masklet
from masklet.media import read_image
from masklet.transforms import frame_to_square
from masklet.types import Memory, MemorySelection

SPREAD = 1.0  # scale of the random numbers, relative to the root mean square of the halved weights
SPREAD_OF_PRODUCTS = 0.5
NEW_POINTERS = 0.02  # scale of the weights for a pointer's new tokens, relative to the old ones
POINTER_HEAD = "mask_decoder.pointer_head.layers.2"
TRANSPOSED = ("mask_decoder.up1.weight", "mask_decoder.up2.weight")
TABLES = ("token.weight", "tokens.weight", "labels.weight", "padding.weight", "no_hint.weight")


def main(model: str, out: Path, image: Path, seed: int = 0) -> None:
    """Write a network with a head of twice the width, in float32, and print the differences."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    small = masklet.load(model, device="cpu", engine="torch")
    wide = widen(small)
    masklet.save(wide, out)
    square = frame_to_square(read_image(image), small.config.image_size)
    for (name, one), (_, other) in zip(answers(small, square), answers(wide, square), strict=True):
        typer.echo(f"{name}: differs by {differ(one, other):.2g} of its root mean square")


def widen(small: masklet.Sam2) -> masklet.Sam2:
    """A network with twice the channels and hidden units in its head, and nearly the same results."""
    config = replace(
        small.config, channels=2 * small.config.channels, feedforward=2 * small.config.feedforward
    )
    wide = masklet.Sam2(config).eval()
    shapes = {name: tensor.shape for name, tensor in wide.state_dict().items()}
    weights = {name: widen_tensor(name, tensor, shapes[name]) for name, tensor in small.state_dict().items()}
    keep_products(weights)
    keep_pointers(weights, small.state_dict())
    wide.load_state_dict(weights)
    return wide


def widen_tensor(name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """Repeat the weights that write channels, and split those that read them between both copies."""
    reads = axis_that_reads(name, tensor)
    for axis in range(tensor.ndim):
        if shape[axis] == tensor.shape[axis]:
            continue
        tensor = repeat_pairs(tensor, axis)
        if axis == reads:
            tensor = tell_apart(tensor / 2, axis, SPREAD)
    return tensor


def axis_that_reads(name: str, tensor: Tensor) -> int | None:
    """The axis of a layer's inputs; None for vectors and tables."""
    if tensor.ndim < 2 or not name.endswith("weight") or name.endswith(TABLES):
        return None
    return 0 if name in TRANSPOSED else 1


def repeat_pairs(tensor: Tensor, axis: int) -> Tensor:
    """Double the channels: 0 1 2 3 become 0 1 0 1 2 3 2 3.

    Pairs of sine and cosine, and rotated pairs, then keep their periods, and heads stay together.
    """
    return tensor.unflatten(axis, (-1, 1, 2)).repeat_interleave(2, dim=axis + 1).flatten(axis, axis + 2)


def tell_apart(tensor: Tensor, axis: int, spread: float) -> Tensor:
    """Add random numbers to the weights of one copy of a channel, and subtract them from the other's."""
    copies = tensor.unflatten(axis, (-1, 2, 2))  # pairs, copies, the two of a pair
    noise = torch.randn_like(copies.select(axis + 1, 0)) * spread * tensor.square().mean().sqrt()
    return (copies + torch.stack([noise, -noise], dim=axis + 1)).flatten(axis, axis + 2)


def keep_products(weights: dict[str, Tensor]) -> None:
    """Keep the sums of products of two channels: of queries and keys, and of masks and map."""
    for name in weights:
        if ".q." in name and name.startswith("memory_attention"):
            # The copy of a pair is rotated at another speed, so it must not contribute to the product.
            pairs = weights[name].unflatten(0, (-1, 2, 2)).clone()
            pairs[:, 1] = 0
            weights[name] = pairs.flatten(0, 2) * 2**0.5
        elif ".q." in name:
            weights[name] = weights[name] / 2**0.5
        elif "mask_heads" in name and ".layers.2." in name:
            weights[name] = weights[name] / 2
        else:
            continue
        if name.endswith("weight") and not name.startswith("memory_attention"):
            weights[name] = tell_apart(weights[name], 0, SPREAD_OF_PRODUCTS)


def keep_pointers(weights: dict[str, Tensor], small: dict[str, Tensor]) -> None:
    """Keep a pointer's memory tokens and the reading of ages, and add as many tokens that are nearly zero."""
    weight = small[f"{POINTER_HEAD}.weight"]
    rows = tell_apart(repeat_pairs(weight, 1) / 2, 1, SPREAD)
    new = torch.randn_like(rows) * NEW_POINTERS * rows.square().mean().sqrt()
    weights[f"{POINTER_HEAD}.weight"] = torch.cat([rows, new])
    for name, axis in ((f"{POINTER_HEAD}.bias", 0), ("mask_decoder.absent_pointer", 1)):
        weights[name] = torch.cat([small[name], torch.zeros_like(small[name])], dim=axis)
    ages = small["memory_attention.pointer_age.weight"].unflatten(1, (-1, 1, 2))
    # The periods of the encoding's new pairs lie between those of the old ones.
    weights["memory_attention.pointer_age.weight"] = torch.cat([ages, torch.zeros_like(ages)], 2).flatten(1)


@torch.no_grad()
def answers(model: masklet.Sam2, image: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The outputs for a click in the centre of an image, and for the same image as the next frame."""
    features = model.encode(image)
    yield from zip(("coarse map", "map at stride 8", "map at stride 4"), features, strict=True)
    points, labels = torch.full((1, 1, 2), image.shape[-1] / 2), torch.ones(1, 1, dtype=torch.int64)
    context = model.attend(features, [MemorySelection()])
    candidates = model.decode(features, context, points, labels)
    yield from (("masks", candidates.logits), ("predicted IoU", candidates.iou))
    found = candidates.pick(candidates.iou.argmax(dim=1))
    tokens = model.memorize(features, found)
    yield "memory tokens", tokens
    memory = Memory(0, tokens[0], found.pointer[0], found.iou[0], found.score[0], prompted=True)
    context = model.attend(features, [MemorySelection(((0, memory),), ((1, memory.pointer),))])
    yield "context from memory", context
    yield "mask from memory", model.decode(features, context, candidates=1).logits


def differ(small: Tensor, wide: Tensor) -> float:
    """The root mean square of the difference, relative to that of the values."""
    same = repeat_pairs(small, 1) if small.shape != wide.shape else small
    return float((same - wide).square().mean().sqrt() / same.square().mean().sqrt())


if __name__ == "__main__":
    typer.run(main)
