"""Measures the time from process start to the first mask, in a separate process.

python -m benchmarks.first_mask NAME WEIGHTS IMAGE
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image


def masklet(weights: Path, image: np.ndarray, point: tuple[float, float]) -> None:
    import masklet

    session = masklet.ImageSession(masklet.load(weights, device="cpu"), image)
    session.segment(masklet.Prompt(positive=[point]))[0]


def original(weights: Path, image: np.ndarray, point: tuple[float, float]) -> None:
    from parity.torchvision_stub import torchvision_or_stub

    with torchvision_or_stub():
        from sam2.build_sam import build_sam2
        from sam2.sam2_image_predictor import SAM2ImagePredictor
    size = "b+" if "base-plus" in weights.name else "t"
    model = build_sam2(f"configs/sam2.1/sam2.1_hiera_{size}.yaml", str(weights), device="cpu")
    with mock.patch.object(torch.jit, "script", lambda module: module):  # torch.jit cannot compile the stub
        predictor = SAM2ImagePredictor(model)
    with torch.inference_mode():
        predictor.set_image(image)
        predictor.predict(np.array([point]), np.array([1]))


def transformers(weights: Path, image: np.ndarray, point: tuple[float, float]) -> None:
    import torch.nn.functional as F
    from transformers import Sam2VideoModel

    model = Sam2VideoModel.from_pretrained(weights).eval()
    height, width = image.shape[:2]
    side = model.config.image_size
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    mean, std = (
        torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    from transformers import Sam2VideoInferenceSession

    session = Sam2VideoInferenceSession(
        video=(F.interpolate(pixels, (side, side), mode="bilinear") - mean) / std,
        video_height=height,
        video_width=width,
        dtype=torch.float32,
    )
    coordinates = torch.tensor([point[0] * side / width, point[1] * side / height]).view(1, 1, 1, 2)
    inputs = {"point_coords": coordinates, "point_labels": torch.ones(1, 1, 1, dtype=torch.int32)}
    session.add_point_inputs(session.obj_id_to_idx(1), 0, inputs)
    session.obj_with_new_inputs = [1]
    with torch.inference_mode():
        model(session, frame_idx=0)


if __name__ == "__main__":
    programs = {"masklet": masklet, "original": original, "transformers": transformers}
    if len(sys.argv) != 4 or sys.argv[1] not in programs:
        sys.exit(f"usage: python -m benchmarks.first_mask {'|'.join(programs)} WEIGHTS IMAGE")
    name, file, image = sys.argv[1:]
    array = np.array(Image.open(image).convert("RGB"))
    programs[name](Path(file), array, (array.shape[1] * 0.3, array.shape[0] * 0.4))
