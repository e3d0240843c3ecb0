"""Other ways to run a network's verbs: the same numbers but for rounding, sooner.

`fit` is the one seam. It puts what runs a verb into `Sam2.engines`, and the network calls that instead of its
own modules wherever no gradients are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch

from masklet.backends import build
from masklet.backends.attention import KernelAttention
from masklet.backends.current import Current
from masklet.backends.decoder import kernel_decoder
from masklet.backends.encoder import kernel_encoder
from masklet.backends.memory import kernel_memory_encoder
from masklet.backends.native import Bits
from masklet.backends.openvino import openvino_encoder
from masklet.config import Sam2Config, TrunkName
from masklet.errors import MaskletError
from masklet.model import Engine, Sam2

EngineName = Literal["auto", "torch", "kernels", "openvino"]
Setting = Literal["exact", "balanced", "fast"]

__all__ = ["Choice", "EngineName", "Setting", "choose", "fit"]


@dataclass(frozen=True)
class Numbers:
    """The bits of the numbers that a setting works with, in linear layers and in attention."""

    layers: Bits
    attention: Bits

    def __str__(self) -> str:
        return "float32" if self.layers == 32 else f"{self.layers} bits (attention {self.attention})"


NUMBERS: dict[Setting, Numbers] = {
    "exact": Numbers(32, 32),
    "balanced": Numbers(16, 8),
    "fast": Numbers(8, 8),
}
EIGHTS_ARE_SLOW: dict[Setting, Numbers] = {**NUMBERS, "balanced": Numbers(16, 16), "fast": Numbers(16, 16)}


# The verbs that engines run, and the modules in whose place they do.
VERBS = {
    "encode": "image_encoder",
    "attend": "memory_attention",
    "decode": "mask_decoder",
    "memorize": "memory_encoder",
}


@dataclass(frozen=True)
class Choice:
    """What runs one verb, and why.

    make : what runs instead of the network's own module; None leaves that where it is
    """

    verb: str
    runs: str
    why: str
    make: Callable[[Sam2], Engine] | None = None


def fit(model: Sam2, engine: EngineName = "auto", setting: Setting = "exact") -> None:
    """Let an engine run a network's verbs, on the machine that it is on.

    engine : auto takes the compiled kernels where they can be used, else torch
    setting : exact computes in float32; balanced rounds as little as masks bear; fast rounds more, and looks
              at memories pooled 2x2
    """
    for name, value, known in (("engine", engine, EngineName), ("setting", setting, Setting)):
        if value not in get_args(known):
            raise ValueError(f"{name} must be one of {', '.join(get_args(known))}. Got {value!r}.")
    unfit = unfitness(model)
    if unfit is not None and engine in ("kernels", "openvino"):
        raise MaskletError(f"engine={engine!r} cannot run this network: {unfit}. Use engine='torch'.")
    model.memory_attention.pooled = setting == "fast"
    choices = [] if unfit else choose(engine, setting, model.config.trunk)
    model.engines = {
        choice.verb: Current(model.get_submodule(VERBS[choice.verb]), partial(choice.make, model))
        for choice in choices
        if choice.make is not None
    }


def unfitness(model: Sam2) -> str | None:
    """Why only torch can run a network; None where engines can."""
    if model.device.type != "cpu":
        return f"it is on {model.device}, and engines are for CPUs"
    if model.dtype != torch.float32:
        return f"its weights are {model.dtype}, and engines round float32 ones themselves"
    return None if _in_sixteens(model.config) else "its channels are no multiples of 16"


def _in_sixteens(config: Sam2Config) -> bool:
    return not any(width % 16 for width in (config.embed_dim, config.channels, config.feedforward))


def choose(
    engine: EngineName = "auto", setting: Setting = "exact", trunk: TrunkName = "hiera"
) -> list[Choice]:
    """What runs each verb on this machine's CPU.

    trunk : of the network; the kernels encode with Hiera only

    Measured (dev/LOG.md): integers of 8 bits are three to four times as fast as float32 where the CPU has
    VNNI, those of 16 bits nearly twice; in AVX2 those of 16 bits are half again as fast, and those of 8
    bits no faster. bfloat16 is slower than float32 on some CPUs that have it, so it is never taken.
    """
    missing = build.missing()
    if engine == "kernels" and missing is not None:
        raise MaskletError(f"engine='kernels' cannot be used: {missing}. Use engine='torch'.")
    if engine == "torch":
        return [Choice(verb, "torch, float32", "as asked") for verb in VERBS]
    if missing is not None:
        choices = [Choice(verb, "torch, float32", f"no kernels: {missing}") for verb in VERBS]
    else:
        wide = build.wide()
        numbers = (NUMBERS if wide else EIGHTS_ARE_SLOW)[setting]
        why = f"{setting}: the CPU has {'AVX512-VNNI' if wide else 'AVX2'}, and there is a compiler"
        # Decoding is so little work that rounding would not show in its time.
        makers = (
            (_encoder, numbers),
            (_attention, numbers),
            (_decoder, NUMBERS["exact"]),
            (_memory_encoder, numbers),
        )
        choices = [
            Choice(verb, f"kernels, {rounded}", why, partial(make, rounded))
            for verb, (make, rounded) in zip(VERBS, makers, strict=True)
        ]
        if trunk != "hiera":
            why = f"the kernels have no convolutions, of which {trunk} consists"
            choices[0] = Choice("encode", "torch, float32", why)
    if engine == "openvino":
        choices[0] = Choice("encode", "OpenVINO", "as asked", openvino_encoder)
    return choices


def _encoder(numbers: Numbers, model: Sam2) -> Engine:
    return kernel_encoder(model.image_encoder, numbers.layers, numbers.attention)


def _attention(numbers: Numbers, model: Sam2) -> Engine:
    return KernelAttention(model.memory_attention, numbers.layers, numbers.attention)


def _decoder(numbers: Numbers, model: Sam2) -> Engine:
    return kernel_decoder(model.mask_decoder)


def _memory_encoder(numbers: Numbers, model: Sam2) -> Engine:
    return kernel_memory_encoder(model.memory_encoder, numbers.layers)
