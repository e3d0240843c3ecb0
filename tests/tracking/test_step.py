"""What a prompt asks of the model, and which objects run as one."""

from __future__ import annotations

import pytest
import torch

from masklet.tracking.bank import MemoryBank
from masklet.tracking.step import BATCH, EncodedPrompt, TrackedObject, looks, track_frame
from masklet.types import Prompt
from toys import SIZE, Fake, blob, click


@pytest.fixture
def fake() -> Fake:
    return Fake()


def ask(fake: Fake, prompt: Prompt, hint: torch.Tensor | None = None, *, alone: bool = True) -> EncodedPrompt:
    return EncodedPrompt.of(prompt, SIZE, fake, hint, alone=alone)


def objects(count: int) -> dict[int, TrackedObject]:
    return {id: TrackedObject(id, MemoryBank()) for id in range(1, count + 1)}


def test_a_mask_alone_is_the_answer(fake: Fake) -> None:
    asked = ask(fake, Prompt(mask=blob()))
    assert asked.mask is not None and asked.mask.shape == (1, 64, 64) and asked.points.shape[1] == 0


def test_clicks_start_from_a_mask_that_comes_with_them(fake: Fake) -> None:
    asked = ask(fake, Prompt(mask=blob()) | click())
    assert asked.mask is None and asked.hint is not None and asked.hint.shape == (1, 16, 16)
    assert asked.hint[0, 6, 6] > 0 > asked.hint[0, 0, 0]
    standing = torch.ones(1, 16, 16)
    again = ask(fake, Prompt(mask=blob()) | click(), standing)
    assert again.hint is not None and torch.equal(again.hint, standing), "what stands there is newer"


def test_hints_are_clamped(fake: Fake) -> None:
    asked = ask(fake, click(), torch.tensor([-1024.0, 5.0, 99.0]).expand(1, 3, 3))
    assert asked.hint is not None and asked.hint[0, 0].tolist() == [-32, 5, 32]


def test_only_alike_objects_run_as_one(fake: Fake) -> None:
    known = objects(6)
    features = fake.encode(torch.zeros(1, 3, 64, 64))
    first = {id: ask(fake, click()) for id in known}
    track_frame(fake, features, 0, list(known.values()), first)
    track_frame(fake, features, 1, [known[1], known[2]])
    asks = {
        3: ask(fake, click(), alone=False),
        4: ask(fake, click(), alone=False),
        5: ask(fake, Prompt(mask=blob()), alone=False),
        6: ask(fake, Prompt(box=(1, 1, 9, 9)), alone=False),
    }
    groups = [[look.object.id for look in batch] for batch in looks(2, list(known.values()), asks)]
    assert sorted(groups) == [[1, 2], [3, 4], [5], [6]]


def test_many_objects_run_in_batches(fake: Fake) -> None:
    many = list(objects(2 * BATCH + 1).values())
    sizes = [len(batch) for batch in looks(0, many, {})]
    assert sizes == [BATCH, BATCH, 1]


def test_alone_means_without_memory(fake: Fake) -> None:
    [each] = objects(1).values()
    features = fake.encode(torch.zeros(1, 3, 64, 64))
    track_frame(fake, features, 0, [each], {1: ask(fake, click())})
    [[look]] = looks(1, [each], {1: ask(fake, click(), alone=True)})
    assert look.selection.spatial == ()
    [[look]] = looks(1, [each], {1: ask(fake, click(), alone=False)})
    assert [memory.frame for _, memory in look.selection.spatial] == [0]


def test_what_was_asked_is_remembered_as_prompted(fake: Fake) -> None:
    known = objects(2)
    features = fake.encode(torch.zeros(1, 3, 64, 64))
    for frame, asked in enumerate([{1, 2}, set(), {2}]):
        track_frame(fake, features, frame, list(known.values()), {id: ask(fake, click()) for id in asked})
    banks = [each.bank for each in known.values()]
    assert [(list(bank.prompted), list(bank.tracked)) for bank in banks] == [([0], [1, 2]), ([0, 2], [1])]
    for each in known.values():
        assert each.last is not None and each.last.logits.shape == (1, 16, 16)
