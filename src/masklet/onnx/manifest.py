"""The manifest of an exported network: which graphs there are, and what a client does between them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from masklet.errors import CheckpointError

FORMAT, VERSION = "masklet-onnx", 1
MANIFEST = "manifest.json"
VERBS = ("encode", "attend", "decode", "adopt", "memorize")

LABELS = {"padding": -1, "negative": 0, "positive": 1, "box_start": 2, "box_end": 3}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph. Dimensions with a name instead of a size may have any size."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class GraphFile:
    """One verb's file, beside the manifest."""

    file: str
    sha256: str
    bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class MemoryRule:
    """Which memories an object is compared with; docs/export.md says it in words.

    Attributes:
        capacity: Tracked memories that a bank keeps, and as many prompted ones.
        window: Tracked frames whose tokens are looked at.
        pointers: Frames whose object pointers are looked at, the newest among them.
        prompted_row: The row of the age table for prompted frames.
        span: The age that counts as 1.
    """

    capacity: int = 16
    window: int = 6
    pointers: int = 16
    prompted_row: int = 6
    span: int = 15


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says.

    Attributes:
        masklet: The version that wrote it.
        model: The name or path of the network.
        precision: fp32, fp16 or int8. Inputs and outputs are float32 in all.
        image_size: Side of the square that the network sees.
        grid: Side of the coarse map.
        mask_size: Side of the low-res logits.
        zoom: Whether small objects are segmented again in a window around them.
        graphs: By verb.
        memory_dtype: What `memorize` rounds its tokens to: bfloat16 or float16; float32 is not rounded.
    """

    masklet: str
    model: str
    precision: str
    opset: int
    image_size: int
    grid: int
    mask_size: int
    channels: int
    memory_channels: int
    zoom: bool
    graphs: Mapping[str, GraphFile]
    memory: MemoryRule = MemoryRule()
    memory_dtype: str = "bfloat16"
    hint_limit: float = 32.0
    absent_logit: float = -1024.0

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        head = {"format": FORMAT, "version": VERSION}
        return json.dumps({**head, **asdict(self), "labels": LABELS}, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest in a folder that `masklet export onnx` wrote.

        Raises:
            CheckpointError: There is none, or it is of another form or version.
        """
        path = folder / MANIFEST
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{folder} must be a folder that `masklet export onnx MODEL --out {folder}` wrote, with a "
                f"{MANIFEST}. It cannot be read: {error}."
            ) from error
        head = (fields.get("format"), fields.get("version")) if isinstance(fields, dict) else (None, None)
        if head != (FORMAT, VERSION):
            raise CheckpointError(
                f"{path} must have format {FORMAT!r} and version {VERSION}. Got {head[0]!r} and {head[1]!r}: "
                "export the network again with this version of masklet."
            )
        try:
            return _from_fields(fields)
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is damaged: {error!r}. Export the network again.") from error

    def path(self, folder: Path, verb: str) -> Path:
        """The file of a verb, checked against its digest.

        Raises:
            CheckpointError: The file is missing, lies outside the folder, or differs from what was exported.
        """
        graph = self.graphs[verb]
        path = folder / graph.file
        if path.parent != folder or not path.is_file():
            raise CheckpointError(f"{path} is missing. Export the network again, or copy the whole folder.")
        digest = sha256(path)
        if digest != graph.sha256:
            raise CheckpointError(
                f"{path} must have the sha256 {graph.sha256[:12]}... of {MANIFEST}. Got {digest[:12]}...: "
                "copy the whole folder again, or export the network again."
            )
        return path


def _from_fields(fields: Mapping[str, Any]) -> Manifest:
    names = [
        "masklet",
        "model",
        "precision",
        "opset",
        "image_size",
        "grid",
        "mask_size",
        "channels",
        "memory_channels",
        "zoom",
        "hint_limit",
        "absent_logit",
    ]
    graphs = {
        verb: GraphFile(
            graph["file"],
            graph["sha256"],
            graph["bytes"],
            *(
                tuple(TensorSpec(spec["name"], spec["dtype"], tuple(spec["shape"])) for spec in graph[side])
                for side in ("inputs", "outputs")
            ),
        )
        for verb, graph in fields["graphs"].items()
    }
    if missing := set(VERBS) - graphs.keys():
        raise KeyError(f"no graph for {', '.join(sorted(missing))}")
    return Manifest(
        **{name: fields[name] for name in names},
        graphs=graphs,
        memory=MemoryRule(**fields["memory"]),
        memory_dtype=fields.get("memory_dtype", Manifest.memory_dtype),
    )


def sha256(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
