"""The mask decoder: a two-way transformer between tokens and image.

Segment Anything, app. A; SAM 2, app. D.1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from masklet.config import Sam2Config
from masklet.nn.layers import MLP, Attention, LayerNorm2d

HEADS = 8
MASKS = 4  # one for an unambiguous prompt, then three candidates


AttentionFunction = Callable[[Attention, Tensor, Tensor, Tensor], Tensor]  # layer, queries, keys, values


def attend_as_published(
    attention: Attention, q: Float[Tensor, "b n c"], k: Float[Tensor, "b m c"], v: Float[Tensor, "b m c"]
) -> Float[Tensor, "b n c"]:
    """Projects queries, keys and values, then attends. A backend may use another order of products."""
    x: Tensor = attention(q, k, v)
    return x


class TwoWayBlock(nn.Module):
    """Self-attention of tokens, attention to the image, an MLP, and attention of the image to the tokens.

    Args:
        first: In the first block, tokens equal the prompt, which is then not added to itself.
    """

    def __init__(self, width: int, hidden: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attention = Attention(width, HEADS)
        self.norm1 = nn.LayerNorm(width)
        self.to_image = Attention(width, HEADS, inner=width // 2)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP((width, hidden, width))
        self.norm3 = nn.LayerNorm(width)
        self.to_tokens = Attention(width, HEADS, inner=width // 2)
        self.norm4 = nn.LayerNorm(width)

    def forward(
        self,
        tokens: Float[Tensor, "b n c"],
        image: Float[Tensor, "b hw c"],
        prompt: Float[Tensor, "b n c"],
        position: Float[Tensor, "hw c"],
        attend_to_image: AttentionFunction = attend_as_published,
        attend_to_tokens: AttentionFunction = attend_as_published,
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b hw c"]]:
        """prompt and position are added to queries and keys, not to values."""
        if self.first:
            tokens = self.self_attention(tokens, tokens, tokens)
        else:
            q = tokens + prompt
            tokens = tokens + self.self_attention(q, q, tokens)
        tokens = self.norm1(tokens)
        placed = image + position
        tokens = self.norm2(tokens + attend_to_image(self.to_image, tokens + prompt, placed, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + attend_to_tokens(self.to_tokens, placed, tokens + prompt, tokens))
        return tokens, image


class MaskDecoder(nn.Module):
    """Decodes context and prompt to four masks, their predicted IoU, their object pointers, and one object
    score."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        c = config.channels
        self.score_token = nn.Embedding(1, c)
        self.iou_token = nn.Embedding(1, c)
        self.mask_tokens = nn.Embedding(MASKS, c)
        self.blocks = nn.ModuleList(TwoWayBlock(c, config.feedforward, first=i == 0) for i in range(2))
        self.to_image = Attention(c, HEADS, inner=c // 2)
        self.norm = nn.LayerNorm(c)

        self.up1 = nn.ConvTranspose2d(c, c // 4, kernel_size=2, stride=2)
        self.up_norm = LayerNorm2d(c // 4)
        self.up2 = nn.ConvTranspose2d(c // 4, c // 8, kernel_size=2, stride=2)
        self.gelu = nn.GELU()

        self.mask_heads = nn.ModuleList(MLP((c, c, c, c // 8)) for _ in range(MASKS))
        self.iou_head = MLP((c, 256, 256, MASKS))
        self.score_head = MLP((c, c, c, 1))
        self.pointer_head = MLP((c, c, c, c))
        self.absent_pointer = nn.Parameter(torch.zeros(1, c))

    def forward(
        self,
        context: Float[Tensor, "b c h w"],
        tokens: Float[Tensor, "b q c"],
        dense: Float[Tensor, "#b c #h #w"],
        position: Float[Tensor, "hw c"],
        middle: Float[Tensor, "#b c2 h2 w2"],
        fine: Float[Tensor, "#b c4 h4 w4"],
    ) -> tuple[Float[Tensor, "b 4 h4 w4"], Float[Tensor, "b 4"], Float[Tensor, "b 4 c"], Float[Tensor, " b"]]:
        x, image = self.compare(context + dense, tokens, position)
        weights, iou, pointers, score = self.read_tokens(x)
        return self.upscale(image, middle, fine, weights), iou, pointers, score

    def compare(
        self,
        image: Float[Tensor, "b c h w"],
        tokens: Float[Tensor, "b q c"],
        position: Float[Tensor, "hw c"],
        attend_to_image: AttentionFunction = attend_as_published,
        attend_to_tokens: AttentionFunction = attend_as_published,
    ) -> tuple[Float[Tensor, "b 6 c"], Float[Tensor, "b h w c"]]:
        """The two-way transformer. Returns the decoder's own tokens (score, IoU and masks) and the map."""
        b, _, h, w = image.shape
        own = torch.cat([self.score_token.weight, self.iou_token.weight, self.mask_tokens.weight])
        prompt = torch.cat([own.expand(b, -1, -1), tokens], dim=1)
        x, cells = prompt, image.flatten(2).transpose(1, 2)
        for block in self.blocks:
            x, cells = block(x, cells, prompt, position, attend_to_image, attend_to_tokens)
        x = self.norm(x + attend_to_image(self.to_image, x + prompt, cells + position, cells))
        return x[:, : len(own)], cells.unflatten(1, (h, w))

    def read_tokens(
        self, x: Float[Tensor, "b 6 c"]
    ) -> tuple[Float[Tensor, "b 4 c4"], Float[Tensor, "b 4"], Float[Tensor, "b 4 c"], Float[Tensor, " b"]]:
        """The outputs of the decoder's own tokens: weights of the masks, predicted IoU, pointers, object
        score."""
        score, iou, masks = x[:, 0], x[:, 1], x[:, 2:]
        weights = torch.stack([head(masks[:, i]) for i, head in enumerate(self.mask_heads)], dim=1)
        return weights, self.iou_head(iou).sigmoid(), self.pointer_head(masks), self.score_head(score)[:, 0]

    def upscale(
        self,
        image: Float[Tensor, "b h w c"],
        middle: Float[Tensor, "#b c2 h2 w2"],
        fine: Float[Tensor, "#b c4 h4 w4"],
        weights: Float[Tensor, "b m c4"],
    ) -> Float[Tensor, "b m h4 w4"]:
        """Upscale the map twice by two, add the encoder's finer maps, and weight its channels for each
        mask."""
        up = transposed_conv(self.up1, image) + middle.permute(0, 2, 3, 1)
        up = self.gelu(self.up_norm(up.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        up = self.gelu(transposed_conv(self.up2, up) + fine.permute(0, 2, 3, 1))
        return (weights @ up.flatten(1, 2).transpose(1, 2)).unflatten(-1, up.shape[1:3])

    def pointers(
        self, pointers: Float[Tensor, "b m c"], score: Float[Tensor, " b"]
    ) -> Float[Tensor, "b m c"]:
        """If the object is absent, its pointer is the learned one for absent objects."""
        return torch.where((score > 0)[:, None, None], pointers, self.absent_pointer)


def transposed_conv(up: nn.ConvTranspose2d, x: Float[Tensor, "b h w i"]) -> Float[Tensor, "b h2 w2 o"]:
    """A transposed convolution with kernel and stride 2, channels last: a linear layer and a reshape."""
    cells = F.linear(x, *as_linear(up)).unflatten(-1, (2, 2, -1))  # (b, h, w, 2, 2, o)
    return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def as_linear(up: nn.ConvTranspose2d) -> tuple[Float[Tensor, "four_o i"], Float[Tensor, " four_o"]]:
    """Its weight and bias as those of a linear layer from one cell to four, row by row."""
    assert up.bias is not None
    return up.weight.permute(2, 3, 1, 0).flatten(0, 2), up.bias.repeat(4)
