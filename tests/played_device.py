"""A device that the CPU plays: tensors on it hold real numbers, and may not meet tensors of the host.

So what runs on a GPU is tested without one: that no operator mixes devices, and how often the host waits.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

aten = torch.ops.aten
Module = TypeVar("Module", bound=nn.Module)
DEVICE = torch.device("lazy:0")  # its operators are not built, but torch knows its name
READS = (aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default)


class DeviceTensor(torch.Tensor):
    """A tensor on the device; `held` has its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> DeviceTensor:
        tensor: DeviceTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, held.size(), held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        tensor.held = held
        return tensor

    def tolist(self) -> Any:
        """Torch has it for no subclass of tensors."""
        return self.cpu().tolist()

    def __getitem__(self, index: Any) -> Tensor:
        """Torch would put a list of rows on the device itself, past the mode."""
        parts = index if isinstance(index, tuple) else (index,)
        placed = (
            torch.tensor(part, dtype=torch.int64).to(DEVICE) if isinstance(part, list) else part
            for part in parts
        )
        return super().__getitem__(tuple(placed))

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{function} runs outside of PlayedDevice")


class PlayedDevice(TorchDispatchMode):
    """Runs operators on the device, refuses those that mix it with the host, and counts what waits."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # in inference mode operators that consist of others come whole
            result = function.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        here = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
        asked = kwargs.get("device")
        is_here = bool(here) if asked is None else torch.device(asked).type == DEVICE.type
        if function is aten._to_copy.default:
            self._count_copy(args[0], is_here, kwargs.get("non_blocking"))
        elif function is aten.copy_.default:
            is_here = isinstance(args[0], DeviceTensor)
            self._count_copy(args[1], is_here, args[2] if len(args) > 2 else False)
        elif here and any(tensor.dim() for tensor in tensors if not isinstance(tensor, DeviceTensor)):
            raise AssertionError(f"{function} mixes tensors of the device and of the host")
        elif here and function in READS:
            self.counts["reads"] += 1
        inner_args, inner_kwargs = tree_map_only(DeviceTensor, lambda tensor: tensor.held, (args, kwargs))
        if asked is not None:
            inner_kwargs["device"] = torch.device("cpu")
        outputs = function(*inner_args, **inner_kwargs)
        if not is_here:
            return outputs
        outputs = tree_map_only(Tensor, DeviceTensor, outputs)
        return return_and_correct_aliasing(function, args, kwargs, outputs) if here else outputs

    def _count_copy(self, source: Tensor, to_device: bool, non_blocking: bool | None) -> None:
        if isinstance(source, DeviceTensor) != to_device:
            self.counts["copies" if to_device and non_blocking else "waiting"] += 1


def move_to_device(module: Module) -> Module:
    """Put a module's weights on the device. `Module.to` cannot: it exchanges what a tensor holds."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(DeviceTensor(weight.detach()), requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = DeviceTensor(buffer)
    return module
