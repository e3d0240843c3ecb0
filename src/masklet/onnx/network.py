"""An exported network in ONNX Runtime: five verbs on NumPy arrays. It remembers nothing, as the graphs do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from masklet.errors import MissingExtra
from masklet.onnx.manifest import VERBS, Manifest
from masklet.prompts import PADDING


@dataclass(frozen=True)
class Features:
    """An encoded frame. Every object and prompt reads it.

    Attributes:
        coarse: (1, c, g, g) at stride 16.
        middle: (1, c / 4, 2g, 2g).
        fine: (1, c / 8, 4g, 4g).
        context: (1, c, g, g), of an object that nothing is remembered of.
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
        threads: For each verb; by default what ONNX Runtime takes.
        providers: ONNX Runtime's execution providers, in the order in which they are tried.

    Raises:
        CheckpointError: The folder is no export, or a file differs from what its manifest says.
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
        self.manifest = Manifest.read(Path(folder))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: what it notes about its own optimizers is of no use here
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads sleep
        # Weights of 8 bits are widened once, when they are loaded, and not for each frame.
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
