"""What policies inherit, what they need not inherit, and what the pages say about it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from masklet.sessions.tracker import Tracker, track
from masklet.tracking.bank import MemoryBank
from masklet.tracking.policies.recency import MemoryPolicy, Recency
from masklet.types import MemorySelection
from toy_models import Fake, assert_equal, click, clip, toy_network

REPO = Path(__file__).parents[3]
NAMES = {name for name in vars(MemoryPolicy) if not name.startswith("_")}


class Forgetful(MemoryPolicy):
    def select_memories(
        self, bank: MemoryBank, frame: int, *, reverse: bool, clip_length: int | None
    ) -> MemorySelection:
        return Recency().select_memories(bank, frame, reverse=reverse, clip_length=clip_length)


def test_only_the_selection_of_memories_has_no_default() -> None:
    network, frames = toy_network(), clip(5)
    prompts = {0: {1: click()}}
    for masks, expected in zip(
        track(network, frames, prompts, policy=Forgetful), track(network, frames, prompts), strict=True
    ):
        assert_equal(masks, expected)
    tracker = Tracker(Fake(), policy=MemoryPolicy)
    tracker.step(frames[0], {1: click()})
    with pytest.raises(NotImplementedError, match="MemoryPolicy must override select_memories"):
        tracker.step(frames[1])


DUCK = """
import numpy as np, torch
from masklet import MemorySelection, Prompt, Recency, Sam2, Tracker, VideoSession
from masklet.config import toy

class Duck:
    capacity, present, reads, latency, resumable = 16, 0.0, False, 0, True
    def select_mask(self, candidates):
        return torch.zeros(1, dtype=torch.int64)
    def store(self, bank, memory, candidates):
        bank.keep(memory)
    def select_memories(self, bank, frame, *, reverse, clip_length):
        return MemorySelection(tuple((6, memory) for memory in bank.prompted.values()))

torch.manual_seed(0)
model, frames = Sam2(toy()).eval(), np.zeros((3, 48, 64, 3), dtype=np.uint8)
video, tracker = VideoSession(model, frames, policy=Duck), Tracker(model, policy=Duck)
prompt = Prompt(positive=[(20, 24)])
video.prompt(0, 1, prompt)
stored = [masks for masks in video.propagate()]
live = [tracker.step(frame, {1: prompt} if at == 0 else None) for at, frame in enumerate(frames)]
assert all(torch.allclose(a.low_res, b.low_res) for a, b in zip(stored, live, strict=True))
print(len(live), list(video.tracked[1].bank.tracked))
"""


@pytest.mark.slow
def test_a_policy_need_not_inherit() -> None:
    """In a process of its own, where annotations are not checked."""
    ran = subprocess.run([sys.executable, "-c", DUCK], capture_output=True, text=True)
    assert ran.stdout == "3 [1, 2]\n", ran.stderr


def test_the_pages_name_what_a_policy_has() -> None:
    page = (REPO / "docs" / "policies.md").read_text("utf-8").split("## Write your own policy")[1]
    table = re.findall(r"^\| (.+?) \| (.+?) \|$", page.split("\n## ")[0], re.MULTILINE)
    rows = [row for row in table if row[0].startswith("`")]
    named = {name for row in rows for cell in row for name in re.findall(r"`([a-z_]+)[`(]", cell)}
    assert named == NAMES
    recipe = (
        (REPO / "CONTRIBUTING.md").read_text("utf-8").split("**Add a memory policy.**")[1].split("**Add")[0]
    )
    methods, attributes = re.search(
        r"Override the\nmethods that differ: (.+)\. Set (.+) if they differ", recipe
    ).groups()
    assert {*re.findall(r"`(\w+)`", methods), *re.findall(r"`(\w+)`", attributes)} <= NAMES
