"""Options of several commands, and small functions that all commands share."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import typer.core

from masklet.errors import first_line

if TYPE_CHECKING:
    from masklet.model import Sam2


def format_names() -> list[str]:
    from masklet.media import FORMATS

    return list(FORMATS)


def policy_names() -> list[str]:
    from masklet.tracking.policies import POLICIES

    return list(POLICIES)


def engine_names() -> list[str]:
    from masklet.backends import ENGINES

    return list(ENGINES)


def recipe_names() -> list[str]:
    from masklet.train.recipes import RECIPES

    return list(RECIPES)


class Dtype(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Setting(StrEnum):
    exact = "exact"
    balanced = "balanced"
    fast = "fast"


def check_named(text: str) -> str:
    """Refuse an empty folder name, which would mean the current folder."""
    if not text.strip():
        raise typer.BadParameter("the folder name is empty. Pass a folder, or . for the current one.")
    return text


def parse_folder(text: str) -> Path:
    """The folder that a user named."""
    return Path(check_named(text))


Out = Annotated[
    Path,
    typer.Option(
        "--out",
        parser=parse_folder,
        metavar="FOLDER",
        help="Folder for the results. Use one per run; its run.json records the run.",
    ),
]
ListFile = Annotated[Path | None, typer.Option("--list", help="A text file with more inputs, one per line.")]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="I/N", help="Process every N-th input from the I-th on, for example 2/8."
    ),
]
PromptFile = Annotated[
    Path | None,
    typer.Option(
        "--prompts", help="Prompts for many inputs: CSV, JSON Lines or COCO (columns: docs/cli.md)."
    ),
]
IntensityRange = Annotated[
    str | None,
    typer.Option(
        "--intensity-range",
        metavar="LOW,HIGH",
        help="The intensities shown as black and white, for more than 8 bits.",
    ),
]
PixelSize = Annotated[
    str | None,
    typer.Option(
        "--pixel-size",
        metavar="SIZE",
        help="Pixel size for measures and label TIFFs, for example 0.65um or 0.2x0.2x1um; by default "
        "that of the OME or ImageJ TIFF.",
    ),
]
Channels = Annotated[
    list[str] | None,
    typer.Option(
        "--channel",
        metavar="NAME[=COLOUR]",
        help="Channel of a microscope file, by name or number from 0. Repeat to mix several in colours.",
    ),
]
MaxPixels = Annotated[
    int | None, typer.Option("--max-pixels", help="Allow images with more than 2**28 pixels.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Run again even if OUT has complete results of this run.")
]
Model = Annotated[str, typer.Option("--model", help="Model name (see masklet models), path or hub id.")]
Device = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1 or mps; by default the best one available.")
]
Precision = Annotated[Dtype, typer.Option("--dtype", help="The precision of the weights.")]
Speed = Annotated[
    Setting,
    typer.Option(
        "--setting",
        help="Rounding on CPUs: balanced costs 0.1 J&F, exact gives the published numbers, fast costs 3.",
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="What runs the network: {engines}. auto picks the fastest that needs no preparation; compiled "
        "is torch.compile, whose first frames take minutes.",
        autocompletion=engine_names,
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        metavar="PIXELS",
        help="Side of the network's input square, a multiple of 32; by default as in training.",
    ),
]
Policy = Annotated[
    str,
    typer.Option("--policy", help="The memory policy: {policies}.", autocompletion=policy_names),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Output format; repeat for several: {formats}. Default: palette, masklets and overlay.",
        autocompletion=format_names,
    ),
]

ImageFormats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="Formats besides mask.png, masks.json and overlay.png; repeat for several: {formats}.",
        autocompletion=format_names,
    ),
]

Background = Annotated[
    str,
    typer.Option(
        "--background",
        help="For --format composite: blur, a colour such as green or #00b140, an image or a video.",
    ),
]
SoftEdges = Annotated[
    float,
    typer.Option(
        "--soft",
        metavar="PIXELS",
        min=0,
        max=100,
        help="Width of soft edges, for cut-outs, matte-exr and composite.",
    ),
]


@dataclass(frozen=True)
class ModelOptions:
    """The model that a command runs, and its device and backend."""

    model: str
    device: str | None
    dtype: Dtype
    setting: Setting
    image_size: int | None = None
    engine: str = "auto"

    def load(self) -> Sam2:
        """Load the model, after a check that the device is there."""
        import torch

        import masklet
        from masklet.backends import ENGINES

        engine = next((name for name in ENGINES if name == self.engine), None)
        if engine is None:
            raise typer.BadParameter(
                f"there is no engine {self.engine!r}. Choose from {', '.join(ENGINES)}.",
                param_hint="--engine",
            )
        try:
            torch.empty(0, dtype=torch.float32, device=self.device)
        except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
            reason = first_line(error)
            raise typer.BadParameter(
                f"{self.device} cannot be used here: {reason}. Remove --device to use the best one "
                "available.",
                param_hint="--device",
            ) from None
        try:
            return masklet.load(
                self.model,
                device=self.device,
                dtype=self.dtype.value,
                engine=engine,
                setting=self.setting.value,
                image_size=self.image_size,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--image-size") from None

    def describe(self, model: Sam2) -> str:
        """The backend of the loaded model and the reason, in one line."""
        from masklet.backends import summarize

        rounds = model.device.type == "cpu" and self.engine not in ("torch", "compiled")
        is_rounded = rounds and self.setting is not Setting.exact
        hint = " --setting exact gives the published numbers." if is_rounded else ""
        return f"{self.name}: {summarize(model.backend)}.{hint}"

    @property
    def name(self) -> str:
        """The model's name, with its image size if that is not the default."""
        return self.model if self.image_size is None else f"{self.model} at {self.image_size} pixels"

    def to_json(self) -> dict[str, str | int]:
        """The settings that determine the masks, without the device."""
        size = {} if self.image_size is None else {"image_size": self.image_size}
        engine = {} if self.engine == "auto" else {"engine": self.engine}
        from masklet.checkpoint.locations import find_given

        file = find_given(self.model)
        weights = {} if file is None else {"weights": hash_file(file)}
        return {
            "model": self.model,
            "dtype": self.dtype.value,
            "setting": self.setting.value,
            **size,
            **engine,
            **weights,
        }


def hash_file(path: Path) -> str:
    """A hash of a file's content, computed again after a change."""
    facts = os.stat(path)
    return _cached_hash(os.fspath(path), facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=4)
def _cached_hash(path: str, size: int, time: int) -> str:
    from masklet.files import sha256

    return sha256(path)[:32]


def announce_start() -> None:
    """Print on a terminal that a command has started, before slow imports."""
    if sys.stderr.isatty():
        typer.echo("starting: loading torch and the network", err=True)


def terminal_text(text: str) -> str:
    """Text without control characters, so that files and their names cannot control the terminal.

    >>> terminal_text("a\x1b[2J.mp4")
    'a\ufffd[2J.mp4'
    """
    return "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)


def command_line() -> str:
    """The command of this process as typed, for reports."""
    return shlex.join(["masklet", *sys.argv[1:]])
