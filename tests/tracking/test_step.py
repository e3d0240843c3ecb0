"""How prompts are encoded, and which objects run in one batch."""

from __future__ import annotations

import pytest
import torch

from masklet.backends.backend import OBJECTS_PER_BATCH
from masklet.sessions.tracker import Tracker
from masklet.tracking.bank import MemoryBank
from masklet.tracking.step import (
    EncodedFrame,
    EncodedPrompt,
    TrackedObject,
    batch_queries,
    encode_frame,
    track_frame,
)
from masklet.types import Prompt
from toy_models import SIZE, Fake, blob, click, clip, toy_network


@pytest.fixture
def fake() -> Fake:
    return Fake()


def encode(
    fake: Fake, prompt: Prompt, hint: torch.Tensor | None = None, *, alone: bool = True
) -> EncodedPrompt:
    return EncodedPrompt.of(prompt, SIZE, fake, hint, alone=alone, adopts=True)


def objects(count: int) -> dict[int, TrackedObject]:
    return {id: TrackedObject(id, MemoryBank()) for id in range(1, count + 1)}


def test_a_mask_alone_is_the_answer(fake: Fake) -> None:
    encoded = encode(fake, Prompt(mask=blob()))
    assert encoded.mask is not None and encoded.mask.shape == (1, 64, 64) and encoded.points.shape[1] == 0


def test_in_an_image_a_mask_alone_is_where_the_model_starts(fake: Fake) -> None:
    """Even if there was another mask before: a mask that a person drew alone is newer."""
    for hint in (None, torch.ones(1, 16, 16)):
        encoded = EncodedPrompt.of(Prompt(mask=blob()), SIZE, fake, hint)
        assert encoded.mask is None and encoded.alone and encoded.points.shape[1] == 0
        assert encoded.hint is not None and encoded.hint[0, 6, 6] > 0 > encoded.hint[0, 0, 0]


def test_clicks_start_from_a_mask_that_comes_with_them(fake: Fake) -> None:
    encoded = encode(fake, Prompt(mask=blob()) | click())
    assert encoded.mask is None and encoded.hint is not None and encoded.hint.shape == (1, 16, 16)
    assert encoded.hint[0, 6, 6] > 0 > encoded.hint[0, 0, 0]
    earlier = torch.ones(1, 16, 16)
    again = encode(fake, Prompt(mask=blob()) | click(), earlier)
    assert again.hint is not None and torch.equal(again.hint, earlier), (
        "a mask that the network made later is newer"
    )


def test_hints_are_clamped(fake: Fake) -> None:
    encoded = encode(fake, click(), torch.tensor([-1024.0, 5.0, 99.0]).expand(1, 3, 3))
    assert encoded.hint is not None and encoded.hint[0, 0].tolist() == [-32, 5, 32]


def test_only_alike_objects_run_as_one(fake: Fake) -> None:
    tracked = objects(6)
    features = fake.encode(torch.zeros(1, 3, 64, 64))
    first = {id: encode(fake, click()) for id in tracked}
    track_frame(fake, EncodedFrame(features, 0), list(tracked.values()), first)
    track_frame(fake, EncodedFrame(features, 1), [tracked[1], tracked[2]])
    prompts = {
        3: encode(fake, click(), alone=False),
        4: encode(fake, click(), alone=False),
        5: encode(fake, Prompt(mask=blob()), alone=False),
        6: encode(fake, Prompt(box=(1, 1, 9, 9)), alone=False),
    }
    groups = [
        [query.object.id for query in batch]
        for batch in batch_queries(
            EncodedFrame(features, 2), list(tracked.values()), prompts, OBJECTS_PER_BATCH
        )
    ]
    assert sorted(groups) == [[1, 2], [3, 4], [5], [6]]


def test_many_objects_run_in_batches(fake: Fake) -> None:
    many = list(objects(2 * OBJECTS_PER_BATCH + 1).values())
    frame = EncodedFrame(fake.encode(torch.zeros(1, 3, 64, 64)), 0)
    sizes = [len(batch) for batch in batch_queries(frame, many, {}, OBJECTS_PER_BATCH)]
    assert sizes == [OBJECTS_PER_BATCH, OBJECTS_PER_BATCH, 1]


def test_alone_means_without_memory(fake: Fake) -> None:
    [obj] = objects(1).values()
    features = fake.encode(torch.zeros(1, 3, 64, 64))
    track_frame(fake, EncodedFrame(features, 0), [obj], {1: encode(fake, click())})
    [[query]] = batch_queries(EncodedFrame(features, 1), [obj], {1: encode(fake, click(), alone=True)}, 1)
    assert query.selection.spatial == ()
    [[query]] = batch_queries(EncodedFrame(features, 1), [obj], {1: encode(fake, click(), alone=False)}, 1)
    assert [memory.frame for _, memory in query.selection.spatial] == [0]


def test_what_was_prompted_is_remembered_as_prompted(fake: Fake) -> None:
    tracked = objects(2)
    features = fake.encode(torch.zeros(1, 3, 64, 64))
    for frame, ids in enumerate([{1, 2}, set(), {2}]):
        track_frame(
            fake,
            EncodedFrame(features, frame),
            list(tracked.values()),
            {id: encode(fake, click()) for id in ids},
        )
    banks = [obj.bank for obj in tracked.values()]
    assert [(list(bank.prompted), list(bank.tracked)) for bank in banks] == [([0], [1, 2]), ([0, 2], [1])]
    for obj in tracked.values():
        assert obj.last is not None and obj.last.logits.shape == (1, 16, 16)


def test_an_object_equals_only_itself(fake: Fake) -> None:
    """Two sessions may have an object of the same id; their tensors are not compared."""
    (one,), (other,) = objects(1).values(), objects(1).values()
    features = fake.encode(torch.zeros(1, 3, 64, 64))
    for obj in (one, other):
        track_frame(fake, EncodedFrame(features, 0), [obj], {1: encode(fake, click())})
    assert one in [one] and one not in [other]


def test_tokens_are_kept_as_the_published_predictor_keeps_them(fake: Fake) -> None:
    [obj] = objects(1).values()
    features = fake.encode(torch.zeros(1, 3, 64, 64))
    track_frame(fake, EncodedFrame(features, 0), [obj], {1: encode(fake, click())})
    track_frame(fake, EncodedFrame(features, 1), [obj])
    memories = [obj.bank.prompted[0], obj.bank.tracked[1]]
    assert [memory.tokens.dtype for memory in memories] == [torch.bfloat16] * 2
    assert [memory.pointer.dtype for memory in memories] == [torch.float32] * 2


@pytest.mark.parametrize(
    ("weights", "memories", "kept"),
    [
        ("float32", "bfloat16", "bfloat16"),
        ("float32", "float32", "float32"),
        ("float16", "bfloat16", "bfloat16"),
        ("float16", "float32", "float16"),
    ],
)
def test_memories_are_rounded_as_the_network_says(weights: str, memories: str, kept: str) -> None:
    """In float32 they are kept as they were computed. Those of one object do not hold those of others."""
    network = toy_network().to(getattr(torch, weights))
    network.memory_dtype = getattr(torch, memories)
    frame = EncodedFrame(encode_frame(network, clip(1)[0]), 0)
    tracked = objects(3)
    prompts = {id: EncodedPrompt.of(click(), SIZE, network) for id in tracked}
    track_frame(network, frame, list(tracked.values()), prompts)
    for obj in tracked.values():
        tokens = obj.bank.prompted[0].tokens
        assert tokens.dtype == getattr(torch, kept)
        assert tokens.untyped_storage().nbytes() == tokens.nbytes


def test_a_bank_of_rounded_memories_goes_on_without_rounding() -> None:
    network, frames = toy_network(), clip(9)
    tracker, expected = Tracker(network), Tracker(network)
    for frame, image in enumerate(frames):
        prompts = {1: click(), 2: Prompt(mask=blob())} if frame == 0 else None
        network.memory_dtype = torch.bfloat16
        right = expected.step(image, prompts)
        network.memory_dtype = torch.bfloat16 if frame < 4 else torch.float32
        masks = tracker.step(image, prompts)
        difference = (masks.low_res - right.low_res).abs().max()
        assert difference == 0 if frame <= 4 else 0 < difference < 0.05
