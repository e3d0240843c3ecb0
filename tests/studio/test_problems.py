"""The list of frames that a person should look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from masklet import rle
from masklet.studio.store.tables import Result
from studio.small import LENGTH, SIZE, Caller


def square(x: int, y: int, side: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


def set_results(caller: Caller, video: str, object: int, masks: dict[int, Any], **values: float) -> None:
    """Let a video's rows say what a model might have made of an object."""
    id = video.rpartition("/")[2]
    with caller.studio.database.begin() as session:
        for row in session.query(Result).filter_by(video=id, object=object, prompted=False):
            mask = masks.get(row.frame, masks[-1])
            ys, xs = np.nonzero(mask)
            row.counts = rle.encode(mask)["counts"]
            row.box = (
                [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1] if len(xs) else None
            )
            row.score, row.confidence = (values.get("score", 5.0), values.get("confidence", 0.9))
            if not len(xs):
                row.score, row.confidence = -3.0, 0.02


def find(caller: Caller, video: str, kind: str) -> list[tuple[int, int, int]]:
    problems = caller.get(f"{video}/problems")["problems"]
    return [(entry["start"], entry["stop"], entry["object"]) for entry in problems if entry["kind"] == kind]


def test_lost_jumping_doubtful_and_overlapping_objects_are_listed(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    caller.click(video, object=2, x=44)
    caller.follow(video)
    still, far, empty = square(10, 10, 10), square(40, 30, 10), np.zeros(SIZE, dtype=bool)
    set_results(caller, video, 1, {-1: still, 4: empty, 5: empty})
    set_results(caller, video, 2, {-1: far, 3: still, 7: square(40, 30, 4)})
    assert find(caller, video, "lost") == [(4, 6, 1)]
    jumps = find(caller, video, "jump")
    assert [jump for jump in jumps if jump[0] > 1] == [(3, 4, 2), (4, 5, 2), (7, 8, 2)]
    assert find(caller, video, "overlap") == [(3, 4, 1)]
    (overlap,) = (p for p in caller.get(f"{video}/problems")["problems"] if p["kind"] == "overlap")
    assert overlap["value"] == 1 and overlap["other"] == 2
    assert overlap["message"] == "object 1 and object 2 overlap on frame 3 (100%)."
    set_results(caller, video, 1, {-1: still}, confidence=0.3)
    assert find(caller, video, "doubtful") == [(1, LENGTH, 1)]
    caller.ask("PUT", f"{video}/reviewed", json={"start": 0, "stop": 6, "reviewed": True})
    assert find(caller, video, "doubtful") == [(6, LENGTH, 1)] and not find(caller, video, "overlap")


def test_of_an_absence_only_the_ends_are_doubtful(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    caller.follow(video)
    still, empty = square(10, 10, 10), np.zeros(SIZE, dtype=bool)
    set_results(caller, video, 1, {-1: still, 3: empty, 4: empty, 5: empty})
    frames = []
    for _ in range(3):
        frame = caller.get(f"{video}/doubtful")["frame"]
        frames.append(frame)
        span = {"start": frame, "stop": frame + 1, "reviewed": True}
        caller.ask("PUT", f"{video}/reviewed", json=span)
    assert frames[:2] == [3, 5] and frames[2] != 4
