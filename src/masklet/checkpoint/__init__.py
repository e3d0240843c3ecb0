"""Loads and saves weights: from a name, a path or a hub id to a Sam2, and from a Sam2 to a file.

Size and revision are inferred from the tensors, in every layout.
"""

from __future__ import annotations

import operator
from dataclasses import replace
from pathlib import Path
from typing import Literal, SupportsIndex

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from masklet.backends import EngineName, Setting, check_options, fit
from masklet.checkpoint.layouts import LAYOUTS, MASKLET, ORIGINAL, to_theirs
from masklet.checkpoint.locations import PUBLISHED, find
from masklet.checkpoint.matching import CONFIG, check_weights, find_layout, read_config, rename
from masklet.checkpoint.reading import list_names, read_file
from masklet.config import LARGEST, Sam2Config
from masklet.errors import CheckpointError, OptionError, check_path, first_line
from masklet.files import atomic_write
from masklet.model import Sam2, check_model

__all__ = ["PUBLISHED", "load", "save"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    name: str | Path = "nano",
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    engine: EngineName = "auto",
    setting: Setting = "exact",
    config: Sam2Config | None = None,
    image_size: int | None = None,
) -> Sam2:
    """Load a model, ready to run.

    Args:
        name: An embedded or published name, the path of a file or folder, or a hub id.
        device: By default a CUDA device, otherwise Apple's, otherwise the CPU.
        dtype: None keeps weights in float32.
        engine: What runs the network: auto, torch, kernels, openvino or compiled. Auto picks the fastest that
            needs no preparation (see `masklet models --explain`); compiled uses `torch.compile`.
        setting: Exact gives the published numbers; balanced and fast round on CPUs, and fast makes masks
            worse (docs/performance.md).
        config: For weights of a non-standard size in another layout, which does not record windows and heads.
        image_size: Side of the network's input square in pixels, a multiple of 32. None keeps the size used
            in training. Smaller is faster and coarser, larger is slower and more detailed (measured in
            docs/results.md).

    Raises:
        CheckpointError: The weights cannot be found or fetched, or are not SAM 2's.
        OptionError: `image_size` is not a multiple of 32, or the dtype, engine, setting or device does not
            exist.

    Example:
        >>> load(device="cpu", image_size=384).config.image_size
        384
    """
    if config is not None and not isinstance(config, Sam2Config):
        raise OptionError(f"config must be a Sam2Config. Got {type(config).__name__}.")
    image_size = None if image_size is None else _check_image_size(image_size)
    device = _best_device() if device is None else _check_device(device)
    dtype = torch.float32 if dtype is None else _dtype(dtype)
    check_options(engine, setting)
    path = find(name)
    tensors, metadata = read_file(path)
    layout = find_layout(tensors, path.name)
    weights = rename(tensors, layout, path.name)
    config = config or read_config(weights, metadata, layout, path.name)
    if image_size is not None:
        config = replace(config, image_size=image_size)
    check_weights(weights, config, layout, path.name)

    with torch.device("cpu"):
        model = Sam2(config).eval()
    model.load_state_dict(weights)
    frequencies = model.prompt_encoder.frequencies.to(device)
    model.to(device, dtype)
    _check_range(model, dtype, path.name)
    # Positions stay exact: in half precision, a click would be moved.
    model.prompt_encoder.frequencies = frequencies
    fit(model, engine, setting)
    return model


def _check_range(model: Sam2, dtype: torch.dtype, file: str) -> None:
    """Raise for weights that became infinite: the largest float16 is 65504, the largest float32 3.4e38."""
    infinite = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if infinite:
        advice = (
            "load it with dtype='bfloat16'"
            if dtype == torch.float16
            else "training diverged, use an earlier checkpoint"
        )
        raise CheckpointError(
            f"{file} has numbers in {list_names(infinite)} that are too large for "
            f"{str(dtype).removeprefix('torch.')}: {advice}."
        )


def save(
    model: Sam2,
    path: str | Path,
    *,
    layout: Literal["masklet", "original", "transformers"] = "masklet",
    dtype: str | torch.dtype | None = None,
) -> None:
    """Write a model's weights to a file. An existing file is replaced once the new one is complete.

    Args:
        model: A network from `masklet.load` or from training.
        path: The file, which ends in .safetensors, or in .pt for the layout original.
        layout: The names of the tensors. masklet is a .safetensors that `load` reads with nothing else;
            original is a .pt for facebookresearch/sam2; transformers is a .safetensors for
            `Sam2VideoModel.load_state_dict`. The last two support only networks with a Hiera trunk, so not
            nano.
        dtype: The dtype of the file's tensors. None keeps the model's; bfloat16 halves the file.

    Raises:
        CheckpointError: The layout does not support this network, the file cannot be written, or its suffix
            is that of another kind of file.
        OptionError: There is no such layout or dtype, or `model` is not a model.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save(load(device="cpu"), f"{folder}/mine.safetensors", dtype="bfloat16")
        ...     load(f"{folder}/mine.safetensors", device="cpu").config.image_size
        384
    """
    check_model(model)
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise OptionError(f"layout must be one of {', '.join(LAYOUTS)}. Got {layout!r}.")
    path = check_path(path)
    if layout != "masklet" and model.config.trunk != "hiera":
        raise CheckpointError(
            f"the layout {layout!r} supports only networks with a Hiera trunk. This network has "
            f"{model.config.trunk}: use layout='masklet'."
        )
    dtype = None if dtype is None else _dtype(dtype)
    is_pickle = layout == "original"
    if path.suffix and is_pickle == (path.suffix.lower() == ".safetensors"):
        kind = ".pt" if is_pickle else ".safetensors"  # `load` chooses the reader by the suffix
        raise CheckpointError(f"a checkpoint in layout {layout!r} is a {kind} file. Got {path}.")
    tensors = to_theirs(model.state_dict(), LAYOUTS[layout])
    tensors = {key: tensor.to("cpu", dtype).contiguous() for key, tensor in tensors.items()}
    try:
        with atomic_write(path, CheckpointError) as part:
            if LAYOUTS[layout] is ORIGINAL:
                torch.save({"model": tensors}, part)
            else:
                config = {CONFIG: model.config.to_json()} if LAYOUTS[layout] is MASKLET else {}
                save_file(tensors, part, {"format": "pt", **config})
    except (RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}.") from error


def _dtype(dtype: object) -> torch.dtype:
    if isinstance(dtype, str) and dtype in DTYPES:
        return DTYPES[dtype]
    if isinstance(dtype, torch.dtype) and dtype in (*DTYPES.values(), torch.float64):
        return dtype
    raise OptionError(f"dtype must be one of {', '.join(DTYPES)}. Got {dtype!r}.")


def _check_device(device: object) -> torch.device:
    """An available device."""
    if not isinstance(device, str | torch.device):
        raise OptionError(f"device must be a name such as cpu or cuda. Got {device!r}.")
    try:
        checked = torch.device(device)
    except RuntimeError:
        raise OptionError(f"device must be a device of torch, such as cpu or cuda. Got {device!r}.") from None
    try:
        torch.empty(0, dtype=torch.float32, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise OptionError(f"{device} cannot be used here: {first_line(error)}.") from None
    if checked.type == "meta":
        raise OptionError("the device meta has no memory for weights: use another, such as cpu.")
    return checked


def _check_image_size(image_size: object) -> int:
    if isinstance(image_size, SupportsIndex) and not isinstance(image_size, bool):
        side = operator.index(image_size)
        if 64 <= side <= LARGEST and not side % 32:
            return side
    raise OptionError(f"image_size must be a multiple of 32 from 64 to {LARGEST}. Got {image_size!r}.")


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
