"""The verb encode in OpenVINO: converted once, and kept compiled in the user's cache."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from masklet.backends import build
from masklet.errors import MissingExtra
from masklet.files import atomic_write
from masklet.model import Sam2


class OpenVinoEncoder:
    """In the place of a network's image encoder, for one frame at a time."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, ...]:
        frames = [self.compiled(frame[None].numpy()) for frame in image]
        # Copies: the next frame is written where this one's results lie.
        return tuple(torch.cat([torch.from_numpy(maps[i]).clone() for maps in frames]) for i in range(3))


def openvino_encoder(model: Sam2) -> OpenVinoEncoder:
    """Convert a network's encoder, or find what was converted before."""
    try:
        import openvino
    except ImportError as error:
        raise MissingExtra("openvino", "openvino") from error

    core, kept = openvino.Core(), build.cache_folder() / "openvino"
    path = kept / f"{_digest(model, openvino.__version__)}.xml"
    if not path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        _convert(model, path)
    settings = {
        "CACHE_DIR": str(kept),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # bfloat16 pays where there are tiles to multiply it; measured, it is slower than float32 without.
        "INFERENCE_PRECISION_HINT": "bf16" if "amx_bf16" in build.cpu_flags() else "f32",
    }
    return OpenVinoEncoder(core.compile_model(str(path), "CPU", settings))


def _convert(model: Sam2, path: Path) -> None:
    import openvino

    side = model.config.image_size
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export and OpenVINO use what torch deprecates
        exported = torch.export.export(
            model.image_encoder, (torch.zeros(1, 3, side, side, dtype=torch.float32, device="cpu"),)
        )
        made = openvino.convert_model(exported)
    with atomic_write(path) as part:
        openvino.save_model(made, part, compress_to_fp16=False)
        # The weights first: the cache looks for the .xml, and then both are complete.
        part.with_suffix(".bin").replace(path.with_suffix(".bin"))


def _digest(model: Sam2, version: str) -> str:
    digest = hashlib.sha256(f"{version} {torch.__version__} {model.config.to_json()}".encode())
    for weight in model.image_encoder.state_dict().values():
        digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
