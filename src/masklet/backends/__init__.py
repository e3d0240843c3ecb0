"""Backends that compute a network's verbs faster, with the same numbers except for rounding.

`fit` chooses a backend by the requested engine and the machine, and sets `Sam2.backend`. With gradients, the
network's own modules always run.
"""

from __future__ import annotations

import logging
from typing import Literal, get_args

import torch

from masklet.backends.backend import Backend, Explanation, Network, TorchBackend, Verb, summarize
from masklet.backends.compiled import CompiledBackend, reason_for_no_compiler
from masklet.backends.native import NativeBackend, Precision, library
from masklet.backends.openvino import OpenVinoBackend
from masklet.backends.threads import limit_torch_threads
from masklet.config import Sam2Config
from masklet.errors import MaskletError, OptionError

__all__ = [
    "ENGINES",
    "Backend",
    "EngineName",
    "Explanation",
    "Network",
    "Setting",
    "TorchBackend",
    "Verb",
    "check_options",
    "choose",
    "fit",
    "summarize",
]

log = logging.getLogger(__name__)

EngineName = Literal["auto", "torch", "kernels", "openvino", "compiled"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
Setting = Literal["exact", "balanced", "fast"]

# Measured (dev/LOG.md): where the CPU has VNNI, integers of 8 bits are three to four times as fast as float32
# and those of 16 bits nearly twice. In AVX2 those of 16 bits are half again as fast, and those of 8 bits no
# faster. bfloat16 is slower than float32 on some CPUs that support it, so it is never used.
VNNI_PRECISIONS: dict[Setting, Precision] = {
    "exact": Precision(32, 32),
    "balanced": Precision(16, 8),
    "fast": Precision(8, 8),
}
AVX2_PRECISIONS: dict[Setting, Precision] = {
    "exact": Precision(32, 32),
    "balanced": Precision(16, 16),
    "fast": Precision(16, 16),
}


def fit(network: Network, engine: EngineName = "auto", setting: Setting = "exact") -> None:
    """Choose the backend for a network's verbs, by the machine and the network's device.

    Args:
        network: A `Sam2`.
        engine: `auto` uses the native kernels if possible, otherwise torch. `compiled` is `torch.compile`, on
            a CPU or a CUDA device; its first frames are slow.
        setting: `exact` computes in float32; `balanced` rounds only as far as masks hardly change; `fast`
            rounds more, and attends to memories pooled 2x2.

    Raises:
        OptionError: The engine or the setting does not exist.
        MaskletError: The engine cannot run this network, or not on this machine.
    """
    check_options(engine, setting)
    if network.device.type == "cpu":
        limit_torch_threads()
    network.memory_attention.pooled = setting == "fast"
    network.backend = choose(network, engine, setting)
    log.info("%s", summarize(network.backend))


def check_options(engine: object, setting: object) -> None:
    """Raise for an engine or a setting that does not exist."""
    for name, value, choices in (("engine", engine, EngineName), ("setting", setting, Setting)):
        if not isinstance(value, str) or value not in get_args(choices):
            raise OptionError(f"{name} must be one of {', '.join(get_args(choices))}. Got {value!r}.")


def choose(network: Network, engine: EngineName = "auto", setting: Setting = "exact") -> Backend:
    """The backend for a network on this machine."""
    if engine == "torch":
        return TorchBackend(network)
    if engine == "compiled":
        missing = reason_for_no_compiler(network.device)
        if missing is not None:
            raise MaskletError(f"engine='compiled' cannot be used: {missing}. Use engine='torch'.")
        return CompiledBackend(network)
    reason = reason_for_torch(network)
    if reason is not None and engine != "auto":
        raise MaskletError(f"engine={engine!r} cannot run this network: {reason}. Use engine='torch'.")
    if reason is not None:
        return TorchBackend(network, reason)
    missing = library.missing()
    if engine == "kernels" and missing is not None:
        raise MaskletError(f"engine='kernels' cannot be used: {missing}. Use engine='torch'.")
    backend: Backend
    if missing is not None:
        backend = TorchBackend(network, f"no kernels: {missing}")
    else:
        has_vnni = library.has_vnni()
        precision = (VNNI_PRECISIONS if has_vnni else AVX2_PRECISIONS)[setting]
        instructions = "AVX512-VNNI" if has_vnni else "AVX2"
        backend = NativeBackend(network, precision, f"{setting}: the CPU has {instructions}")
    return OpenVinoBackend(network, backend) if engine == "openvino" else backend


def reason_for_torch(network: Network) -> str | None:
    """Why only torch can run a network; None if other engines can."""
    if network.device.type != "cpu":
        return f"it is on {network.device}, and engines run on CPUs"
    if network.dtype != torch.float32:
        return f"its weights are {network.dtype}, and engines need float32"
    return None if has_wide_channels(network.config) else "its channels are not multiples of 16"


def has_wide_channels(config: Sam2Config) -> bool:
    """Whether all channels are multiples of 16, as the kernels need."""
    return not any(width % 16 for width in (config.embed_dim, config.channels, config.feedforward))
