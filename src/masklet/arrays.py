"""Converts inputs to NumPy arrays: arrays, and torch tensors of every kind. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from masklet.errors import MediaError


def to_array(values: Any) -> Any:
    """A tensor's values as an array; anything else is returned unchanged.

    Tensors may need gradients, be on another device, be sparse or quantised, or be bfloat16, which NumPy
    cannot read.

    Raises:
        MediaError: The tensor has no values, as on the meta device.

    Example:
        >>> import torch
        >>> to_array(torch.ones(2, dtype=torch.bfloat16, requires_grad=True)).tolist()
        [1.0, 1.0]
    """
    if not hasattr(values, "to_dense"):
        return values
    try:
        tensor = values.detach()
        tensor = tensor.dequantize() if tensor.is_quantized else tensor.to_dense()
        tensor = tensor.cpu().resolve_conj().resolve_neg()
        is_short = tensor.is_floating_point() and tensor.element_size() < 4
        array: np.ndarray = (tensor.float() if is_short else tensor).numpy()
    except (RuntimeError, TypeError) as error:  # PyTorch's NotImplementedError is a RuntimeError
        raise MediaError(
            f"a tensor must have readable values. Got {values.dtype} {tuple(values.shape)} on the device "
            f"{values.device}: {str(error).splitlines()[0]}"
        ) from error
    return array


class ComparesArrays:
    """Equality of results that contain arrays or tensors, which the equality of dataclasses cannot compare.

    Example:
        >>> from masklet import Masks
        >>> Masks.from_arrays(0, {1: np.eye(2)}, (2, 2)) == Masks.from_arrays(0, {1: np.eye(2)}, (2, 2))
        True
    """

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        names = [field.name for field in fields(self) if field.compare]  # type: ignore[arg-type]
        return all(_are_equal(getattr(self, name), getattr(other, name)) for name in names)

    __hash__ = None  # type: ignore[assignment]


def _are_equal(one: Any, other: Any) -> bool:
    one, other = to_array(one), to_array(other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_are_equal(one[key], other[key]) for key in one)
    return bool(one == other)
