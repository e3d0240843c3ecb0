"""The names of SAM 2's tensors in other layouts, and the conversion in both directions.

One table for each foreign layout, read in both directions: a loaded checkpoint can be saved back completely.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

Weights = dict[str, Tensor]

# Ours on the left, theirs on the right; `#` is any number, braces list several names, `.weight` and `.bias`
# are kept. A line with `=` sets the prefix of the names below it.
_ORIGINAL = """
image_encoder.trunk. = image_encoder.trunk.
    position                                  pos_embed
    window_position                           pos_embed_window
    patch                                     patch_embed.proj
    blocks.#.norm{1,2}                        blocks.#.norm{1,2}
    blocks.#.attention.{qkv,out}              blocks.#.attn.{qkv,proj}
    blocks.#.mlp.layers.#                     blocks.#.mlp.layers.#
    blocks.#.shortcut                         blocks.#.proj
image_encoder. =
    lateral.{0,1,2,3}                         image_encoder.neck.convs.{3,2,1,0}.conv
    {to_middle,to_fine}                       sam_mask_decoder.{conv_s1,conv_s0}
prompt_encoder. = sam_prompt_encoder.
    frequencies                               pe_layer.positional_encoding_gaussian_matrix
    labels.{0,1,2,3}                          point_embeddings.{0,1,2,3}
    {padding,no_hint}                         {not_a_point_embed,no_mask_embed}
    hint.#                                    mask_downscaling.#
mask_decoder. = sam_mask_decoder.
    {score_token,iou_token,mask_tokens}       {obj_score_token,iou_token,mask_tokens}
    blocks.#.self_attention.{q,k,v,out}       transformer.layers.#.self_attn.{q,k,v,out}_proj
    blocks.#.to_image.{q,k,v,out}             transformer.layers.#.cross_attn_token_to_image.{q,k,v,out}_proj
    blocks.#.to_tokens.{q,k,v,out}            transformer.layers.#.cross_attn_image_to_token.{q,k,v,out}_proj
    blocks.#.norm{1,2,3,4}                    transformer.layers.#.norm{1,2,3,4}
    blocks.#.mlp.layers.#                     transformer.layers.#.mlp.layers.#
    to_image.{q,k,v,out}                      transformer.final_attn_token_to_image.{q,k,v,out}_proj
    norm                                      transformer.norm_final_attn
    {up1,up_norm,up2}                         output_upscaling.{0,1,3}
    mask_heads.#.layers.#                     output_hypernetworks_mlps.#.layers.#
    {iou_head,score_head}.layers.#            {iou_prediction_head,pred_obj_score_head}.layers.#
memory_attention. = memory_attention.
    layers.#.self_attention.{q,k,v,out}       layers.#.self_attn.{q,k,v,out}_proj
    layers.#.memory_attention.{q,k,v,out}     layers.#.cross_attn_image.{q,k,v,out}_proj
    layers.#.norm{1,2,3}                      layers.#.norm{1,2,3}
    layers.#.linear{1,2}                      layers.#.linear{1,2}
    norm                                      norm
memory_encoder. = memory_encoder.
    mask.#                                    mask_downsampler.encoder.#
    {features,out}                            {pix_feat_proj,out_proj}
    fuser.#.{scale,depthwise,norm}            fuser.layers.#.{gamma,dwconv,norm}
    fuser.#.mlp.layers.{0,1}                  fuser.layers.#.pwconv{1,2}
=
    prompt_encoder.mask_to_hint               mask_downsample
    mask_decoder.absent_pointer               no_obj_ptr
    mask_decoder.pointer_head.layers.#        obj_ptr_proj.layers.#
    memory_attention.age                      maskmem_tpos_enc
    memory_attention.no_memory                no_mem_embed
    memory_attention.no_memory_position       no_mem_pos_enc
    memory_attention.pointer_age              obj_ptr_tpos_proj
    memory_encoder.absent                     no_obj_embed_spatial
"""

_TRANSFORMERS = """
image_encoder.trunk. = vision_encoder.backbone.
    position                                  pos_embed
    window_position                           pos_embed_window
    patch                                     patch_embed.projection
    blocks.#.norm{1,2}                        blocks.#.layer_norm{1,2}
    blocks.#.attention.{qkv,out}              blocks.#.attn.{qkv,proj}
    blocks.#.mlp.layers.{0,1}                 blocks.#.mlp.{proj_in,proj_out}
    blocks.#.shortcut                         blocks.#.proj
image_encoder. =
    lateral.{0,1,2,3}                         vision_encoder.neck.convs.{3,2,1,0}
    {to_middle,to_fine}                       mask_decoder.{conv_s1,conv_s0}
prompt_encoder. = prompt_encoder.
    frequencies                               shared_embedding.positional_embedding
    {labels,padding,no_hint}                  {point_embed,not_a_point_embed,no_mask_embed}
    hint.{0,1,3,4,6}                          mask_embed.{conv1,layer_norm1,conv2,layer_norm2,conv3}
mask_decoder. = mask_decoder.
    {score_token,iou_token,mask_tokens}       {obj_score_token,iou_token,mask_tokens}
    blocks.#.self_attention.{q,k,v,out}       transformer.layers.#.self_attn.{q,k,v,o}_proj
    blocks.#.to_image.{q,k,v,out}             transformer.layers.#.cross_attn_token_to_image.{q,k,v,o}_proj
    blocks.#.to_tokens.{q,k,v,out}            transformer.layers.#.cross_attn_image_to_token.{q,k,v,o}_proj
    blocks.#.norm{1,2,3,4}                    transformer.layers.#.layer_norm{1,2,3,4}
    blocks.#.mlp.layers.{0,1}                 transformer.layers.#.mlp.{proj_in,proj_out}
    to_image.{q,k,v,out}                      transformer.final_attn_token_to_image.{q,k,v,o}_proj
    norm                                      transformer.layer_norm_final_attn
    {up1,up_norm,up2}                         {upscale_conv1,upscale_layer_norm,upscale_conv2}
    mask_heads.#.layers.{0,1,2}               output_hypernetworks_mlps.#.{proj_in,layers.0,proj_out}
    iou_head.layers.{0,1,2}                   iou_prediction_head.{proj_in,layers.0,proj_out}
    score_head.layers.{0,1,2}                 pred_obj_score_head.{proj_in,layers.0,proj_out}
memory_attention. = memory_attention.
    layers.#.self_attention.{q,k,v,out}       layers.#.self_attn.{q,k,v,o}_proj
    layers.#.memory_attention.{q,k,v,out}     layers.#.cross_attn_image.{q,k,v,o}_proj
    layers.#.norm{1,2,3}                      layers.#.layer_norm{1,2,3}
    layers.#.linear{1,2}                      layers.#.linear{1,2}
    norm                                      layer_norm
memory_encoder. = memory_encoder.
    mask.{0,3,6,9}                            mask_downsampler.layers.{0,1,2,3}.conv
    mask.{1,4,7,10}                           mask_downsampler.layers.{0,1,2,3}.layer_norm
    mask.12                                   mask_downsampler.final_conv
    {features,out}                            {feature_projection,projection}
    fuser.#.{scale,depthwise,norm}            memory_fuser.layers.#.{scale,depthwise_conv,layer_norm}
    fuser.#.mlp.layers.{0,1}                  memory_fuser.layers.#.pointwise_conv{1,2}
=
    prompt_encoder.mask_to_hint               mask_downsample
    mask_decoder.absent_pointer               no_object_pointer
    mask_decoder.pointer_head.layers.{0,1,2}  object_pointer_proj.{proj_in,layers.0,proj_out}
    memory_attention.age                      memory_temporal_positional_encoding
    memory_attention.no_memory                no_memory_embedding
    memory_attention.no_memory_position       no_memory_positional_encoding
    memory_attention.pointer_age              temporal_positional_encoding_projection_layer
    memory_encoder.absent                     occlusion_spatial_embedding_parameter
"""


@dataclass(frozen=True)
class Layout:
    """One naming scheme of the tensors.

    Attributes:
        sign: A file with a key that starts with this, or one of these, is in this layout.
        table: Our names and theirs; our own layout needs none.
    """

    name: str
    sign: str | tuple[str, ...]
    table: str = ""

    @cached_property
    def _to_ours(self) -> list[tuple[re.Pattern[str], str]]:
        return [_rule(theirs, ours) for ours, theirs in _rows(self.table)]

    @cached_property
    def _to_theirs(self) -> list[tuple[re.Pattern[str], str]]:
        return [_rule(ours, theirs) for ours, theirs in _rows(self.table)]

    def ours(self, key: str) -> str:
        """Our name for one of their keys; a key that is not in the table is not changed."""
        return _renamed(key, self._to_ours)

    def theirs(self, key: str) -> str:
        """Their name for one of our keys."""
        return _renamed(key, self._to_theirs)


def _rows(table: str) -> Iterator[tuple[str, str]]:
    """The table's rows with prefixes added and braces expanded."""
    begin = ("", "")
    for line in table.strip().splitlines():
        if "=" in line:
            ours, theirs = line.split("=")
            begin = (ours.strip(), theirs.strip())
        else:
            ours, theirs = line.split()
            yield from zip(_expand(begin[0] + ours), _expand(begin[1] + theirs), strict=True)


def _expand(name: str) -> list[str]:
    before, brace, rest = name.partition("{")
    choices, _, after = rest.partition("}")
    return [before + choice + after for choice in choices.split(",")] if brace else [name]


def _rule(source: str, target: str) -> tuple[re.Pattern[str], str]:
    pattern = re.escape(source).replace(re.escape("#"), r"(\d+)") + r"(|\.weight|\.bias)"
    return re.compile(pattern), target.replace("#", "{}") + "{}"


def _renamed(key: str, rules: list[tuple[re.Pattern[str], str]]) -> str:
    for pattern, target in rules:
        if match := pattern.fullmatch(key):
            return target.format(*match.groups())
    return key


MASKLET = Layout("masklet", ("image_encoder.trunk.patch.", "image_encoder.trunk.stem."))
ORIGINAL = Layout("original", "image_encoder.trunk.patch_embed.", _ORIGINAL)
TRANSFORMERS = Layout("transformers", "vision_encoder.backbone.patch_embed.", _TRANSFORMERS)
LAYOUTS = {layout.name: layout for layout in (MASKLET, ORIGINAL, TRANSFORMERS)}

LABELS = "prompt_encoder.labels"  # one table of four rows; in the original four tables
FREQUENCIES = "prompt_encoder.frequencies"
TWIN = "shared_image_embedding.positional_embedding"  # transformers stores the frequencies twice
# Published with axes of length 1 that ours do not have.
NARROW = {
    "memory_attention.age": (1, 2),
    "memory_attention.no_memory": (0, 1),
    "memory_attention.no_memory_position": (0, 1),
}


def to_ours(weights: Weights, layout: Layout) -> Weights:
    """Rename and reshape. Tensors that are in no table keep their names, and are reported as unexpected
    later."""
    if layout is MASKLET:
        return weights
    ours = {layout.ours(key): tensor for key, tensor in weights.items()}
    for key, axes in NARROW.items():
        if key in ours:
            ours[key] = ours[key].squeeze(axes)
    rows = [f"{LABELS}.{row}.weight" for row in range(4)]
    if layout is ORIGINAL and set(rows) <= set(ours):
        ours[f"{LABELS}.weight"] = torch.cat([ours.pop(row) for row in rows])
    if layout is TRANSFORMERS and TWIN in ours:
        twin = ours.pop(TWIN)
        if not torch.equal(ours.setdefault(FREQUENCIES, twin), twin):
            ours[TWIN] = twin  # not a copy after all: unexpected
    return ours


def to_theirs(weights: Weights, layout: Layout) -> Weights:
    """The reverse: all tensors with the names and shapes of the layout."""
    if layout is MASKLET:
        return weights
    theirs = dict(weights)
    for key, (first, second) in NARROW.items():
        theirs[key] = theirs[key].unsqueeze(first).unsqueeze(second)
    if layout is ORIGINAL:
        rows = theirs.pop(f"{LABELS}.weight").split(1)
        theirs |= {f"{LABELS}.{row}.weight": tensor for row, tensor in enumerate(rows)}
    if layout is TRANSFORMERS:
        theirs[TWIN] = theirs[FREQUENCIES].clone()
    return {layout.theirs(key): tensor for key, tensor in theirs.items()}
