"""transformers' Sam2VideoModel in any size, without its processor, which needs torchvision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from transformers import (
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VideoInferenceSession,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoModel,
    Sam2VideoPromptEncoderConfig,
    Sam2VisionConfig,
)
from transformers.models.sam2_video.modeling_sam2_video import (
    Sam2VideoRoPEAttention,
    Sam2VideoSegmentationOutput,
)

from masklet.config import Sam2Config
from masklet.transforms import frame_to_square, mask_to_square
from masklet.types import Prompt
from parity.agreement import Answer
from parity.original import clicks


def build(config: Sam2Config) -> Sam2VideoModel:
    """transformers' model of any size, with the weights that its initialisers give."""
    c, d, side = config.channels, config.memory_channels, config.grid
    widths = [config.embed_dim << stage for stage in range(4)]
    trunk = Sam2HieraDetConfig(
        hidden_size=config.embed_dim,
        num_attention_heads=config.heads,
        image_size=[config.image_size, config.image_size],
        window_positional_embedding_background_size=list(config.background),
        blocks_per_stage=list(config.stages),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[config.heads << stage for stage in range(4)],
        window_size_per_stage=list(config.windows),
        global_attention_blocks=list(config.global_blocks),
    )
    vision = Sam2VisionConfig(
        backbone_config=trunk,
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[config.image_size // stride] * 2 for stride in (4, 8, 16)],
        fpn_hidden_size=c,
    )
    whole = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(hidden_size=c, image_size=config.image_size),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(hidden_size=c, mlp_dim=config.feedforward),
        image_size=config.image_size,
        num_maskmem=config.memories,
        max_object_pointers_in_encoder=config.pointers,
        enable_occlusion_spatial_embedding=config.revision == "2.1",
        enable_temporal_pos_encoding_for_object_pointers=config.revision == "2.1",
        memory_attention_hidden_size=c,
        memory_attention_num_layers=config.memory_layers,
        memory_attention_feed_forward_hidden_size=config.feedforward,
        memory_attention_rope_feat_sizes=[side, side],
        memory_encoder_hidden_size=c,
        memory_encoder_output_channels=d,
        mask_downsampler_embed_dim=c,
        memory_fuser_embed_dim=c,
        memory_fuser_intermediate_dim=4 * c,
    )
    model = Sam2VideoModel(whole)
    if d != 64:  # fixed in the code
        for layer in model.memory_attention.layers:
            layer.cross_attn_image = Sam2VideoRoPEAttention(whole, kv_in_dim=d, rope_k_repeat=True)
    return model.eval()


class Video:
    """transformers' session on a clip, driven as its processor would.

    frames : uint8 (T, H, W, 3); resized as the original does, since this is about the network
    """

    def __init__(self, model: Sam2VideoModel, frames: np.ndarray) -> None:
        self.model = model
        height, width = frames.shape[1:3]
        self.session = Sam2VideoInferenceSession(
            video=torch.cat([frame_to_square(frame, model.image_size) for frame in frames]),
            video_height=height,
            video_width=width,
            dtype=torch.float32,
        )
        self.scale = torch.tensor([model.image_size / width, model.image_size / height])

    def prompt(self, frame: int, id: int, prompt: Prompt) -> Answer:
        session = self.session
        index = session.obj_id_to_idx(id)
        if prompt.mask is not None:
            session.add_mask_inputs(index, frame, mask_to_square(prompt.mask, self.model.image_size)[None])
        else:
            points, labels = clicks(prompt)
            if prompt.box is not None:
                points = torch.cat([torch.tensor(prompt.box).reshape(2, 2), points])
                labels = torch.cat([torch.tensor([2, 3], dtype=torch.int32), labels])
            inputs = {"point_coords": (points * self.scale)[None, None], "point_labels": labels[None, None]}
            session.add_point_inputs(index, frame, inputs)
        session.obj_with_new_inputs = [id]
        return _answers(self.model(session, frame_idx=frame))[id]

    def propagate(self, start: int, *, reverse: bool = False) -> Iterator[tuple[int, dict[int, Answer]]]:
        for seen in self.model.propagate_in_video_iterator(self.session, start, reverse=reverse):
            yield seen.frame_idx, _answers(seen)


def _answers(seen: Sam2VideoSegmentationOutput) -> dict[int, Answer]:
    rows = zip(seen.object_ids, seen.pred_masks, seen.object_score_logits, strict=True)
    return {id: Answer(logits[0], None, score[0]) for id, logits, score in rows}
