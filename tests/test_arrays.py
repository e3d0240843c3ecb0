"""Tensors of every kind become arrays, wherever an array is taken; a tensor without values is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from masklet import MaskletError, Masks, Prompt
from masklet.arrays import to_array
from masklet.media import ImageReader, open_frames, read_image, read_label_map

GREY = torch.arange(24, dtype=torch.float32).reshape(4, 6)

KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "with gradients": lambda values: values.clone().requires_grad_(),
    "half": Tensor.half,
    "bfloat16": Tensor.bfloat16,
    "sparse": Tensor.to_sparse,
    "compressed": Tensor.to_sparse_csr,
    "negated": lambda values: torch._neg_view(-values),
    "strided": lambda values: values.repeat_interleave(2, dim=1)[:, ::2],
}


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tensor_has_its_values(kind: str, unchecked: None) -> None:
    tensor = KINDS[kind](GREY)
    assert np.asarray(to_array(tensor)).tolist() == GREY.tolist()
    assert (read_image(tensor) == read_image(GREY.numpy())).all()
    mask = Prompt(mask=KINDS[kind]((GREY > 9).float())).mask
    assert mask is not None and (mask == (GREY > 9).numpy()).all()


def test_clicks_in_bfloat16(unchecked: None) -> None:
    click = Prompt(positive=torch.tensor([[9.0, 3.0]], dtype=torch.bfloat16))  # type: ignore[arg-type]
    assert click.positive == ((9.0, 3.0),)


@pytest.mark.parametrize(
    "call",
    [
        read_image,
        read_label_map,
        lambda tensor: open_frames(tensor[None, ..., None]),
        lambda tensor: Prompt(mask=tensor),
        lambda tensor: Prompt(positive=tensor[:, :2]),
        lambda tensor: Masks.from_arrays(0, {1: tensor}, (4, 6)),
    ],
)
def test_a_tensor_without_values_is_refused(call: Callable[[Tensor], object], unchecked: None) -> None:
    with pytest.raises(MaskletError, match="meta"):
        call(GREY.to("meta"))


def test_what_a_masked_array_hides_is_black_and_sets_no_range() -> None:
    """Rasters of maps mark pixels without data so; the value beneath is -9999, or 1e38."""
    values = np.linspace(0.2, 0.8, 48 * 64).reshape(48, 64).astype(np.float32)
    expected = read_image(values)
    hidden = np.zeros(values.shape, dtype=bool)
    hidden[20:30, 5:25] = True
    for beneath in (-9999.0, 1e38, 0.5):
        masked = np.ma.masked_array(np.where(hidden, np.float32(beneath), values), hidden)
        for image in (read_image(masked), ImageReader().read(masked)):
            assert (image[hidden] == 0).all() and (
                abs(image[~hidden].astype(int) - expected[~hidden]) < 8
            ).all()
    colours = np.ma.masked_array(np.full((48, 64, 3), 90, np.uint8), np.repeat(hidden[..., None], 3, axis=2))
    for image in (read_image(colours), ImageReader().read(colours)):
        assert (image[hidden] == 0).all() and (image[~hidden] == 90).all()


def test_a_matrix_is_a_grey_image() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = np.matrix(np.arange(48 * 64).reshape(48, 64) % 256, dtype=np.uint8)
    assert (read_image(image) == np.asarray(image)[..., None]).all()
