"""Which network a command runs, and on what."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from masklet.model import Sam2


class Dtype(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


Model = Annotated[str, typer.Option("--model", help="A name (see masklet models), path or hub id.")]
Device = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1, mps; by default the best there is.")
]
Precision = Annotated[Dtype, typer.Option("--dtype", help="The precision of the weights.")]


class Setting(StrEnum):
    exact = "exact"
    balanced = "balanced"
    fast = "fast"


Speed = Annotated[
    Setting,
    typer.Option(
        "--setting", help="On CPUs balanced and fast round, and are faster: masklet models --explain."
    ),
]


def load_network(model: str, device: str | None, dtype: Dtype, setting: Setting) -> Sam2:
    """Load a model, once it is clear that the device is there."""
    import torch

    import masklet

    try:
        torch.empty(0, dtype=torch.float32, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise typer.BadParameter(
            f"{device} cannot be used here: {reason}. Leave it out for the best there is.",
            param_hint="--device",
        ) from None
    return masklet.load(model, device=device, dtype=dtype.value, setting=setting.value)


def command_line() -> str:
    """The command of this process as a person types it, for reports that say how they were made."""
    return shlex.join(["masklet", *sys.argv[1:]])
