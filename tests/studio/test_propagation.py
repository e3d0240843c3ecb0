"""What is left to follow is not lost; what was reviewed stays; and the studio's session is `VideoSession`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from masklet import VideoSession
from masklet.sessions.events import Prompted, Propagated
from masklet.sessions.object_state import History
from masklet.studio.inference.propagation_plan import Leg, PropagationPlan, missing_legs
from masklet.studio.store.object_history import script_of
from masklet.studio.store.tables import Video
from sessions.events_machine import histories, make_prompt
from studio.small import LENGTH, Caller, counts
from studio.test_session import assert_is_the_session
from toy_models import blob, click, toy_network


def leave_unfinished(caller: Caller, video: str, *, done: int) -> None:
    """Follow so many frames of a propagation, and stop."""
    id = video.rpartition("/")[2]
    with caller.studio.live.using(id) as live:
        plan = PropagationPlan.of(
            caller.get("/about")["person"]["id"], "forward", [Leg(0, LENGTH, None, "batch", reverse=False)]
        )
        frames = caller.studio.inference.propagate(live, plan)
        for _ in range(done):
            next(frames)
        frames.close()


def unfinished(caller: Caller, video: str) -> list[tuple[int, list[int] | None]]:
    """The next frame and the objects of each leg that is left."""
    with caller.studio.database.begin() as session:
        left: Any = session.get_one(Video, video.rpartition("/")[2]).unfinished
    return [] if left is None else [(leg["frame"], leg["objects"]) for leg in left["legs"]]


def test_what_is_left_survives_a_click_and_its_undo(caller: Caller, tmp_path: Path) -> None:
    video = caller.video()
    caller.click(video, 0, 1)
    leave_unfinished(caller, video, done=3)
    before = caller.get(video)["unfinished"]
    assert before == {"frame": 3, "done": 3, "total": LENGTH, "direction": "forward"}
    caller.click(video, 1, 1, x=40)
    assert caller.get(video)["unfinished"] == before
    caller.post(f"{video}/undo")
    assert caller.get(video)["unfinished"] == before
    caller.follow(video, resume=True)
    view = caller.get(video)
    assert view["tracked"] == {"1": [[0, LENGTH]]} and view["unfinished"] is None
    assert_is_the_session(caller, video, tmp_path)


def test_what_is_left_goes_and_comes_with_what_was_followed(caller: Caller) -> None:
    video = caller.video()
    caller.click(video, 0, 1)
    leave_unfinished(caller, video, done=3)
    caller.post(f"{video}/undo")
    assert caller.get(video)["unfinished"] is None
    caller.post(f"{video}/redo")
    assert caller.get(video)["unfinished"]["frame"] == 3


def test_correcting_one_object_leaves_the_others_remainder(caller: Caller, tmp_path: Path) -> None:
    video = caller.video()
    caller.click(video, 0, 1)
    caller.click(video, 0, 2, x=44)
    leave_unfinished(caller, video, done=3)
    caller.click(video, 2, 1, x=30)
    caller.follow(video, scope="affected")
    assert unfinished(caller, video) == [(3, [2])]
    assert caller.get(video)["tracked"] == {"1": [[0, LENGTH]], "2": [[0, 3]]}
    caller.follow(video, resume=True)
    assert caller.get(video)["tracked"] == {"1": [[0, LENGTH]], "2": [[0, LENGTH]]}
    assert caller.get(video)["unfinished"] is None
    assert_is_the_session(caller, video, tmp_path)


def test_a_number_of_frames_from_a_frame(caller: Caller) -> None:
    video = caller.video()
    caller.click(video, 3, 1)
    caller.follow(video, start=3, frames=2)
    assert caller.get(video)["tracked"] == {"1": [[3, 5]]}
    caller.follow(video, direction="both", frames=2, start=3)
    assert caller.get(video)["tracked"] == {"1": [[2, 5]]}
    caller.follow(video, direction="both", start=1, stop=7)
    assert caller.get(video)["tracked"] == {"1": [[1, 7]]}, "both ways, within the range"


def test_only_what_is_missing_is_filled(caller: Caller, tmp_path: Path) -> None:
    video = caller.video()
    caller.click(video, 2, 1)
    caller.follow(video, start=2, frames=2)
    caller.click(video, 6, 1, x=30)
    before = caller.masks(video)
    caller.follow(video, scope="missing", direction="both")
    after = caller.masks(video)
    assert sorted(after) == list(range(LENGTH))
    assert {frame: after[frame] for frame in before} == before
    caller.post(f"{video}/propagation", {"scope": "missing"}, status=409)
    assert_is_the_session(caller, video, tmp_path)


def test_a_reviewed_frame_keeps_its_masks(caller: Caller, tmp_path: Path) -> None:
    video = caller.video()
    caller.click(video, 0, 1)
    caller.follow(video)
    before = caller.masks(video)
    caller.ask("PUT", f"{video}/reviewed", json={"start": 5, "stop": 6, "reviewed": True})
    mask = {"size": [48, 64], "counts": counts(blob())}
    caller.post(f"{video}/prompts", {"frame": 0, "object": 1, "mask": mask})
    caller.follow(video)
    after = caller.masks(video)
    assert after[5] == before[5] and after[4] != before[4]
    assert_is_the_session(caller, video, tmp_path)


def open_session(caller: Caller, policy: str) -> VideoSession:
    return VideoSession(toy_network(), caller.studio.settings.folder / "blots.mp4", policy=policy)


def play(caller: Caller, video: str, policy: str, history: list[tuple]) -> None:
    """Do through the API what can be done, and the same with a session; compare after each event."""
    session = open_session(caller, policy)
    for action in history:
        objects = session.state.objects
        match action:
            case ("prompt", frame, id, prompt):
                made = make_prompt(*prompt)
                body = made.to_json()
                if made.mask is not None:
                    body["mask"] = {"size": [48, 64], "counts": counts(made.mask)}
                caller.post(f"{video}/prompts", {"frame": frame, "object": id, **body})
                session.prompt(frame, id, made)
            case ("clear", number, _) if objects:
                pairs = [(frame, id) for id, obj in objects.items() for frame in obj.prompts]
                frame, id = pairs[number % len(pairs)]
                caller.ask("DELETE", f"{video}/prompts/{frame}/{id}")
                session.clear(frame, id)
            case ("remove", number) if objects:
                id = list(objects)[number % len(objects)]
                caller.ask("DELETE", f"{video}/objects/{id}")
                session.remove(id)
            case ("propagate", start, count, reverse, some) if objects:
                ids = None if some is None else sorted(some & objects.keys())
                if ids == []:
                    continue
                direction = "backward" if reverse else "forward"
                caller.follow(video, start=start, frames=count, direction=direction, objects=ids)
                stop = start - count if reverse else start + count
                list(session.propagate(start, stop, reverse=reverse, objects=ids))
            case ("review", start, count, reviewed):
                span = {"start": start, "stop": start + count, "reviewed": reviewed}
                if start + count <= LENGTH:
                    caller.ask("PUT", f"{video}/reviewed", json=span)
                    session.review(start, start + count, reviewed=reviewed)
            case ("undo" | "redo" as move,):  # the studio takes back one step, a session what followed too
                if caller.get(video)[f"can_{move}"]:
                    caller.post(f"{video}/{move}")
                    records = caller.studio.live.history(video.rpartition("/")[2]).state.records
                    session = open_session(caller, policy).replay(script_of(records))
            case _:
                continue
        assert_equal_masks(caller, video, session)


def assert_equal_masks(caller: Caller, video: str, session: VideoSession) -> None:
    shown = caller.masks(video)
    assert sorted(shown) == list(session.answered)
    for frame in session.answered:
        masks = session.masks(frame)
        codes = {id: code["counts"] for id, code in zip(masks.ids, masks.rle(), strict=True)}
        assert {mask["object"]: mask["counts"] for mask in shown[frame]} == codes
    view = caller.get(video)
    assert {obj["id"]: obj["prompted"] for obj in view["objects"] if obj["prompted"]} == {
        id: sorted(obj.prompts) for id, obj in session.state.objects.items()
    }
    assert [tuple(span) for span in view["reviewed"]] == list(session.reviewed)
    state = caller.studio.live.history(video.rpartition("/")[2]).state.session
    for id, obj in session.state.objects.items():
        other = state.objects[id]
        assert (obj.pending, obj.bank.conditioning) == (other.pending, other.bank.conditioning)
        assert (obj.forward, obj.backward) == (other.forward, other.backward)


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories)
@pytest.mark.parametrize("policy", ["recency", "samurai"])
def test_the_studio_is_the_session(caller: Caller, policy: str, history: list[tuple]) -> None:
    video = caller.video(policy=policy)
    play(caller, video, policy, history)


def test_legs_through_what_is_missing() -> None:
    history = History().after(Prompted(3, 1, click())).after(Propagated(3, 5, reverse=False))
    objects = history.state.objects.values()
    assert missing_legs(objects, {}, (0, 8), "forward", "b") == [Leg(5, 8, [1], "b", reverse=False)]
    assert missing_legs(objects, {}, (0, 8), "both", "b") == [
        Leg(2, -1, [1], "b", reverse=True),
        Leg(5, 8, [1], "b", reverse=False),
    ]


def test_tracking_stops_at_a_doubtful_mask_when_asked_to(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    caller.follow(video, stop_when_doubtful=1.0)
    assert sorted(caller.masks(video)) == [0, 1]
    view = caller.get(video)
    assert view["unfinished"]["frame"] == 2 and view["propagation"] is None
    caller.follow(video, resume=True, stop_when_doubtful=1.0)  # what is known does not stop it again
    assert sorted(caller.masks(video)) == list(range(LENGTH))
    assert caller.get(video)["unfinished"] is None


def test_tracking_waits_for_the_prompts_of_the_same_person(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = caller.video()
    begun, answer = Event(), Event()
    inference_prompt = caller.studio.inference.prompt

    def prompt_later(*arguments: Any, **named: Any) -> Any:
        begun.set()
        assert answer.wait(60)
        return inference_prompt(*arguments, **named)

    monkeypatch.setattr(caller.studio.inference, "prompt", prompt_later)
    with ThreadPoolExecutor(2) as pool:
        clicked = pool.submit(caller.click, video)
        assert begun.wait(60)
        tracked = pool.submit(caller.post, f"{video}/propagation", {})
        answer.set()
        clicked.result(60)
        assert tracked.result(60)["total"] == LENGTH
    caller.rest(video)
    assert len(caller.masks(video)) == LENGTH
