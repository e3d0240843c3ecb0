"""Load a published SAM 2 checkpoint by name or path; save it in the original layout, transformers' and ours.

python examples/published_checkpoint.py --model sam2.1-hiera-tiny        from the hub, or its cache
python examples/published_checkpoint.py --model sam2.1_hiera_tiny.pt     the original file
"""

from pathlib import Path

import torch

import masklet
from masklet.cli import run_script


def main(model: str = "sam2.1-hiera-tiny", out: Path = Path("out/published_checkpoint")) -> None:
    network = masklet.load(model, device="cpu")  # size and revision are read from the tensors
    config, count = network.config, sum(weight.numel() for weight in network.parameters())
    print(f"{model}: SAM {config.revision}, trunk {config.embed_dim} wide, {count / 1e6:.1f} M parameters")

    out.mkdir(parents=True, exist_ok=True)
    masklet.save(network, out / "original.pt", layout="original")  # facebookresearch/sam2 loads this
    masklet.save(network, out / "model.safetensors", layout="transformers")
    masklet.save(
        network, out / "masklet.safetensors", dtype="float16"
    )  # ours: half the size, and the config in it

    for name in ("original.pt", "model.safetensors", "masklet.safetensors"):
        again = masklet.load(out / name, device="cpu").state_dict()
        off = max(float((again[key] - weight).abs().max()) for key, weight in network.state_dict().items())
        print(f"{out / name}: {(out / name).stat().st_size / 1e6:.1f} MB, weights off by at most {off:.1e}")

    half = masklet.load(
        model, dtype=torch.bfloat16
    )  # runs in bfloat16; masks and scores come back in float32
    print(f"ready on {half.device} in {half.dtype}")


if __name__ == "__main__":
    run_script(main)
