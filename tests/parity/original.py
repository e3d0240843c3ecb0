"""The original implementation, sam2==1.1.0, on the CPU: any size, any weights, frames from memory.

It needs no network: the package holds the eight published configurations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from masklet.config import SIZES, Sam2Config, toy
from masklet.nn.trunks import make_trunk
from masklet.types import Prompt
from parity.agreement import Answer
from parity.torchvision_stub import torchvision_or_stub

with torchvision_or_stub():
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
    from sam2.build_sam import build_sam2_video_predictor
    from sam2.modeling.sam.transformer import TwoWayTransformer
    from sam2.sam2_image_predictor import SAM2ImagePredictor
    from sam2.sam2_video_predictor import SAM2VideoPredictor

FILES = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}

# What the builder turns on for videos, without hole filling (a CUDA extension); and corrections stick.
SWITCHES = [
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=true",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.05",
    "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.98",
    "++model.binarize_mask_from_pts_for_mem_enc=true",
    "++model.add_all_frames_to_correct_as_cond=true",
]


def build(config: Sam2Config) -> SAM2VideoPredictor:
    """The original of any size; a published size comes from its own configuration file, untouched."""
    revision = "sam2" if config.revision == "2.0" else "sam2.1"
    size = next((size for size in FILES if replace(SIZES[size], revision=config.revision) == config), None)
    file = f"configs/{revision}/{revision}_hiera_{FILES[size or 'tiny']}.yaml"
    overrides = [] if size else _overrides(config)
    model = build_sam2_video_predictor(
        file, device="cpu", hydra_overrides_extra=SWITCHES + overrides, apply_postprocessing=False
    )
    if not size:  # the decoder's hidden width is the one number that no configuration reaches
        model.sam_mask_decoder.transformer = TwoWayTransformer(
            depth=2, embedding_dim=config.channels, num_heads=8, mlp_dim=config.feedforward
        )
    if config.trunk != "hiera":
        _exchange_trunk(model, config)
    return model.eval()


def _exchange_trunk(model: SAM2VideoPredictor, config: Sam2Config) -> None:
    """Put ours, of another kind, under the original's head."""
    trunk, neck = make_trunk(config), model.image_encoder.neck
    model.image_encoder.trunk = trunk
    neck.backbone_channel_list = list(reversed(trunk.widths))
    for level, width in zip(neck.convs, neck.backbone_channel_list, strict=True):
        level.conv = nn.Conv2d(width, config.channels, kernel_size=1)


def _overrides(config: Sam2Config) -> list[str]:
    c, d, side = config.channels, config.memory_channels, config.grid
    values: dict[str, Any] = {
        "image_size": config.image_size,
        "num_maskmem": config.memories,
        "max_obj_ptrs_in_encoder": config.pointers,
        "image_encoder.neck.d_model": c,
        "image_encoder.neck.position_encoding.num_pos_feats": c,
        "memory_attention.d_model": c,
        "memory_attention.num_layers": config.memory_layers,
        "memory_attention.layer.d_model": c,
        "memory_attention.layer.dim_feedforward": config.feedforward,
        "memory_attention.layer.self_attention.embedding_dim": c,
        "memory_attention.layer.self_attention.feat_sizes": [side, side],
        "memory_attention.layer.cross_attention.embedding_dim": c,
        "memory_attention.layer.cross_attention.feat_sizes": [side, side],
        "memory_attention.layer.cross_attention.kv_in_dim": d,
        "memory_encoder.in_dim": c,
        "memory_encoder.out_dim": d,
        "memory_encoder.position_encoding.num_pos_feats": d,
        "memory_encoder.mask_downsampler.embed_dim": c,
        "memory_encoder.fuser.layer.dim": c,
    } | _trunk(config)
    return [f"++model.{name}={value}" for name, value in values.items()]


def _trunk(config: Sam2Config) -> dict[str, Any]:
    """The trunk's numbers; those of the toy where ours is to take its place."""
    hiera = config if config.trunk == "hiera" else toy()
    widths = [hiera.embed_dim << stage for stage in (3, 2, 1, 0)]
    return {
        "image_encoder.trunk.embed_dim": hiera.embed_dim,
        "image_encoder.trunk.num_heads": hiera.heads,
        "image_encoder.trunk.stages": list(hiera.stages),
        "image_encoder.trunk.global_att_blocks": list(hiera.global_blocks),
        "image_encoder.trunk.window_spec": list(hiera.windows),
        "image_encoder.trunk.window_pos_embed_bkg_spatial_size": list(hiera.background),
        "image_encoder.neck.backbone_channel_list": widths,
    }


def image_predictor(model: SAM2VideoPredictor) -> SAM2ImagePredictor:
    """The original's image predictor around the same network."""
    with mock.patch.object(torch.jit, "script", lambda module: module):  # deprecated, and changes no number
        predictor = SAM2ImagePredictor(model)
    predictor._bb_feat_sizes = [(model.image_size // stride,) * 2 for stride in (4, 8, 16)]
    return predictor


def mask_generator(model: SAM2VideoPredictor, **knobs: Any) -> SAM2AutomaticMaskGenerator:
    """The original's automatic mask generator around the same network."""
    with mock.patch.object(torch.jit, "script", lambda module: module):  # deprecated, and changes no number
        generator = SAM2AutomaticMaskGenerator(model, **knobs)
    generator.predictor._bb_feat_sizes = [(model.image_size // stride,) * 2 for stride in (4, 8, 16)]
    return generator


def clicks(prompt: Prompt) -> tuple[Tensor, Tensor]:
    """A prompt's clicks as points and their labels."""
    points = torch.tensor([*prompt.positive, *prompt.negative]).reshape(-1, 2)
    return points, torch.tensor([1] * len(prompt.positive) + [0] * len(prompt.negative), dtype=torch.int32)


class Video:
    """The original's video predictor on a clip; clicks on a frame add up.

    frames : uint8 (T, H, W, 3)
    """

    def __init__(self, model: SAM2VideoPredictor, frames: np.ndarray) -> None:
        self.model = model
        with tempfile.TemporaryDirectory() as folder:
            for number, frame in enumerate(frames):  # it asks for this name, and reads what it finds
                Image.fromarray(frame).save(f"{folder}/{number:05d}.jpg", format="PNG")
            self.state = model.init_state(folder)
        self.ious: dict[tuple[int, int], Tensor] = {}
        self.said: dict[tuple[int, int], Prompt] = {}

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Answer:
        with self._spy():
            if prompt.mask is not None:
                self.said.pop((frame, id), None)
                self.model.add_new_mask(self.state, frame, id, prompt.mask)
            else:
                whole = self.said[frame, id] = self.said.get((frame, id), Prompt()) | prompt
                points, labels = clicks(whole)
                self.model.add_new_points_or_box(self.state, frame, id, points, labels, box=whole.box)
        index = self.state["obj_id_to_idx"][id]
        fresh = self.state["temp_output_dict_per_obj"][index]["cond_frame_outputs"]
        return self._read(fresh[frame], index, frame)

    def propagate(self, start: int, *, reverse: bool = False) -> Iterator[tuple[int, dict[int, Answer]]]:
        with self._spy():
            for frame, ids, _ in self.model.propagate_in_video(self.state, start, reverse=reverse):
                yield frame, {id: self._kept(frame, self.state["obj_id_to_idx"][id]) for id in ids}

    def _kept(self, frame: int, index: int) -> Answer:
        outputs = self.state["output_dict_per_obj"][index]
        kept = outputs["cond_frame_outputs"].get(frame) or outputs["non_cond_frame_outputs"][frame]
        return self._read(kept, index, frame)

    def _read(self, kept: dict[str, Tensor], index: int, frame: int) -> Answer:
        return Answer(kept["pred_masks"][0, 0], self.ious[index, frame], kept["object_score_logits"][0, 0])

    def _spy(self) -> Any:
        """Write down predicted IoUs, which the predictor drops."""
        step = self.model._track_step

        def track_step(frame: int, *arguments: Any) -> Any:
            result = step(frame, *arguments)
            outputs = self.state["output_dict_per_obj"]
            index = next(index for index, kept in outputs.items() if kept is arguments[6])
            self.ious[index, frame] = result[1][2].amax()
            return result

        return mock.patch.object(self.model, "_track_step", track_step)
