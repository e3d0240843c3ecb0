"""Measures the cost of memory policies: milliseconds per frame, without encoding, which all share.

    python -m benchmarks.policies

Times are processor times of one thread, so that other work on the machine does not count. How often
`sam2long` branches depends on the weights; the last column is the number of hypotheses.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

import masklet
from masklet.synthetic.suites import cuts
from masklet.tracking.bank import MemoryBank
from masklet.tracking.multi_hypothesis import Offer, track_objects
from masklet.tracking.policies import POLICIES, find_policy
from masklet.tracking.policies.sam2long import HYPOTHESES, Sam2Long
from masklet.tracking.step import EncodedFrame, EncodedPrompt, TrackedObject
from masklet.transforms import frame_to_square
from masklet.types import tight_boxes

OBJECTS = (1, 5)
WARM_UP = 17  # frames until the memory is full


class AlwaysBranching(Sam2Long):
    """A policy whose hypotheses branch on every frame, which is its highest cost."""

    def select_hypotheses(self, offers: Sequence[Offer]) -> list[tuple[int, int, float]]:
        return [(number % len(offers), number, float(number)) for number in range(HYPOTHESES)]


def main() -> None:
    torch.set_num_threads(1)
    model = masklet.load(device="cpu", setting="balanced")
    clip = cuts(np.random.default_rng([2, 1]))
    images = clip.images[:16].repeat(3, axis=0)  # one scene, slowed down
    side = model.config.image_size
    started = time.process_time()
    with torch.inference_mode():
        features = [model.encode(frame_to_square(image, side)) for image in images]
    print(f"encode: {1000 * (time.process_time() - started) / len(images):.1f} ms a frame")
    for count in OBJECTS:
        makers = {name: find_policy(name) for name in POLICIES}
        for name, make in (makers | {"sam2long, always branching": AlwaysBranching}).items():
            boxes = tight_boxes(torch.from_numpy(clip.masks[0, :count]))
            objects = [TrackedObject(id, MemoryBank(make().capacity), make()) for id in range(1, count + 1)]
            prompts = {
                obj.id: EncodedPrompt.of(masklet.Prompt(box=tuple(box)), images.shape[1:3], model)
                for obj, box in zip(objects, boxes.tolist(), strict=True)
            }
            track_objects(model, EncodedFrame(features[0], 0), objects, prompts)
            seconds, batches = [], []
            for frame in range(1, len(features)):
                hypotheses = [getattr(obj.policy, "hypotheses", ()) for obj in objects]
                batches.append(sum(len(dict.fromkeys(some)) or 1 for some in hypotheses))
                started = time.process_time()
                track_objects(model, EncodedFrame(features[frame], frame), objects)
                seconds.append(time.process_time() - started)
            milliseconds = 1000 * float(np.median(seconds[WARM_UP:]))
            several = np.mean(batches[WARM_UP:])
            print(f"{count} objects, {name}: {milliseconds:.1f} ms a frame, {several:.1f} hypotheses")


if __name__ == "__main__":
    main()
