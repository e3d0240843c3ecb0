"""Weights in and out: a name, a path or a hub id becomes a Sam2, and a Sam2 becomes a file.

Size and revision are read from the tensors themselves, whatever layout they are in.
"""

from __future__ import annotations

import operator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from masklet.backends import EngineName, Setting, check_options, fit
from masklet.checkpoint.layouts import LAYOUTS, MASKLET, ORIGINAL, Layout, Weights, to_ours, to_theirs
from masklet.checkpoint.reading import PUBLISHED, find, list_names, read_file
from masklet.config import LARGEST, NANO, NANO_LITE2, TRAINABLE, Sam2Config
from masklet.errors import CheckpointError, OptionError, check_path, first_line
from masklet.files import atomic_write
from masklet.model import Sam2, check_model
from masklet.nn.trunks import block_count

__all__ = ["PUBLISHED", "load", "save"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CONFIG = "masklet"  # the metadata of our own files holds the config under this key


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
    layout = _layout_of(tensors, path.name)
    weights = _rename(tensors, layout, path.name)
    config = config or _read_config(weights, metadata, layout, path.name)
    if image_size is not None:
        config = replace(config, image_size=image_size)
    _check_count(weights, config, path.name)
    wanted = _expected_tensors(config, path.name)
    _check(weights, wanted, layout, path.name)

    with torch.device("cpu"):
        model = Sam2(config).eval()
    model.load_state_dict(weights)
    frequencies = model.prompt_encoder.frequencies.to(device)
    model.to(device, dtype)
    _check_range(model, dtype, path.name)
    # Positions stay exact: with these in half precision a click would land beside where it was meant.
    model.prompt_encoder.frequencies = frequencies
    fit(model, engine, setting)
    return model


def _check_range(model: Sam2, dtype: torch.dtype, file: str) -> None:
    """Refuse weights that became infinite: float16 ends at 65504, float32 at 3.4e38."""
    infinite = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if infinite:
        advice = (
            "load it with dtype='bfloat16'"
            if dtype == torch.float16
            else "training diverged, take an earlier one"
        )
        raise CheckpointError(
            f"{file} holds numbers in {list_names(infinite)} that are too large for "
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
        dtype: Of the file's tensors. None keeps the model's; bfloat16 halves the file.

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
            f"the layout {layout!r} only knows networks whose trunk is Hiera. This one's is "
            f"{model.config.trunk}: save it in layout 'masklet'."
        )
    dtype = None if dtype is None else _dtype(dtype)
    is_pickle = layout == "original"
    if path.suffix and is_pickle == (path.suffix.lower() == ".safetensors"):
        kind = ".pt" if is_pickle else ".safetensors"  # by its ending, `load` knows what to expect
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
    """A device that is there."""
    if not isinstance(device, str | torch.device):
        raise OptionError(f"device must be a name such as cpu or cuda. Got {device!r}.")
    try:
        checked = torch.device(device)
    except RuntimeError:
        raise OptionError(f"device must be one of torch's, such as cpu or cuda. Got {device!r}.") from None
    try:
        torch.empty(0, dtype=torch.float32, device=checked)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise OptionError(f"{device} cannot be used here: {first_line(error)}.") from None
    if checked.type == "meta":
        raise OptionError("the device meta holds no weights: give one that computes, such as cpu.")
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


def _layout_of(tensors: Weights, file: str) -> Layout:
    for layout in LAYOUTS.values():
        if any(key.startswith(layout.sign) for key in tensors):
            return layout
    raise CheckpointError(f"{file} is not a SAM 2 checkpoint: no key starts with 'image_encoder.trunk'.")


def _rename(tensors: Weights, layout: Layout, file: str) -> Weights:
    """Tensors under our names, in our shapes."""
    try:
        return to_ours(tensors, layout)
    except (IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"{file} is no SAM 2 in the layout {layout.name!r}: {first_line(error)}."
        ) from error


def _read_config(weights: Weights, metadata: dict[str, str], layout: Layout, file: str) -> Sam2Config:
    """The config that the file names, or else the one that its tensors tell."""
    try:
        if CONFIG in metadata:
            return Sam2Config.from_json(metadata[CONFIG])
        return infer_config(weights, layout, file)
    except (ValueError, TypeError, IndexError, ZeroDivisionError, RecursionError) as error:
        raise CheckpointError(f"{file} does not describe a SAM 2: {first_line(error)}.") from error


def _check_count(weights: Weights, config: Sam2Config, file: str) -> None:
    """A config may not ask for more blocks than the file has tensors."""
    blocks = sum(config.stages) + config.memory_layers
    if blocks > len(weights):
        raise CheckpointError(
            f"{file} does not fit a SAM 2 of its size: it asks for {blocks} blocks and holds "
            f"{len(weights)} tensors."
        )


class _Uninitialized(TorchFunctionMode):
    """Makes modules without random weights, whose numbers the meta device would draw in Python."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(function, "__module__", None) == nn.init.__name__:
            return (kwargs or {})["tensor"]
        return function(*args, **(kwargs or {}))


def _expected_tensors(config: Sam2Config, file: str) -> Weights:
    """The tensors that a config asks for, without their memory."""
    try:
        with torch.device("meta"), _Uninitialized():
            return Sam2(config).state_dict()
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        raise CheckpointError(f"{file} does not describe a SAM 2: {first_line(error)}.") from error


def infer_config(weights: Weights, layout: Layout, file: str) -> Sam2Config:
    """The config of weights under our names. What shapes do not tell follows from the size they belong to."""

    def shape(key: str) -> torch.Size:
        if key not in weights:
            raise CheckpointError(f"{file} is not a whole SAM 2: it lacks {layout.theirs(key)}.")
        return weights[key].shape

    def read_head(base: Sam2Config) -> Sam2Config:
        return replace(
            base,
            revision="2.1" if "memory_encoder.absent" in weights else "2.0",
            channels=shape("image_encoder.lateral.0.weight")[0],
            memory_channels=shape("memory_encoder.out.weight")[0],
            memory_layers=sum(key.endswith("linear1.bias") for key in weights),
            feedforward=shape("memory_attention.layers.0.linear1.weight")[0],
            memories=shape("memory_attention.age")[0],
        )

    if "image_encoder.trunk.stem.weight" in weights:
        blocks = len({key.split(".")[3] for key in weights if key.startswith("image_encoder.trunk.blocks.")})
        for base in (NANO, NANO_LITE2):
            if blocks == block_count(base):
                return read_head(base)
        raise CheckpointError(
            f"{file} has a trunk of {blocks} blocks of convolutions, which is neither EfficientNet-Lite0 nor "
            "EfficientNet-Lite2."
        )
    embed_dim = shape("image_encoder.trunk.patch.weight")[0]
    norms = (key for key in weights if key.startswith("image_encoder.trunk") and key.endswith("norm2.bias"))
    widths = [len(weights[key]) for key in norms]
    stages = tuple(widths.count(embed_dim << stage) for stage in range(4))
    height, width = shape("image_encoder.trunk.position")[2:]
    hieras = {size: base for size, base in TRAINABLE.items() if base.trunk == "hiera"}
    for base in hieras.values():
        if (base.embed_dim, base.stages) == (embed_dim, stages):
            return replace(read_head(base), background=(height, width))
    sizes = ", ".join(f"{size}: {base.embed_dim} {base.stages}" for size, base in hieras.items())
    raise CheckpointError(
        f"{file} has a trunk {embed_dim} wide with stages {stages}, which is no known size ({sizes}). "
        "Its windows and heads cannot be told from the weights: pass config=Sam2Config(...)."
    )


def _check(weights: Weights, wanted: dict[str, Tensor], layout: Layout, file: str) -> None:
    """Every tensor must be there in its shape, and no other."""
    reshaped = [
        f"{layout.theirs(key)} {tuple(weights[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in weights.keys() & wanted.keys()
        if weights[key].shape != wanted[key].shape
    ]
    faults = {
        "it lacks": [layout.theirs(key) for key in wanted.keys() - weights.keys()],
        "it has besides": [layout.theirs(key) for key in weights.keys() - wanted.keys()],
        "it has in another shape": reshaped,
    }
    differences = "; ".join(f"{fault} {list_names(sorted(keys))}" for fault, keys in faults.items() if keys)
    if differences:
        raise CheckpointError(f"{file} does not fit a SAM 2 of its size: {differences}.")
