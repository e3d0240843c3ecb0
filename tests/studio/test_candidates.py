"""Choosing among the masks that a click may mean."""

from __future__ import annotations

from studio.small import Caller

ANNA, BERT = {"masklet-person": "Anna"}, {"masklet-person": "Bert"}


def test_the_chosen_candidate_keeps_the_click_and_its_own_confidence(caller: Caller) -> None:
    video = caller.video()
    offered = caller.click(video, candidates=True)["candidates"]
    assert len(offered) == 3 and all(mask["box"] for mask in offered)
    other = next(mask for mask in offered if not mask["chosen"])
    choice = {"frame": 0, "object": 1, "rank": other["rank"]}
    (mask,) = caller.post(f"{video}/candidates", choice)["masks"]
    assert mask["counts"] == other["counts"] and mask["iou"] == other["iou"]
    assert mask["confidence"] < 1 and mask["prompted"]
    (prompt,) = (entry["prompt"] for entry in caller.get(video)["prompts"])
    assert prompt["positive"] == [[20, 24]] and prompt["rank"] == other["rank"] and prompt["mask"]
    assert caller.get(f"{video}/history")["steps"][0]["title"].startswith("candidate")
    caller.post(f"{video}/undo")
    (prompt,) = (entry["prompt"] for entry in caller.get(video)["prompts"])
    assert prompt["rank"] is None and not prompt["mask"]


def test_a_click_upon_a_chosen_candidate_is_a_correction_and_both_clicks_are_shown(caller: Caller) -> None:
    video = caller.video()
    caller.click(video, candidates=True)
    caller.post(f"{video}/candidates", {"frame": 0, "object": 1, "rank": 2})
    caller.click(video, x=30)
    (prompt,) = (entry["prompt"] for entry in caller.get(video)["prompts"])
    assert prompt["positive"] == [[20, 24], [30, 24]]
    caller.follow(video)
    assert len(caller.masks(video)) == 8


def test_another_persons_click_leaves_the_candidates(caller: Caller) -> None:
    video = caller.video()
    caller.click(video, candidates=True, headers=ANNA)
    caller.click(video, object=2, x=44, candidates=True, headers=BERT)
    caller.click(video, object=3, x=50, headers=BERT)
    choice = {"frame": 0, "object": 1, "rank": 1}
    caller.post(f"{video}/candidates", choice, headers=ANNA)
    caller.ask("POST", f"{video}/candidates", 404, json=choice, headers=BERT)


def test_candidates_of_a_click_that_is_gone_or_was_corrected_are_refused(caller: Caller) -> None:
    video = caller.video()
    choice = {"frame": 0, "object": 1, "rank": 1}
    caller.click(video, candidates=True, headers=ANNA)
    caller.post(f"{video}/undo", headers=BERT)
    refusal = caller.ask("POST", f"{video}/candidates", 404, json=choice, headers=ANNA)
    assert refusal["message"] == "Object 1 was changed on frame 0 since you clicked. Click again."
    assert caller.get(video)["objects"] == []
    caller.post(f"{video}/redo", headers=BERT)
    caller.post(f"{video}/candidates", choice, headers=ANNA)
    caller.post(f"{video}/candidates", {**choice, "rank": 2}, headers=ANNA)  # of the same click
    caller.click(video, x=30, headers=BERT)
    before = caller.masks(video)
    caller.ask("POST", f"{video}/candidates", 404, json=choice, headers=ANNA)
    assert caller.masks(video) == before


def test_two_people_who_begin_an_object_at_once_get_two(caller: Caller) -> None:
    video = caller.video()
    first = caller.click(video, object=1, new=True, headers=ANNA)
    second = caller.click(video, object=1, x=44, new=True, candidates=True, headers=BERT)
    assert (first["object"], second["object"]) == (1, 2)
    prompts = {entry["object"]: entry["prompt"]["positive"] for entry in caller.get(video)["prompts"]}
    assert prompts == {1: [[20, 24]], 2: [[44, 24]]}
    caller.post(f"{video}/candidates", {"frame": 0, "object": 2, "rank": 1}, headers=BERT)
    assert caller.click(video, object=1, x=24, headers=ANNA)["object"] == 1
