"""An exported network: its manifest, and its five verbs on NumPy arrays in ONNX Runtime.

Like the graphs, it has no state. The manifest lists the graphs and the settings that a client needs between
them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from masklet.errors import CheckpointError, MissingExtra, OptionError, whole_number
from masklet.files import parse_json, sha256
from masklet.prompts import PADDING

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
    """One verb's file, next to the manifest."""

    file: str
    sha256: str
    bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class MemoryRule:
    """The rule for selecting an object's memories; docs/export.md describes it.

    Attributes:
        capacity: Tracked memories that a bank keeps, and the same number of prompted ones.
        window: Tracked frames whose tokens are used.
        pointers: Frames whose object pointers are used, the newest among them.
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
    """The content of `manifest.json`.

    Attributes:
        masklet: The version that wrote it.
        model: The name or path of the network.
        precision: fp32, fp16 or int8. Inputs and outputs are float32 in all.
        image_size: Side of the network's square.
        grid: Side of the coarse map.
        mask_size: Side of the low-res logits.
        zoom: Whether sessions zoom by default, see `masklet.zoom`.
        graphs: By verb.
        memory_dtype: The dtype to which `memorize` rounds tokens: bfloat16 or float16; float32 is not
            rounded.
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
            CheckpointError: There is none, or it has another format or version.
        """
        path = folder / MANIFEST
        try:
            fields = parse_json(path.read_text(encoding="utf-8"))
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
            manifest = _from_fields(fields)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise CheckpointError(f"{path} is damaged: {error!r}. Export the network again.") from error
        return manifest

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
    if missing := set(VERBS) - fields["graphs"].keys():
        raise KeyError(f"no graph for {', '.join(sorted(missing))}")
    _check(fields)
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
    return Manifest(
        **{name: fields[name] for name in names},
        graphs=graphs,
        memory=MemoryRule(**fields["memory"]),
        memory_dtype=fields.get("memory_dtype", Manifest.memory_dtype),
    )


def _check(fields: Mapping[str, Any]) -> None:
    """Raise for values that are not numbers, or do not fit the graphs.

    Raises:
        ValueError: The manifest has such a value.
    """
    graphs = fields["graphs"]
    inputs, outputs = (
        {verb: {spec["name"]: spec["shape"] for spec in graph[side]} for verb, graph in graphs.items()}
        for side in ("inputs", "outputs")
    )
    sizes = {
        "image_size": inputs["encode"]["image"][-1],
        "grid": outputs["encode"]["coarse"][-1],
        "mask_size": inputs["decode"]["hint"][-1],
        "channels": outputs["encode"]["coarse"][1],
        "memory_channels": outputs["memorize"]["tokens"][-1],
    }
    wrong = [name for name, size in sizes.items() if fields[name] != size]
    wrong += [name for name, count in fields["memory"].items() if whole_number(count) is None or count < 1]
    wrong += [name for name in ("hint_limit", "absent_logit") if not math.isfinite(fields[name])]
    if not isinstance(fields["zoom"], bool):
        wrong.append("zoom")
    if fields.get("memory_dtype", Manifest.memory_dtype) not in ("bfloat16", "float16", "float32"):
        wrong.append("memory_dtype")
    texts = [graph[name] for graph in graphs.values() for name in ("file", "sha256")]
    if not all(isinstance(text, str) for text in texts):
        wrong.append("graphs")
    if wrong:
        raise ValueError(f"invalid {', '.join(wrong)}")


@dataclass(frozen=True)
class Features:
    """An encoded frame. Every object and prompt reads it.

    Attributes:
        coarse: (1, c, g, g) at stride 16.
        middle: (1, c / 4, 2g, 2g).
        fine: (1, c / 8, 4g, 4g).
        context: (1, c, g, g), of an object without memories.
    """

    coarse: np.ndarray
    middle: np.ndarray
    fine: np.ndarray
    context: np.ndarray


@dataclass(frozen=True)
class Decoded:
    """Four masks of one object: first the one for a clear prompt, then the three candidates.

    Attributes:
        logits: (4, m, m).
        iou: (4,) predicted quality, 0 to 1.
        pointers: (4, c).
        score: Object score; above 0 the object is in the frame.
    """

    logits: np.ndarray
    iou: np.ndarray
    pointers: np.ndarray
    score: float


class Network:
    """The verbs of an exported network.

    Args:
        folder: What `masklet export onnx MODEL --out FOLDER` wrote.
        threads: Threads for each verb; by default ONNX Runtime's choice.
        providers: ONNX Runtime's execution providers, in the order in which they are tried.

    Raises:
        CheckpointError: The folder is no export, or a file differs from what its manifest says.
        OptionError: It is not a path.
        MissingExtra: onnxruntime is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        threads: int | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("export", "onnxruntime") from error
        if not isinstance(folder, str | os.PathLike):
            raise OptionError(f"a network must be a folder with its graphs. Got {type(folder).__name__}.")
        self.manifest = Manifest.read(Path(folder))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: its notes about optimizers are not useful here
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads sleep
        # 8-bit weights are converted once, when they are loaded, not for each frame.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        if threads is not None:
            options.intra_op_num_threads = threads
        self._sessions: Mapping[str, Any] = {
            verb: onnxruntime.InferenceSession(
                str(self.manifest.path(Path(folder), verb)), options, providers=list(providers)
            )
            for verb in VERBS
        }

    def encode(self, image: np.ndarray) -> Features:
        """Encode an image.

        Args:
            image: Float32 (3, S, S), RGB from 0 to 255.
        """
        return Features(*self._run("encode", image=image[None]))

    def attend(
        self,
        features: Features,
        tokens: np.ndarray,
        rows: Sequence[int],
        pointers: np.ndarray,
        ages: Sequence[float],
    ) -> np.ndarray:
        """The context (1, c, g, g) of one object.

        Args:
            tokens: (k, n, d) of its memories.
            rows: Of the age table, one for each memory.
            pointers: (p, c).
            ages: One for each pointer, as parts of the span.
        """
        (context,) = self._run(
            "attend",
            coarse=features.coarse,
            tokens=tokens[None],
            rows=np.array([rows], dtype=np.int32),
            pointers=pointers[None],
            ages=np.array([ages], dtype=np.float32),
        )
        return context

    def decode(
        self,
        features: Features,
        context: np.ndarray,
        points: np.ndarray | None = None,
        labels: Sequence[int] = (),
        hint: np.ndarray | None = None,
    ) -> Decoded:
        """The masks of one object.

        Args:
            context: (1, c, g, g).
            points: (p, 2) in the network's square; None while only tracking.
            labels: One for each point.
            hint: (m, m) low-res logits of an earlier answer.
        """
        size = self.manifest.mask_size
        if points is None or not len(points):
            points, labels = np.zeros((1, 2), dtype=np.float32), (PADDING,)
        logits, iou, pointers, score = self._run(
            "decode",
            context=context,
            middle=features.middle,
            fine=features.fine,
            points=points[None],
            labels=np.array([labels], dtype=np.int32),
            hint=np.zeros((1, size, size), dtype=np.float32) if hint is None else hint[None],
            has_hint=np.array([hint is not None], dtype=np.float32),
        )
        return Decoded(logits[0], iou[0], pointers[0], float(score[0]))

    def adopt(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
        """A person's mask as logits (m, m), a hint (m, m), a score, and the pointer of an empty mask (c,).

        Args:
            mask: Bool (S, S), in the network's square.
        """
        logits, hint, score, absent = self._run("adopt", mask=mask[None].astype(np.float32))
        return logits[0], hint[0], float(score[0]), absent[0]

    def memorize(self, features: Features, logits: np.ndarray, score: float, *, prompted: bool) -> np.ndarray:
        """The memory tokens (n, d) of an answer (m, m)."""
        (tokens,) = self._run(
            "memorize",
            coarse=features.coarse,
            logits=logits[None],
            score=np.array([score], dtype=np.float32),
            prompted=np.array([prompted], dtype=np.float32),
        )
        return tokens[0]

    def _run(self, verb: str, **inputs: np.ndarray) -> list[np.ndarray]:
        outputs: list[np.ndarray] = self._sessions[verb].run(None, inputs)
        return outputs


def as_network(model: Network | str | Path) -> Network:
    """The network itself, or the one in a folder."""
    return model if isinstance(model, Network) else Network(model)
