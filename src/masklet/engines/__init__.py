"""Other ways to run a network's verbs: the same numbers but for rounding, sooner.

`fit` is the one seam. It puts what runs a verb into `Sam2.engines`, and the network calls that instead of its
own modules wherever no gradients are asked for. Weights that change afterwards are not followed: fit again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from masklet.config import Sam2Config
from masklet.engines import kernels
from masklet.engines.attention import Int8Attention
from masklet.engines.encoder import kernel_encoder
from masklet.engines.openvino import openvino_encoder
from masklet.errors import MaskletError
from masklet.model import Engine, Sam2

EngineName = Literal["auto", "torch", "kernels", "openvino"]
Setting = Literal["faithful", "fast"]

__all__ = ["Choice", "EngineName", "Setting", "choose", "fit"]


@dataclass(frozen=True)
class Choice:
    """What runs one verb, and why.

    make : what `fit` puts in the place of the network's own module; None leaves that where it is
    """

    verb: str
    runs: str
    why: str
    make: Callable[[Sam2], Engine] | None = None


def fit(model: Sam2, engine: EngineName = "auto", setting: Setting = "faithful") -> None:
    """Let an engine run a network's verbs, on the machine that it is on.

    engine : auto takes the compiled kernels where they can be used, else torch
    setting : fast also encodes in 8 bits, and looks at memories pooled 2x2; masks then differ
    """
    for name, value, known in (("engine", engine, EngineName), ("setting", setting, Setting)):
        if value not in get_args(known):
            raise ValueError(f"{name} must be one of {', '.join(get_args(known))}. Got {value!r}.")
    unfit = unfitness(model)
    if unfit is not None and engine in ("kernels", "openvino"):
        raise MaskletError(f"engine={engine!r} cannot run this network: {unfit}. Use engine='torch'.")
    model.memory_attention.pooled = setting == "fast"
    choices = [] if unfit else choose(engine, setting)
    model.engines = {choice.verb: choice.make(model) for choice in choices if choice.make is not None}


def unfitness(model: Sam2) -> str | None:
    """Why only torch can run a network; None where engines can."""
    if model.device.type != "cpu":
        return f"it is on {model.device}, and engines are for CPUs"
    if model.dtype != torch.float32:
        return f"its weights are {model.dtype}, and engines round float32 ones themselves"
    return None if _in_sixteens(model.config) else "its channels are no multiples of 16"


def _in_sixteens(config: Sam2Config) -> bool:
    return not any(width % 16 for width in (config.embed_dim, config.channels, config.feedforward))


def choose(engine: EngineName = "auto", setting: Setting = "faithful") -> list[Choice]:
    """What runs each verb on this machine's CPU.

    Measured: integers are three to four times as fast as float32 where the CPU has VNNI, half floats up to
    twice, and bfloat16 slower than float32 on some CPUs that have it, so it is never taken (dev/LOG.md).
    """
    missing = kernels.missing()
    if engine == "kernels" and missing is not None:
        raise MaskletError(f"engine='kernels' cannot be used: {missing}. Use engine='torch'.")
    if engine == "torch":
        return [Choice(verb, "torch, float32", "as asked") for verb in ("encode", "attend")]
    attend = (
        Choice("attend", "kernels, 8 bits", "the CPU has VNNI, and there is a compiler", _attend)
        if missing is None
        else Choice("attend", "torch, float32", f"no kernels: {missing}")
    )
    return [_encode(engine, setting, missing), attend]


def _encode(engine: EngineName, setting: Setting, missing: str | None) -> Choice:
    if engine == "openvino":
        return Choice("encode", "OpenVINO", "as asked", openvino_encoder)
    if missing is not None:
        return Choice("encode", "torch, float32", f"no kernels: {missing}")
    if setting == "fast":
        return Choice(
            "encode", "kernels, 8 bits", "fast", lambda model: kernel_encoder(model.image_encoder, 8)
        )
    if kernels.half_at_hand():
        return Choice(
            "encode",
            "kernels, 16 bits (global attention 8)",
            "the CPU multiplies half floats, and 8 bits would cost masks",
            lambda model: kernel_encoder(model.image_encoder, 16),
        )
    return Choice(
        "encode",
        "torch, float32 (global attention: kernels, 8 bits)",
        "the CPU does not multiply half floats, and 8 bits would cost masks",
        lambda model: kernel_encoder(model.image_encoder, 32),
    )


def _attend(model: Sam2) -> Engine:
    return Int8Attention(model.memory_attention)
