"""masklet's masks of everything against the original's automatic mask generator, by its own rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from masklet.auto import Grid, generate_segments
from masklet.config import Revision
from parity import original
from parity.trio import random_trio
from parity.weights import clip

# Networks, and thresholds that their masks meet at times: masks are wide unless the threshold is high.
SEEDS: dict[Revision, int] = {"2.0": 3, "2.1": 1}
IOU: dict[Revision, float] = {"2.0": 0.54, "2.1": 0.36}
COMMON: dict[str, Any] = {
    "points_per_side": 6,
    "points_per_batch": 16,
    "stability_score_thresh": 0.8,
    "stability_score_offset": 0.5,
    "mask_threshold": 10.0,
    "box_nms_thresh": 0.9,
}
KNOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one answer a point": {"multimask_output": False, "stability_score_thresh": 0.5},
    "low thresholds": {"mask_threshold": 4.0, "stability_score_thresh": 0.3, "box_nms_thresh": 0.98},
    "crops": {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "crop_nms_thresh": 0.97},
    "refined": {"use_m2m": True, "stability_score_thresh": 0.1, "box_nms_thresh": 0.97},
    "refined in crops": {
        "use_m2m": True,
        "stability_score_thresh": 0.1,
        "box_nms_thresh": 0.97,
        "crop_n_layers": 1,
        "crop_n_points_downscale_factor": 2,
        "crop_nms_thresh": 0.97,
    },
    "own points": {
        "points_per_side": None,
        "point_grids": [np.random.default_rng(0).random((20, 2))],
    },
}


@pytest.mark.parametrize("revision", SEEDS)
@pytest.mark.parametrize("knobs", KNOBS.values(), ids=KNOBS)
def test_the_original_masks(revision: Revision, knobs: dict[str, Any]) -> None:
    trio, image = random_trio(revision, SEEDS[revision]), clip(1, size=(96, 160))[0]
    knobs = COMMON | {"pred_iou_thresh": IOU[revision]} | knobs
    theirs = original.mask_generator(trio.original, **knobs).generate(image)
    mine = generate_segments(trio.ours, image, Grid(**knobs, nms="box")).records()
    assert len(theirs) > 1
    assert len(mine) == len(theirs)
    for one, other in zip(mine, theirs, strict=True):
        assert (one["segmentation"] != other["segmentation"]).mean() < 1e-3
        assert one["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-4)
        assert one["stability_score"] == pytest.approx(other["stability_score"], abs=1e-2)
        assert one["point_coords"] == [pytest.approx(point, abs=1e-2) for point in other["point_coords"]]
        assert one["crop_box"] == other["crop_box"]
