"""Objects that are found without a prompt and followed, frame by frame, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from masklet.auto.detections import Detector
from masklet.auto.grid import Grid
from masklet.auto.newcomers import doubles, newcomers, visible
from masklet.auto.track_records import Lives
from masklet.model import Sam2
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.tracker import Tracker
from masklet.tracking.policies import Policy
from masklet.transforms import frame_to_square
from masklet.types import FrameFeatures, Masks, Prompt


@dataclass(frozen=True)
class Rules:
    """When to look for new objects, and how long to wait for lost ones.

    every : frames from one key frame to the next
    patience : frames after which a lost object is given up
    max_objects : followed at a time
    """

    every: int
    patience: int
    max_objects: int

    def __post_init__(self) -> None:
        for name in ("every", "patience", "max_objects"):
            if (count := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1. Got {count}.")


class Crowd:
    """A tracker whose objects join by themselves.

    source : where newcomers come from: the grid, or a detector
    cuts : see `Tracker`
    kept : takes the encoded frames, for those who come back to them; a stream has none
    """

    def __init__(
        self,
        model: Sam2,
        source: Grid | Detector,
        rules: Rules,
        policy: Policy,
        *,
        cuts: bool = False,
        kept: FeatureCache | None = None,
    ) -> None:
        self.lives = Lives()
        self._model = model
        self._source = source
        self._rules = rules
        self._tracker = Tracker(model, policy=policy, cuts=cuts)
        self._kept = kept
        self._latest: tuple[int, FrameFeatures | None] = -1, None  # the frame that was encoded last
        self._newest: Masks | None = None
        self._next_id = 1

    def step(self, image: UInt8[np.ndarray, "H W 3"]) -> Masks:
        """Take the next frame; on a key frame, objects join that were not followed before."""
        frame = self._tracker.frame
        joining = self._joining(frame, image)
        followed = bool(joining or self._tracker.ids)
        features = self._encoded(frame, image) if followed else None
        masks = self._tracker.step(image, joining, features=features)
        if joining:
            masks = self._without(masks, doubles(masks), frame)
        self.lives.step(masks, visible(masks).tolist())
        masks = self._without(masks, self._given_up(masks), frame)
        self._newest = masks
        return masks

    def _joining(self, frame: int, image: np.ndarray) -> dict[int, Prompt]:
        room = self._rules.max_objects - len(self._tracker.ids)
        if frame % self._rules.every or room < 1:
            return {}
        if isinstance(self._source, Grid):
            features = self._encoded(frame, image)
            prompts = newcomers(self._model, image, features, self._source, self._newest, room)
        else:
            prompts = self._source(frame, (image.shape[0], image.shape[1])) or []
        joining = dict(enumerate(prompts, self._next_id))
        self._next_id += len(joining)
        return joining

    @torch.inference_mode()
    def _encoded(self, frame: int, image: np.ndarray) -> FrameFeatures:
        """Once, for the grid and for the tracker."""
        at, features = self._latest
        if features is None or at != frame:
            square = frame_to_square(image, self._model.config.image_size, self._model.device)
            features = self._model.encode(square)
            self._latest = frame, features
            if self._kept is not None:
                self._kept.put(frame, features)
        return features

    def _without(self, masks: Masks, ids: list[int], frame: int) -> Masks:
        """Give up objects."""
        if not ids:
            return masks
        self._tracker.forget(*ids)
        self.lives.end(frame, *ids)
        return masks.select(*(id for id in masks.ids if id not in ids))

    def _given_up(self, masks: Masks) -> list[int]:
        """Objects that have been lost for too long."""
        waited = ((id, self.lives.all[id]) for id in masks.ids if id in self.lives.all)
        return [
            id for id, life in waited if life.lost and masks.frame - life.turns[-1][0] >= self._rules.patience
        ]
