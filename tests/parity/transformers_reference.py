"""transformers' Sam2VideoModel with given weights: any size, frames from memory, no processor (it needs torchvision)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import (
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VideoInferenceSession,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoModel,
    Sam2VideoPromptEncoderConfig,
    Sam2VisionConfig,
)
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoRoPEAttention

from masklet.config import Sam2Config
from masklet.types import MaskPrediction, Prompt
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
    """transformers' session on a clip, driven as its processor would; low-res logits and scores come out."""

    def __init__(self, model: Sam2VideoModel, frames: Tensor, size: tuple[int, int]) -> None:
        self.model = model
        self.session = Sam2VideoInferenceSession(
            video=frames, video_height=size[0], video_width=size[1], dtype=torch.float32
        )
        self.scale = torch.tensor([model.image_size / size[1], model.image_size / size[0]])

    def prompt(self, frame: int, id: int, prompt: Prompt) -> MaskPrediction:
        session = self.session
        index = session.obj_id_to_idx(id)
        if prompt.mask is not None:
            mask = torch.from_numpy(prompt.mask)[None, None].float()
            side = (self.model.image_size,) * 2
            square = torch.nn.functional.interpolate(mask, side, mode="bilinear", antialias=True)
            session.add_mask_inputs(index, frame, (square >= 0.5).float())
        else:
            points, labels = clicks(prompt)
            if prompt.box is not None:
                points = torch.cat([torch.tensor(prompt.box).reshape(2, 2), points])
                labels = torch.cat([torch.tensor([2, 3], dtype=torch.int32), labels])
            inputs = {"point_coords": (points * self.scale)[None, None], "point_labels": labels[None, None]}
            session.add_point_inputs(index, frame, inputs)
        session.obj_with_new_inputs = [id]
        return self._read(self.model(session, frame_idx=frame), id)

    def propagate(
        self, start: int | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[int, dict[int, MaskPrediction]]]:
        for seen in self.model.propagate_in_video_iterator(self.session, start, reverse=reverse):
            yield seen.frame_idx, {id: self._read(seen, id) for id in seen.object_ids}

    def _read(self, seen: object, id: int) -> MaskPrediction:
        row = seen.object_ids.index(id)
        outputs = self.session.output_dict_per_obj[self.session.obj_id_to_idx(id)]
        frame = seen.frame_idx
        kept = outputs["cond_frame_outputs"].get(frame) or outputs["non_cond_frame_outputs"][frame]
        return MaskPrediction(
            logits=seen.pred_masks[row],
            iou=torch.full((1,), torch.nan),  # its videos do not tell
            pointer=kept["object_pointer"][0],
            score=seen.object_score_logits[row].reshape(1),
        )
