"""The verb memorize in the kernels: `nn.memory_encoder`, its wide layers replaced."""

from __future__ import annotations

import copy

from masklet.backends import native as kernels
from masklet.backends.native import Bits
from masklet.nn.memory_encoder import FuserBlock, MemoryEncoder


def kernel_memory_encoder(net: MemoryEncoder, bits: Bits) -> MemoryEncoder:
    """The same memory encoder with linear layers in numbers of so many bits; the rest shares its weights."""
    made = copy.deepcopy(net, {id(weight): weight for weight in net.parameters()})
    for block in made.fuser:
        assert isinstance(block, FuserBlock)
        block.register_module("mlp", kernels.Linear(*block.mlp.linears, bits=bits, between="gelu"))
    return made
