"""What is shown before anything is done: the mask under the cursor, and everything on a frame."""

from __future__ import annotations

from studio.small import Caller


def test_a_preview_is_the_mask_of_the_click_and_is_not_stored(caller: Caller) -> None:
    video = caller.video()
    before = caller.get(video)
    preview = caller.post(f"{video}/preview", {"frame": 2, "positive": [[20, 24]]})
    assert preview["frame"] == 2 and 0 <= preview["iou"] <= 1
    assert caller.get(video) == before
    assert caller.masks(video) == {}
    clicked = caller.click(video, frame=2, candidates=True)
    assert preview["counts"] in [candidate["counts"] for candidate in clicked["candidates"]]


def test_a_preview_needs_a_point_in_the_frame(caller: Caller) -> None:
    video = caller.video()
    caller.post(f"{video}/preview", {"frame": 0}, status=400)
    caller.post(f"{video}/preview", {"frame": 10_000, "positive": [[20, 24]]}, status=404)


def test_everything_on_a_frame_is_listed_and_not_stored(caller: Caller) -> None:
    video = caller.video()
    answer = caller.post(f"{video}/everything", {"frame": 1})
    assert answer["frame"] == 1
    assert all(segment["counts"] and len(segment["box"]) == 4 for segment in answer["segments"])
    assert caller.masks(video) == {}
