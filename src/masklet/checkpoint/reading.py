"""Reads files that may be damaged or hostile: everything is checked before it is parsed or allocated.

A file must be regular, its parts as long as stated, a pickle without more operations than weights need, and
all tensors plain arrays of finite numbers, not larger than the file. So reading takes time and memory in
proportion to the file, and returns tensors or raises CheckpointError.
"""

from __future__ import annotations

import errno
import pickle
import pickletools
import stat
import warnings
import zipfile
from io import SEEK_CUR, BufferedReader, BytesIO
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from masklet.checkpoint.layouts import Weights
from masklet.errors import CheckpointError

MAX_HEADER = 16 << 20  # bytes of a safetensors file's header: a thousand tensors need 100 kB
MAX_PICKLE = 32 << 20  # bytes of a pickle without its tensors
MAX_OPERATIONS = 1_000_000  # operations operations of a pickle: a thousand tensors need 40,000
LEGACY_PICKLES = 5  # pickles in torch's format before zip files: magic number, version, system, content, keys
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
MAX_COPIES = 4  # maximum size of all tensors, as a multiple of the file's size
MAX_NAME = 100  # characters of a tensor's name in a message


def read_file(path: Path) -> tuple[Weights, dict[str, str]]:
    """A file's tensors with their own names, and its metadata.

    Raises:
        CheckpointError: The file cannot be read, is damaged, or contains code or anything else than finite
            weights.
    """
    try:
        size = check_regular(path)
        if path.suffix.lower() == ".safetensors":
            weights, metadata = read_safetensors(path, size)
        else:
            weights, metadata = read_pickle(path), {}
    except OSError as error:
        if error.errno == errno.EINVAL:  # a position outside the file
            raise damaged(path) from error
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except CheckpointError:
        raise
    except Exception as error:  # damaged files can raise nearly any exception
        raise damaged(path) from error
    check_tensors(weights, size, path.name)
    return weights, metadata


def check_regular(path: Path) -> int:
    """The size of a regular file. Opening a pipe would block forever."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} is not a file: pass a .safetensors or .pt file.")
    return status.st_size


def read_safetensors(path: Path, size: int) -> tuple[Weights, dict[str, str]]:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(MAX_HEADER, size):
        raise damaged(path)
    with safe_open(path, framework="pt", device="cpu") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_pickle(path: Path) -> Weights:
    """The tensors of a file that torch wrote, at its top or under "model"."""
    if zipfile.is_zipfile(path):
        check_archive(path)
    else:
        with path.open("rb") as file:
            check_pickle(file, LEGACY_PICKLES)
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns about pickles of other programs
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Old protocols fail at their first operation, like any text.
        if "unsupported global" not in str(error).lower() and first_byte(path) != pickle.PROTO:
            raise damaged(path) from error
        raise CheckpointError(
            f"{path.name} contains code, which masklet never runs. Use a file that contains only tensors."
        ) from error
    weights = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        return {}
    return {
        key: value for key, value in weights.items() if isinstance(key, str) and isinstance(value, Tensor)
    }


def check_archive(path: Path) -> None:
    """Raise for archives whose content is larger than the file, or with a pickle too long for weights."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(
                    f"{path.name} is compressed, which is not supported. Save it with torch.save."
                )
            if entry.filename.endswith("data.pkl"):
                if entry.file_size > MAX_PICKLE:
                    raise damaged(path)
                check_pickle(BytesIO(archive.read(entry)), 1)


def check_pickle(file: BufferedReader | BytesIO, count: int) -> None:
    """Raise for pickles with too many operations, such as millions of marks, before they are executed.

    Raises:
        ValueError: There are too many, or they cannot be read.
    """
    operations = 0
    for number in range(count):
        if number and not file.read(1):
            return
        file.seek(-1 if number else 0, SEEK_CUR)
        for _ in pickletools.genops(file):
            operations += 1
            if operations > MAX_OPERATIONS:
                raise ValueError("too many operations")


def check_tensors(weights: Weights, size: int, file: str) -> None:
    """Raise unless all tensors are plain arrays of finite numbers, together not larger than the file."""
    total = 0
    for key, tensor in weights.items():
        if tensor.layout != torch.strided or tensor.dtype not in DTYPES:
            raise CheckpointError(
                f"{file} stores {shorten(key)} as {tensor.dtype}, {tensor.layout}. Weights must be dense "
                "float32, float16, bfloat16 or float64 tensors: save them in one of these."
            )
        # Strides of 0 repeat numbers without storing them. A few copies are allowed: tied weights.
        total += tensor.numel() * tensor.element_size()
        if total > MAX_COPIES * size:
            raise CheckpointError(f"{file} claims more numbers than its size allows: download it again.")
    not_finite = [key for key, tensor in weights.items() if not tensor.isfinite().all()]
    if not_finite:
        raise CheckpointError(
            f"{file} has NaN or infinite numbers in {list_names(not_finite)}: training diverged, or the "
            "file is damaged. Use an earlier checkpoint."
        )


def list_names(keys: list[str]) -> str:
    """The first few names of tensors, for use in a sentence."""
    named = ", ".join(map(shorten, keys[:4]))
    return named + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")


def shorten(name: str) -> str:
    name = name if name.isprintable() else repr(name)
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}..."


def first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


def damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path.name} is damaged, truncated or not a checkpoint. Download it again.")
