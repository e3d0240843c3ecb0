"""Replace the trunk of a trained network by a larger one, trained to reproduce the maps of the old trunk.

    OMP_NUM_THREADS=1 python dev/change_trunk.py DATA nano-lite0.safetensors nano-lite2.safetensors

The new network is EfficientNet-Lite2 with ImageNet's weights, and the given network's head. Its laterals are
fitted to the given network's maps by least squares. Then trunk and laterals are trained to reproduce the
encoder's three maps. The head works with such maps without training, so `masklet train nano --model OUT`
starts at nearly the given network's score. DATA is a folder for the recipe `nano`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from jaxtyping import Float
from torch import Tensor, nn

import masklet
from masklet.checkpoint.imagenet import load_imagenet
from masklet.config import NANO_LITE2
from masklet.nn.image_encoder import ImageEncoder
from masklet.nn.trunks.efficientnet_lite import EfficientNetLite
from masklet.train.batches import draw_batch
from masklet.train.recipe import Recipe, TrainingOptions
from masklet.train.recipes import nano
from masklet.train.validation import validate
from masklet.transforms import normalize

BATCH = 4
TRUNK_RATE, LATERAL_RATE = 3e-4, 1e-3
WARMUP = 30  # steps
CELLS = 400  # cells per map and batch for the least squares
RIDGE = 1e-3
LOG_EVERY = 50  # steps


def main(
    data: Path,
    model: str,
    out: Path,
    steps: int = 1000,
    batches: Annotated[int, typer.Option(help="batches for the least squares")] = 60,
) -> None:
    """Write a network with the new trunk in float32, and print its validation before and after training."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    teacher = masklet.load(model, device="cpu", engine="torch")
    student = masklet.Sam2(NANO_LITE2).eval()
    copy_head(teacher, student)
    recipe = nano.recipe(TrainingOptions(data, model=model))
    images = draw_images(recipe)
    fit_laterals(student.image_encoder, teacher.image_encoder, islice(images, batches))
    print_validation(student, recipe)
    train(student.image_encoder, teacher.image_encoder, islice(images, steps), steps)
    print_validation(student, recipe)
    masklet.save(student, out)


def copy_head(teacher: masklet.Sam2, student: masklet.Sam2) -> None:
    """Give the student ImageNet's trunk, and the teacher's weights elsewhere if shapes agree."""
    shapes = {name: tensor.shape for name, tensor in student.state_dict().items()}
    head = {
        name: tensor
        for name, tensor in teacher.state_dict().items()
        if not name.startswith("image_encoder.trunk.") and tensor.shape == shapes[name]
    }
    student.load_state_dict(head, strict=False)
    trunk = student.image_encoder.trunk
    assert isinstance(trunk, EfficientNetLite)
    load_imagenet(trunk)


def draw_images(recipe: Recipe) -> Iterator[Float[Tensor, "b 3 S S"]]:
    """Normalised frames of the last stage's batches, endlessly."""
    step = 0
    while True:
        frames = draw_batch(recipe, recipe.stages[-1], step, 0).batch.images.flatten(0, 1)
        yield normalize(frames)[torch.randperm(len(frames))[:BATCH]]
        step += 1


@torch.no_grad()
def fit_laterals(student: ImageEncoder, teacher: ImageEncoder, images: Iterator[Tensor]) -> None:
    """Fit the student's laterals to the outputs of the teacher's laterals, by ridge regression over cells."""
    inputs: list[list[Tensor]] = [[], [], []]
    targets: list[list[Tensor]] = [[], [], []]
    for image in images:
        fine, middle, coarse, top = student.trunk(image)
        own = fine, middle, torch.cat([coarse, upsample(top)], dim=1)
        for level, (x, y) in enumerate(zip(own, lateral_outputs(teacher, image), strict=True)):
            cells = torch.randperm(x.shape[0] * x.shape[2] * x.shape[3])[:CELLS]
            inputs[level].append(x.movedim(1, -1).flatten(0, 2)[cells])
            targets[level].append(y.movedim(1, -1).flatten(0, 2)[cells])
    fits = [fit_ridge(torch.cat(x), torch.cat(y)) for x, y in zip(inputs, targets, strict=True)]
    typer.echo("R2 at strides 4, 8, 16: " + ", ".join(f"{r2:.3f}" for _, _, r2 in fits))
    (fine, fine_bias, _), (middle, middle_bias, _), (coarse, coarse_bias, _) = fits
    width = student.trunk.widths[2]
    set_lateral(student.lateral[0], fine, fine_bias)
    set_lateral(student.lateral[1], middle, middle_bias)
    set_lateral(student.lateral[2], coarse[:, :width], coarse_bias)
    set_lateral(student.lateral[3], coarse[:, width:], torch.zeros_like(coarse_bias))


def lateral_outputs(encoder: ImageEncoder, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs of an encoder's laterals at strides 4, 8 and 16."""
    fine, middle, coarse, top = (
        lateral(level) for lateral, level in zip(encoder.lateral, encoder.trunk(image), strict=True)
    )
    return fine, middle, coarse + upsample(top)


def upsample(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
    """Double the size of a map, like the feature pyramid."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def fit_ridge(
    x: Float[Tensor, "n i"], y: Float[Tensor, "n o"]
) -> tuple[Float[Tensor, "o i"], Float[Tensor, " o"], float]:
    """Weights, bias and R2 of the linear map from x to y with the least squared error."""
    x, y = x.double(), y.double()
    centred_x, centred_y = x - x.mean(0), y - y.mean(0)
    gram = centred_x.T @ centred_x + RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, centred_x.T @ centred_y)
    r2 = 1 - float((centred_y - centred_x @ weight).square().sum() / centred_y.square().sum())
    return weight.T.float(), (y.mean(0) - x.mean(0) @ weight).float(), r2


def set_lateral(lateral: nn.Module, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"]) -> None:
    assert isinstance(lateral, nn.Conv2d) and lateral.bias is not None
    lateral.weight.copy_(weight[..., None, None])
    lateral.bias.copy_(bias)


def train(student: ImageEncoder, teacher: ImageEncoder, images: Iterator[Tensor], steps: int) -> None:
    """Train trunk and laterals on the teacher's maps, by each map's squared error over its variance."""
    groups: list[dict[str, Any]] = [{"params": [], "lr": TRUNK_RATE}, {"params": [], "lr": LATERAL_RATE}]
    for name, parameter in student.named_parameters():
        groups[0 if name.startswith("trunk.") else 1]["params"].append(parameter)
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP) * (1 - step / steps)
    )
    start, errors = time.perf_counter(), list[Tensor]()
    for step, image in enumerate(images, start=1):
        with torch.no_grad():
            goals = teacher(image)
        error = torch.stack(
            [
                F.mse_loss(own, goal) / goal.var(dim=(0, 2, 3)).mean()
                for own, goal in zip(student(image), goals, strict=True)
            ]
        )
        optimizer.zero_grad()
        error.sum().backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        errors.append(error.detach())
        if step % LOG_EVERY == 0:
            r2 = 1 - torch.stack(errors[-LOG_EVERY:]).mean(dim=0)
            seconds = (time.perf_counter() - start) / step
            values = ", ".join(f"{value:.3f}" for value in r2.tolist())
            typer.echo(f"step {step}, {seconds:.2f} s a step: R2 at strides 16, 8, 4: {values}")


def print_validation(model: masklet.Sam2, recipe: Recipe) -> None:
    assert recipe.validation is not None
    typer.echo("  ".join(f"{name} {score:.3f}" for name, score in validate(model, recipe.validation).items()))


if __name__ == "__main__":
    typer.run(main)
