"""The compiled kernels: built once by the compiler at hand, kept in the user's cache, called through ctypes.

What they compute is said in kernels.cpp. Tensors are float32 on the CPU, channels side by side.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC")
NEEDED = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"}
WIDTH = 16  # channels come in multiples of this
TOGETHER = 32  # keys, and a layer's outputs, come in multiples of this
NOT_THERE = -1e4  # what is added to the logits of keys that only fill up
Bits = Literal[8, 16, 32]
KEPT: dict[Bits, torch.dtype] = {8: torch.uint8, 16: torch.int16, 32: torch.float32}
Activation = Literal["none", "relu", "gelu"]
ACTIVATIONS: dict[Activation, int] = {"none": 0, "relu": 1, "gelu": 2}


def cpu_flags() -> frozenset[str]:
    """The instruction sets that the system reports; none where it cannot be asked."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


@cache
def missing() -> str | None:
    """Why the kernels cannot be used here; None where they can."""
    lacking = NEEDED - cpu_flags()
    if lacking:
        return f"the CPU lacks {', '.join(sorted(lacking))}"
    if _compiler() is None:
        return "there is no C++ compiler (g++ or clang++)"
    try:
        _library()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"the kernels do not build: {getattr(error, 'stderr', None) or error}".strip()
    return None


def _compiler() -> str | None:
    return next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)


@cache
def _library() -> ctypes.CDLL:
    compiler = str(_compiler())
    made_of = [SOURCE.read_text(encoding="utf-8"), compiler, *FLAGS, *sorted(cpu_flags())]
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    built = cache_folder() / f"kernels-{digest}.so"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            partial = Path(folder) / built.name
            command = [compiler, *FLAGS, str(SOURCE), "-o", str(partial)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            partial.replace(built)
    return ctypes.CDLL(str(built))


def cache_folder() -> Path:
    """Where what was compiled for this machine is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "masklet"


@dataclass(frozen=True)
class Rows:
    """Keys, or a layer's weight, as the kernels read them."""

    codes: Shaped[Tensor, " padded"]
    scale: Float[Tensor, " rows"]
    count: int
    bits: Bits


@dataclass(frozen=True)
class Values:
    """Values as the kernels read them: integers beside keys of 8 bits, else float32."""

    codes: Shaped[Tensor, " padded"]
    scale: Float[Tensor, " e"]
    columns: int


def pack_rows(
    x: Float[Tensor, "m d"], bits: Bits, turn: Float[Tensor, "2 n half"] | None = None, placed: int = 0
) -> Rows:
    """Pack keys; the first `placed` of them are turned before, by the angles over and over."""
    x = _widened(x)
    m, d = x.shape
    codes, scale = torch.empty(_padded(m) * d, dtype=KEPT[bits]), torch.empty(_padded(m))
    cos, sin = (None, None) if turn is None else turn
    angles = 1 if turn is None else turn.shape[1]
    _library().pack_rows(
        bits, _at(x), _long(x.stride(0)), _long(m), d,
        _at(cos), _at(sin), _long(angles), _long(placed), _at(codes), _at(scale),
    )  # fmt: skip
    return Rows(codes, scale, m, bits)


def pack_values(x: Float[Tensor, "m e"], bits: Bits) -> Values:
    """Pack values for keys of so many bits."""
    columns, x = x.shape[1], _widened(x)
    m, e = x.shape
    if bits != 8:
        return Values(F.pad(x, (0, 0, 0, _padded(m) - m)).flatten(), torch.ones(e), columns)
    codes, scale = torch.empty(_padded(m) * e, dtype=torch.int8), torch.empty(e)
    _library().pack_values(_at(x), _long(x.stride(0)), _long(m), e, _at(codes), _at(scale))
    return Values(codes, scale, columns)


def attend(
    q: Float[Tensor, "n d"],
    keys: Rows,
    values: Values,
    turn: Float[Tensor, "2 n half"] | None = None,
    bias: Float[Tensor, " m"] | None = None,
) -> Float[Tensor, "n e"]:
    """Softmax attention; queries are turned before. bias : is added to the logits of each key"""
    by, q, e = q.shape[1] ** -0.5, _widened(q), len(values.scale)
    n, d = q.shape
    added = torch.full((_padded(keys.count),), NOT_THERE)
    added[: keys.count] = 0 if bias is None else bias
    out = torch.empty(n, e)
    cos, sin = (None, None) if turn is None else turn
    _library().attend(
        keys.bits, _at(q), _long(q.stride(0)), _long(n), d, ctypes.c_float(by), _at(cos), _at(sin),
        _at(keys.codes), _at(keys.scale), _at(added), _long(keys.count),
        _at(values.codes), _at(values.scale), e, _at(out),
    )  # fmt: skip
    return out[:, : values.columns]


class Layer(ctypes.Structure):
    """A packed layer, as the kernels are told of it."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("inputs", ctypes.c_int),
        ("outputs", ctypes.c_int),
        ("activation", ctypes.c_int),
    )


class Linear(nn.Module):
    """A linear layer, or several with an activation between them, in numbers of so many bits."""

    def __init__(self, *layers: nn.Linear, bits: Bits, between: Activation = "none") -> None:
        super().__init__()
        self.bits, self.outputs, self.between = bits, layers[-1].out_features, ACTIVATIONS[between]
        self.weights = [pack_rows(layer.weight.detach().float().contiguous(), bits) for layer in layers]
        self.biases = [
            F.pad(layer.bias.detach().float(), (0, -layer.out_features % TOGETHER)) for layer in layers
        ]

    def forward(self, x: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        x = x.contiguous()
        out = torch.empty(*x.shape[:-1], self.outputs)
        n, inputs = x.numel() // x.shape[-1], x.shape[-1]
        told, last = (Layer * len(self.weights))(), len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            then = self.between if i < last else ACTIVATIONS["none"]
            told[i] = Layer(_at(weight.codes), _at(weight.scale), _at(bias), inputs, weight.count, then)
            inputs = weight.count
        _library().linear(self.bits, told, len(told), _at(x), _long(n), _at(out))
        return out


def _widened(x: Float[Tensor, "n d"]) -> Float[Tensor, "n wide"]:
    """Channels side by side, and as many as the kernels want."""
    extra = -x.shape[1] % WIDTH
    if extra:
        return F.pad(x, (0, extra))
    return x if x.stride(1) == 1 else x.contiguous()


def _padded(count: int) -> int:
    return -(-count // TOGETHER) * TOGETHER


def _at(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _long(number: int) -> ctypes.c_int64:
    return ctypes.c_int64(number)
