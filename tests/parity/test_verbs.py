"""The five verbs, one by one, against the pieces of the original that do the same."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from masklet import FrameFeatures, MaskPrediction, Memory, MemoryBank, Recency
from masklet.transforms import frame_to_square
from masklet.types import MemorySelection
from parity.agreement import relative
from parity.trio import Trio
from parity.weights import clip

NEAR = 2e-5  # of the largest value; what float32 leaves after some layers

CLICK = ([[20.0, 30.0]], [1])
CLICKS = ([[20.0, 30.0], [40.0, 41.0]], [1, 0])
BOX = ([[8.0, 9.0], [40.0, 51.0]], [2, 3])
BOX_AND_CLICK = ([[8.0, 9.0], [40.0, 51.0], [20.0, 30.0]], [2, 3, 0])


@pytest.fixture
def image(trio: Trio) -> Tensor:
    return torch.cat([frame_to_square(frame, trio.ours.config.image_size) for frame in clip(2)])


@pytest.fixture
def features(trio: Trio, image: Tensor) -> FrameFeatures:
    return trio.ours.encode(image)


def tokens(maps: Tensor) -> Tensor:
    """(b, c, h, w) as the original passes maps on, (h w, b, c)."""
    return maps.flatten(2).permute(2, 0, 1)


def test_encode(trio: Trio, image: Tensor, features: FrameFeatures) -> None:
    fine, middle, coarse = trio.original.forward_image(image)["backbone_fpn"]
    assert relative(features.coarse, coarse) < NEAR
    assert relative(features.middle, middle) < NEAR
    assert relative(features.fine, fine) < NEAR


def test_encode_like_transformers(trio: Trio, image: Tensor, features: FrameFeatures) -> None:
    maps = trio.transformers.get_image_features(image).fpn_hidden_states
    for mine, theirs in zip((features.fine, features.middle, features.coarse), maps, strict=True):
        assert relative(tokens(mine), theirs) < NEAR


@pytest.mark.parametrize("hinted", [False, True], ids=["", "hint"])
@pytest.mark.parametrize("prompt", [None, CLICK, CLICKS, BOX, BOX_AND_CLICK], ids=str)
def test_decode(
    trio: Trio, features: FrameFeatures, prompt: tuple[list[list[float]], list[int]] | None, hinted: bool
) -> None:
    """Both candidates' counts; both images have their own context, as objects in a video do."""
    hint = 6 * torch.randn(2, 1, 16, 16) if hinted else None
    context = features.coarse + torch.randn_like(features.coarse)
    points = labels = None
    if prompt is not None:
        points = torch.tensor([prompt[0], [[x + 3, y - 2] for x, y in prompt[0]]])
        labels = torch.tensor([prompt[1]] * 2)
    told = None if points is None else {"point_coords": points, "point_labels": labels}
    for candidates in (1, 3):
        masks, _, iou, _, _, pointer, score = trio.original._forward_sam_heads(
            context, told, hint, [features.fine, features.middle], multimask_output=candidates == 3
        )
        mine = trio.ours.decode(
            features, context, points, labels, None if hint is None else hint[:, 0], candidates=candidates
        )
        there = (score > 0)[..., None, None]
        assert relative(torch.where(there, mine.logits, -1024.0), masks) < NEAR
        assert relative(mine.iou, iou) < NEAR
        assert (mine.score[:, None] - score).abs().max() < 1e-4
        assert relative(mine.pick(mine.iou.argmax(dim=1)).pointer, pointer) < NEAR


def test_a_wavering_single_mask_gives_way_to_the_best_candidate(
    trio: Trio, features: FrameFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threshold is put where half of the masks waver; at the real one all of a random network do."""
    decoder, prompts = trio.original.sam_mask_decoder, trio.original.sam_prompt_encoder
    context = features.coarse + torch.randn(40, 2, *features.coarse.shape[1:])
    points, labels = 64 * torch.rand(40, 2, 2, 2), torch.tensor([[1, 0]] * 2)
    high = [features.fine, features.middle]

    def run(context: Tensor, points: Tensor, *, whole: bool) -> tuple[Tensor, Tensor]:
        sparse, dense = prompts((points, labels), None, None)
        decode = decoder.predict_masks if whole else decoder
        told = {} if whole else {"multimask_output": False}
        position = prompts.get_dense_pe()
        return decode(context, position, sparse, dense, repeat_image=False, high_res_features=high, **told)[
            :2
        ]

    masks = torch.cat([run(*case, whole=True)[0][:, 0] for case in zip(context, points, strict=True)])
    threshold = decoder._get_stability_scores(masks).median().item()
    monkeypatch.setattr(decoder, "dynamic_multimask_stability_thresh", threshold)
    monkeypatch.setattr("masklet.model.STABLE_RATIO", threshold)
    for case in zip(context, points, strict=True):
        logits, iou = run(*case, whole=False)
        mine = trio.ours.decode(features, *case, labels, candidates=1)
        assert relative(mine.logits, logits) < NEAR
        assert relative(mine.iou, iou) < NEAR


def test_adopt(trio: Trio, features: FrameFeatures) -> None:
    masks = torch.zeros(2, 64, 64)
    masks[0, 10:41, 20:55] = 1  # the other stays empty: the object is absent
    theirs = trio.original._use_mask_as_output(
        features.coarse, [features.fine, features.middle], masks[:, None]
    )
    _, _, iou, logits, _, pointer, score = theirs
    mine = trio.ours.adopt(features, masks)
    assert relative(mine.logits, logits[:, 0]) < NEAR
    assert relative(mine.iou, iou[:, 0]) < NEAR
    assert relative(mine.pointer, pointer) < NEAR
    assert torch.equal(mine.score, score[:, 0])


@pytest.mark.parametrize("binary", [False, True])
def test_memorize(trio: Trio, features: FrameFeatures, binary: bool) -> None:
    logits, score = 5 * torch.randn(2, 16, 16), torch.tensor([3.0, -3.0])
    large = F.interpolate(logits[:, None], (64, 64), mode="bilinear")
    theirs, _ = trio.original._encode_new_memory(
        [tokens(features.coarse)], [(4, 4)], large, score[:, None], binary
    )
    prediction = MaskPrediction(logits, score, torch.zeros(2, 32), score)
    mine = trio.ours.memorize(features, prediction, binary=binary)
    assert relative(mine, theirs.flatten(2).transpose(1, 2)) < NEAR


class TestAttend:
    """What the memory bank selections, and what attention makes of it."""

    PROMPTED = (0, 9)

    def remember(self, trio: Trio) -> tuple[dict[str, dict[int, object]], MemoryBank]:
        """The same made-up memories on frames 0 to 9 and 12, for both."""
        config = trio.ours.config
        like = torch.zeros(1, config.memory_channels, 4, 4)
        position = trio.original.memory_encoder.position_encoding(like)
        theirs: dict[str, dict[int, object]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        bank = MemoryBank(None)
        for frame in (*range(10), 12):
            maps = torch.randn(1, config.memory_channels, 4, 4).bfloat16()
            pointer = torch.randn(1, config.channels)
            prompted = frame in self.PROMPTED
            # In float32 again, or the original fails where there is no pointer whose type wins.
            kept = {"maskmem_features": maps.float(), "maskmem_pos_enc": [position], "obj_ptr": pointer}
            theirs["cond_frame_outputs" if prompted else "non_cond_frame_outputs"][frame] = kept
            number = torch.tensor(1.0)
            bank.keep(Memory(frame, maps.flatten(2)[0].T, pointer[0], number, number, prompted))
        return theirs, bank

    @pytest.mark.parametrize("length", [14, 40])
    @pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
    @pytest.mark.parametrize("frame", [0, 1, 4, 9, 10, 13])
    def test_attend(
        self, trio: Trio, features: FrameFeatures, image: Tensor, frame: int, reverse: bool, length: int
    ) -> None:
        theirs, bank = self.remember(trio)
        coarse = features.coarse[:1]
        position = trio.original.image_encoder(image[:1])["vision_pos_enc"][-1]
        context = trio.original._prepare_memory_conditioned_features(
            frame_idx=frame,
            is_init_cond_frame=False,
            current_vision_feats=[tokens(coarse)],
            current_vision_pos_embeds=[tokens(position)],
            feat_sizes=[(4, 4)],
            output_dict=theirs,
            num_frames=length,
            track_in_reverse=reverse,
        )
        selection = Recency().select_memories(bank, frame, reverse=reverse, clip_length=length)
        alone = FrameFeatures(*(part[:1] for part in features))
        assert relative(trio.ours.attend(alone, [selection]), context) < NEAR

    def test_memories_are_looked_at(self, trio: Trio, features: FrameFeatures) -> None:
        """Or the test above would prove nothing."""
        _, bank = self.remember(trio)
        alone = FrameFeatures(*(part[:1] for part in features))
        selections = [
            Recency().select_memories(bank, frame, reverse=False, clip_length=40) for frame in (10, 13)
        ]
        here, later = (trio.ours.attend(alone, [selection]) for selection in selections)
        assert relative(here, later) > 0.01

    def test_without_memory(self, trio: Trio, features: FrameFeatures) -> None:
        theirs = tokens(features.coarse) + trio.original.no_mem_embed
        assert relative(tokens(trio.ours.attend(features, [MemorySelection()] * 2)), theirs) < NEAR
