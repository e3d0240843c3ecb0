"""The verb encode in OpenVINO: converted once, and cached compiled in the user's cache."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from masklet.backends.backend import Backend, Explanation, Network
from masklet.backends.native import library
from masklet.backends.threads import thread_count
from masklet.errors import MissingExtra
from masklet.files import atomic_write, cache_folder
from masklet.nn.layers import WeightCache


class OpenVinoBackend:
    """Encodes in OpenVINO; another backend runs the other verbs.

    Args:
        network: The network whose image encoder is converted. It must be float32 on the CPU.
        rest: The backend for the other verbs.
    """

    def __init__(self, network: Network, rest: Backend) -> None:
        self.network, self.rest = network, rest
        self.objects_per_batch, self.frames_per_batch = rest.objects_per_batch, 1
        self._encoder = WeightCache[OpenVinoEncoder]()
        self.attend, self.decode, self.memorize = rest.attend, rest.decode, rest.memorize

    def encode(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        if self.network.dtype != torch.float32 or self.network.device.type != "cpu":
            return self.rest.encode(image)
        weights = list(self.network.image_encoder.parameters())
        return self._encoder.get(weights, lambda: make_encoder(self.network))(image)

    def explain(self) -> list[Explanation]:
        return [Explanation("encode", "OpenVINO", "as asked"), *self.rest.explain()[1:]]


class OpenVinoEncoder:
    """A converted image encoder, for one frame at a time."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled

    def __call__(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        frames = [self.compiled(frame[None].numpy()) for frame in image]
        # Copies: OpenVINO writes the next frame into the same memory.
        coarse, middle, fine = (
            torch.cat([torch.from_numpy(maps[i]).clone() for maps in frames]) for i in range(3)
        )
        return coarse, middle, fine


def make_encoder(network: Network) -> OpenVinoEncoder:
    """Convert a network's encoder, or use an earlier conversion."""
    try:
        import openvino
    except ImportError as error:
        raise MissingExtra("openvino", "openvino") from error

    core, folder = openvino.Core(), cache_folder() / "openvino"
    path = folder / f"{content_digest(network, openvino.__version__)}.xml"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        convert(network, path)
    settings = {
        "CACHE_DIR": str(folder),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": thread_count(),
        # bfloat16 is faster only on CPUs with AMX tiles; measured, it is slower than float32 on others.
        "INFERENCE_PRECISION_HINT": "bf16" if "amx_bf16" in library.cpu_flags() else "f32",
    }
    return OpenVinoEncoder(core.compile_model(str(path), "CPU", settings))


def convert(network: Network, path: Path) -> None:
    import openvino

    side = network.config.image_size
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export and OpenVINO use what torch deprecates
        exported = torch.export.export(
            network.image_encoder, (torch.zeros(1, 3, side, side, dtype=torch.float32, device="cpu"),)
        )
        made = openvino.convert_model(exported)
    with atomic_write(path) as part:
        openvino.save_model(made, part, compress_to_fp16=False)
        # The weights first: the cache looks for the .xml, and then both are complete.
        part.with_suffix(".bin").replace(path.with_suffix(".bin"))


def content_digest(network: Network, version: str) -> str:
    digest = hashlib.sha256(f"{version} {torch.__version__} {network.config.to_json()}".encode())
    for weight in network.image_encoder.state_dict().values():
        digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
