"""Pre-training of Hiera, the trunk, by masked auto-encoding: recipe, state, loop, and the crops it trains on.

The pictures need no labels.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from masklet import checkpoint
from masklet.config import Sam2Config
from masklet.errors import MediaError
from masklet.media import find_pictures, read_image
from masklet.model import Sam2
from masklet.nn.layers import IMAGENET_MEAN, IMAGENET_STD, tensor_on
from masklet.nn.trunks.hiera import Block, Hiera, from_windows, to_windows
from masklet.splits import hold_back
from masklet.train.batches import prefetch
from masklet.train.loop import LAST, SAVE_EVERY, VALIDATION, GradientGuard, LogRow
from masklet.train.parameters import optimizer_groups
from masklet.train.state import STATE, initialise, load_optimizer, read_state, save_state
from masklet.train.validation_split import MAX_VALIDATION_ITEMS
from masklet.transforms import normalize

log = logging.getLogger(__name__)

SMALLEST_CROP = 0.2  # of the picture's area, as in Hiera and MAE
ASPECT = 4 / 3  # the largest ratio of a crop's sides
ATTEMPTS = 20
VALIDATION_FRACTION = 0.05

Square = UInt8[np.ndarray, "S S 3"]

UNIT = 32
TOKENS = 8  # along a unit's side, in the first stage
HIDDEN = 0.6  # of the units


@dataclass(frozen=True)
class PretrainingRecipe:
    """Everything that determines a pre-training run.

    Attributes:
        config: Of the network that the trunk is for; its image size is that of the crops.
        source: From a picture's number to the picture.
        pictures: Per batch and process.
        validation: Pictures to validate on, and to show in the report.
        start: Weights whose trunk is trained further; None starts from random weights.
        learning_rate: The highest; it falls to zero as a cosine.
        width, depth: Of the decoder.
        every: Steps between two validations.
    """

    config: Sam2Config
    source: Callable[[int], Square]
    pictures: int
    validation: Sequence[Square]
    steps: int
    learning_rate: float
    start: str | None = None
    seed: int = 0
    warmup: int = 200
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    width: int = 256
    depth: int = 4
    every: int = 200

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        cosine = (1 + math.cos(math.pi * step / self.steps)) / 2
        return self.learning_rate * cosine * min(1.0, (step + 1) / self.warmup)

    def draw(self, step: int, process: int) -> tuple[UInt8[Tensor, "b S S 3"], Bool[Tensor, "b units"]]:
        """Draw a step's pictures for a process, and their hidden units, as a function of the step."""
        rng = np.random.default_rng([self.seed, step, process])
        numbers = rng.integers(2**40, size=self.pictures).tolist()
        images = torch.from_numpy(np.stack([self.source(number) for number in numbers]))
        generator = torch.Generator().manual_seed(int(rng.integers(2**40)))
        return images, UnitGrid.of(self.config).hide(len(images), generator)


@dataclass
class PretrainingState:
    """A pre-training recipe, and how far its run has come."""

    recipe: PretrainingRecipe
    network: MaskedAutoencoder
    optimizer: torch.optim.Optimizer
    step: int = 0

    @classmethod
    def begin(cls, recipe: PretrainingRecipe) -> PretrainingState:
        torch.manual_seed(recipe.seed)
        network = MaskedAutoencoder(recipe.config, recipe.width, recipe.depth)
        if recipe.start is not None:
            trunk = checkpoint.load(recipe.start, device="cpu").image_encoder.trunk
            network.trunk.load_state_dict(trunk.state_dict())
        groups = optimizer_groups(
            network, recipe.config, weight_decay=recipe.weight_decay, trunk_lr_scale=1.0, layer_decay=1.0
        )
        return cls(recipe, network, torch.optim.AdamW(groups, betas=(0.9, 0.95)))

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically. A full disk is logged, and the run continues."""
        parts = {"model": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        save_state({"step": self.step, **parts}, path)

    def resume(self, path: Path) -> None:
        """Load a checkpoint, to continue from it."""
        with read_state(path) as state:
            self.network.load_state_dict(state["model"])
            load_optimizer(self.optimizer, state["optimizer"])
            self.step = state["step"]

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        self.network.to(device)
        self.optimizer.load_state_dict(self.optimizer.state_dict())  # moves its moments to their parameters

    def make_model(self) -> Sam2:
        """A network to start interactive training from: the trained trunk, and random weights elsewhere."""
        torch.manual_seed(self.recipe.seed)
        model = Sam2(self.recipe.config)
        initialise(model)
        model.image_encoder.trunk.load_state_dict(self.network.trunk.state_dict())
        return model

    @torch.inference_mode()
    def reconstruct(self, count: int) -> list[tuple[Square, Square, Square]]:
        """Validation pictures: whole, with their visible units only, and reconstructed."""
        images, hidden = self._mask(self.recipe.validation[:count])
        units = self.network.grid.cut(images.permute(0, 2, 3, 1))
        visible = self.network.grid.join(units * ~hidden[:, :, None, None, None])
        parts = (images, visible.permute(0, 3, 1, 2), self.network.reconstruct(images, hidden))
        return list(zip(*map(_to_pictures, parts), strict=True))

    @torch.inference_mode()
    def validate(self) -> float:
        """The loss on the validation pictures, with the same units hidden every time."""
        return float(self.network.loss(*self._mask(self.recipe.validation)))

    def _mask(self, pictures: Sequence[Square]) -> tuple[Float[Tensor, "b 3 S S"], Bool[Tensor, "b units"]]:
        device = self.network.placeholder.device
        hidden = self.network.grid.hide(len(pictures), torch.Generator().manual_seed(0))
        return normalize(torch.from_numpy(np.stack(pictures)).to(device)), hidden.to(device)


def _to_pictures(images: Float[Tensor, "b 3 S S"]) -> UInt8[np.ndarray, "b S S 3"]:
    mean, std = (tensor_on(images.device, values, torch.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (images.permute(0, 2, 3, 1) * std + mean).clamp(0, 1) * 255
    return pixels.round().byte().cpu().numpy()


class _ReconstructionLoss(nn.Module):
    """The loss as a module, which DistributedDataParallel and autocast can wrap."""

    def __init__(self, network: MaskedAutoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: UInt8[Tensor, "b S S 3"], hidden: Bool[Tensor, "b units"]) -> Float[Tensor, ""]:
        return self.network.loss(normalize(images), hidden)


def pretrain(
    state: PretrainingState,
    out: Path,
    *,
    save_every: int = SAVE_EVERY,
    precision: str = "no",
    workers: int = 0,
) -> Iterator[LogRow]:
    """Pre-train to the recipe's end, and yield a row for the log after every step and every validation.

    Args:
        out: Takes state.pt, from which a killed run resumes, and at the end model.safetensors, a network from
            which interactive training starts.
    """
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    accelerator = Accelerator(mixed_precision=precision)
    state.to(accelerator.device)
    recipe, main, guard = state.recipe, accelerator.is_main_process, GradientGuard()
    reconstruction_loss = accelerator.prepare(_ReconstructionLoss(state.network))
    draw = partial(recipe.draw, process=accelerator.process_index)
    if state.step == 0 and main:
        yield {"step": 0, f"{VALIDATION}loss": state.validate()}
    start = time.perf_counter()
    for images, hidden in prefetch(draw, range(state.step, recipe.steps), workers):
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(state.step)
        with accelerator.autocast():
            loss = reconstruction_loss(images.to(accelerator.device), hidden.to(accelerator.device))
        accelerator.backward(loss)
        norm = float(accelerator.clip_grad_norm_(state.network.parameters(), recipe.clip_norm))
        mean_loss = float(accelerator.reduce(loss.detach(), "mean"))
        if guard.accepts(norm, mean_loss, state.step):
            state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        guard.check(state.step)
        seconds = time.perf_counter() - start
        yield {
            "step": state.step,
            "rate": recipe.learning_rate_at(state.step - 1),
            "loss": mean_loss,
            "norm": norm,
            "seconds": seconds,
        }
        ends = state.step == recipe.steps
        if main and (ends or state.step % recipe.every == 0):
            yield {"step": state.step, f"{VALIDATION}loss": state.validate()}
        if main and (ends or state.step % save_every == 0):
            state.save(out / STATE)
        start = time.perf_counter()
    if main:
        checkpoint.save(state.make_model(), out / LAST)


def split_pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures to train on, and a few to validate on. The hash of a picture's name decides."""
    paths = find_pictures(folder / "**" / "*")
    if len(paths) < 2:
        raise MediaError(f"{folder} must hold two pictures, one to train on and one to validate on.")
    return hold_back(
        sorted(paths), lambda path: str(path.relative_to(folder)), VALIDATION_FRACTION, MAX_VALIDATION_ITEMS
    )


def read_square(path: Path, size: int) -> Square:
    """A whole picture, resized to a square."""
    return cv2.resize(read_image(path), (size, size), interpolation=cv2.INTER_AREA)


class Crops:
    """Draws crops of pictures, half of them mirrored."""

    def __init__(self, paths: Sequence[Path], size: int, seed: int) -> None:
        self.paths, self.size, self.seed = paths, size, seed

    def crop(self, number: int) -> Square:
        """The crop of that number, always the same. Pictures that cannot be read are logged and skipped."""
        rng = np.random.default_rng([self.seed, number])
        for _ in range(ATTEMPTS):
            path = self.paths[int(rng.integers(len(self.paths)))]
            try:
                return self._cut(read_image(path), rng)
            except MediaError as error:
                log.warning("skipped %s: %s", path, error)
        raise MediaError(f"{ATTEMPTS} pictures in a row could not be read, the last {path}.")

    def _cut(self, image: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator) -> np.ndarray:
        height, width = image.shape[:2]
        area = rng.uniform(SMALLEST_CROP, 1) * height * width
        aspect = math.exp(rng.uniform(-1, 1) * math.log(ASPECT) / 2)
        w = min(width, max(1, round(math.sqrt(area) * aspect)))
        h = min(height, max(1, round(math.sqrt(area) / aspect)))
        x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
        part = cv2.resize(image[y : y + h, x : x + w], (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(part[:, ::-1]) if rng.random() < 0.5 else part


@dataclass(frozen=True)
class UnitGrid:
    """The units of a square picture, counted window by window and, within a window, row by row.

    Attributes:
        size: Side of the picture, in pixels.
        reach: Units along the side of a window of the last two stages.
    """

    size: int
    reach: int

    @classmethod
    def of(cls, config: Sam2Config) -> UnitGrid:
        if config.trunk != "hiera":
            raise ValueError(
                f"masked auto-encoding hides units of Hiera's windows, and {config.trunk} has no windows. "
                "Train it without: it starts from ImageNet weights."
            )
        first, second, third, fourth = config.windows
        if (first, second) != (TOKENS, TOKENS // 2) or third != 2 * fourth:
            raise ValueError(
                f"masking needs windows of whole units, that is (8, 4, 2 n, n). Got {config.windows}."
            )
        if config.image_size % (UNIT * fourth):
            raise ValueError(
                f"image_size must be a multiple of {UNIT * fourth}, a window of the last stage, so that "
                f"every window hides as many units. Got {config.image_size}."
            )
        return cls(config.image_size, fourth)

    @property
    def units(self) -> int:
        return (self.size // UNIT) ** 2

    @property
    def visible(self) -> int:
        """Units of each window that stay visible."""
        return self.reach**2 - round(HIDDEN * self.reach**2)

    def hide(self, b: int, rng: torch.Generator) -> Bool[Tensor, "b units"]:
        """Choose the hidden units at random, the same number in each window."""
        noise = torch.rand(b, self.units // self.reach**2, self.reach**2, generator=rng, device=rng.device)
        return (noise.argsort(dim=2).argsort(dim=2) >= self.visible).flatten(1)

    def cut(self, x: Float[Tensor, "b H W c"]) -> Float[Tensor, "b units h w c"]:
        """A map of any stride, unit by unit."""
        side = x.shape[1] * UNIT // self.size
        return to_windows(to_windows(x, side * self.reach), side).unflatten(0, (len(x), -1))

    def join(self, units: Float[Tensor, "b units h w c"]) -> Float[Tensor, "b H W c"]:
        """The map that was cut."""
        side = units.shape[2]
        windows = from_windows(units.flatten(0, 1), side * self.reach, side * self.reach)
        return from_windows(windows, self.size * side // UNIT, self.size * side // UNIT)


class MaskedAutoencoder(nn.Module):
    """Hiera, the fusion of its four maps into one token for each visible unit, and the decoder.

    Args:
        width, depth: Of the decoder.
    """

    def __init__(self, config: Sam2Config, width: int, depth: int) -> None:
        super().__init__()
        self.grid = UnitGrid.of(config)
        self.trunk = Hiera(config)
        self.blocks, self.spans = _open_windows(self.trunk)
        self.fuse = nn.ModuleList(
            nn.Linear((config.embed_dim << stage) * (TOKENS >> stage) ** 2, width) for stage in range(4)
        )
        self.fused = nn.LayerNorm(width)
        self.placeholder = nn.Parameter(torch.zeros(width))
        self.position = nn.Parameter(torch.zeros(1, self.grid.units, width))
        layer = nn.TransformerEncoderLayer(
            width, width // 32, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.paint = nn.Linear(width, UNIT * UNIT * 3)
        for table in (self.trunk.position, self.trunk.window_position, self.placeholder, self.position):
            nn.init.trunc_normal_(table, std=0.02)

    def encode_visible(
        self, image: Float[Tensor, "b 3 S S"], hidden: Bool[Tensor, "b units"]
    ) -> list[Float[Tensor, "visible h w c"]]:
        """The trunk's four maps on the visible units, one picture after the other."""
        visible = ~hidden
        pixels = self.grid.join(visible[:, :, None, None, None].float()).repeat_interleave(UNIT, 1)
        # The first convolution reaches three pixels over a unit's edge: hidden pixels are zeroed before it.
        x = self.trunk.patch(image * pixels.repeat_interleave(UNIT, 2).permute(0, 3, 1, 2))
        x = (x + self.trunk.positions(*x.shape[2:])).permute(0, 2, 3, 1)
        x = self.grid.cut(x)[visible]
        in_picture = len(x) // len(image)
        in_window = in_picture * self.grid.reach**2 // self.grid.units
        maps = []
        for i, (block, span) in enumerate(zip(self.blocks, self.spans, strict=True)):
            n = {0: in_picture, 1: 1, self.grid.reach: in_window}[span]
            x = block(x.unflatten(0, (-1, n)).flatten(1, 2))  # units that attend to each other, as a strip
            x = x.unflatten(1, (n, -1)).flatten(0, 1)
            if i in self.trunk.ends:
                maps.append(x)
        return maps

    def forward(
        self, image: Float[Tensor, "b 3 S S"], hidden: Bool[Tensor, "b units"]
    ) -> Float[Tensor, "b units pixels"]:
        """Every unit's pixels, as `targets` has them, from those of the visible units."""
        parts = [
            fuse(x.flatten(1)) for fuse, x in zip(self.fuse, self.encode_visible(image, hidden), strict=True)
        ]
        tokens = self.fused(torch.stack(parts).sum(dim=0))
        tokens = self.placeholder.expand(*hidden.shape, -1).masked_scatter(~hidden[:, :, None], tokens)
        return self.paint(self.decoder(tokens + self.position))

    def targets(
        self, image: Float[Tensor, "b 3 S S"]
    ) -> tuple[Float[Tensor, "b units pixels"], Tensor, Tensor]:
        """Every unit's pixels, standardized; and their means and standard deviations."""
        pixels = self.grid.cut(image.permute(0, 2, 3, 1)).flatten(2)
        mean, deviation = pixels.mean(dim=2, keepdim=True), (pixels.var(dim=2, keepdim=True) + 1e-6).sqrt()
        return (pixels - mean) / deviation, mean, deviation

    def loss(self, image: Float[Tensor, "b 3 S S"], hidden: Bool[Tensor, "b units"]) -> Float[Tensor, ""]:
        """Mean squared error of the hidden units."""
        return (self(image, hidden).float() - self.targets(image)[0]).square().mean(dim=2)[hidden].mean()

    def reconstruct(
        self, image: Float[Tensor, "b 3 S S"], hidden: Bool[Tensor, "b units"]
    ) -> Float[Tensor, "b 3 S S"]:
        """The picture with its hidden units reconstructed, each with its true mean and standard deviation."""
        pixels, mean, deviation = self.targets(image)
        units = torch.where(hidden[:, :, None], self(image, hidden), pixels) * deviation + mean
        return self.grid.join(units.unflatten(2, (UNIT, UNIT, 3))).permute(0, 3, 1, 2)


def _open_windows(trunk: Hiera) -> tuple[list[Block], list[int]]:
    """A trunk's blocks, and how many units each spans along a side; 0 means all.

    The blocks are changed to attend over their whole input: the units of a window are gathered before.
    """
    blocks, spans, tokens = [], [], TOKENS
    for block in trunk.blocks:
        assert isinstance(block, Block)
        blocks.append(block)
        spans.append(block.window // tokens)
        block.window = 0
        tokens = tokens // 2 if block.pooled else tokens
    return blocks, spans
