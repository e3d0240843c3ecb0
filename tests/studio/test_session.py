"""What a person does with a video, through the API; and that it is what a session would do."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from pkgutil import iter_modules
from threading import Event
from typing import Any, cast

import av
import numpy as np
import pytest
import torch
from fastapi import APIRouter
from fastapi.routing import APIRoute

from masklet import VideoSession, rle
from masklet.sessions.saved import SavedSession
from masklet.studio import routes
from masklet.studio.errors import ApiError
from masklet.studio.inference.inference import RESUMABLE, Inference
from masklet.studio.requests import parse_json
from masklet.studio.routes import StrictRoute, label_studio
from studio.small import LENGTH, SIZE, Caller, counts
from toy_models import clip, toy_network

PLAYS = {
    "one way": [("click", 0, 1), ("click", 2, 2), ("follow", {})],
    "corrected": [
        ("click", 0, 1),
        ("follow", {}),
        ("click", 3, 1),
        ("click", 5, 1),
        ("click", 3, 1),
        ("follow", {"scope": "affected"}),
        ("clear", 5, 1),
        ("click", 6, 2),
        ("follow", {}),
    ],
    "both ways": [
        ("click", 4, 1),
        ("follow", {"direction": "both"}),
        ("click", 1, 1),
        ("follow", {"start": 1}),
    ],
    "some": [
        ("click", 0, 1),
        ("click", 0, 2),
        ("follow", {}),
        ("click", 2, 1),
        ("follow", {"objects": [1]}),
        ("delete", 2),
        ("click", 7, 2),
        ("follow", {"direction": "backward"}),
    ],
}


def play(caller: Caller, video: str, steps: list[tuple]) -> None:
    for number, (do, *arguments) in enumerate(steps):
        match do:
            case "click":
                caller.click(video, *arguments, x=12 + 4 * number, y=20)
            case "follow":
                caller.follow(video, **arguments[0])
            case "clear":
                caller.ask("DELETE", f"{video}/prompts/{arguments[0]}/{arguments[1]}")
            case "delete":
                caller.ask("DELETE", f"{video}/objects/{arguments[0]}")


def assert_is_the_session(caller: Caller, video: str, place: Path) -> VideoSession:
    """The script that is exported gives the masks that stand, when a session replays it."""
    script = place / "script.json"
    script.write_bytes(caller.exported(video, "script"))
    saved = SavedSession.read(script)
    session = VideoSession(toy_network(), caller.studio.settings.folder / "blots.mp4", policy=saved.policy)
    session.replay(saved.script)
    shown = caller.masks(video)
    assert sorted(shown) == list(session.answered)
    for frame in session.answered:
        masks = session.masks(frame)
        codes = dict(zip(masks.ids, masks.rle(), strict=True))
        assert {mask["object"]: mask["counts"] for mask in shown[frame]} == {
            id: code["counts"] for id, code in codes.items()
        }
    return session


@pytest.mark.parametrize("name", PLAYS)
def test_what_is_shown_is_what_a_session_makes_of_the_script(
    caller: Caller, name: str, tmp_path: Path
) -> None:
    video = caller.video()
    play(caller, video, PLAYS[name])
    assert_is_the_session(caller, video, tmp_path)


@pytest.mark.parametrize("policy", [name for name in RESUMABLE if name != "recency"])
def test_other_memory_rules_go_on_as_well(
    caller: Caller, policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where every frame is followed by a server that has just been started."""
    # What the policies remember must matter within a few frames.
    for name, value in {"samurai.STEADY": 1, "dam4sam.ANCHOR_IOU": 0.0, "dam4sam.ANCHOR_GAP": 0}.items():
        monkeypatch.setattr(f"masklet.tracking.policies.{name}", value)
    monkeypatch.setattr("masklet.tracking.policies.dam4sam.ANCHOR_AREA", (0.0, math.inf))
    monkeypatch.setattr("masklet.tracking.policies.dam4sam.has_distractor", lambda logits, selected: True)
    video = caller.video(policy=policy)
    play(caller, video, [*PLAYS["corrected"], ("click", 1, 3)])
    for frame in range(1, LENGTH):
        caller.studio.live.drop(video.rpartition("/")[2])
        caller.studio.propagations._inference = Inference(caller.studio.models, caller.studio.limits)
        caller.follow(video, start=frame, stop=frame + 1)
    session = assert_is_the_session(caller, video, tmp_path)
    inference = caller.studio.propagations._inference
    with (
        caller.studio.live.using(video.rpartition("/")[2]) as live,
        live.history.change("somebody") as change,
    ):
        resumed = inference.session(live, inference.store(live, change))
        assert resumed.ids == session.ids
        for id, obj in session.state.objects.items():
            original, other = (
                one._propagator.load(state, state, LENGTH - 1)
                for one, state in ((session, obj), (resumed, resumed.state.objects[id]))
            )
            expected, actual = (cast(Any, one.policy).state(one.bank) for one in (original, other))
            assert (
                obj.position == resumed.state.objects[id].position
                and original.bank.anchors.keys() == other.bank.anchors.keys()
            )
            assert expected.keys() == actual.keys() and all(
                torch.equal(expected[name], actual[name]) for name in expected
            )
            assert (policy == "dam4sam") == bool(original.bank.anchors) and (policy == "gated") == (
                not expected
            )
    assert json.loads(caller.exported(video, "script"))["policy"] == policy


def test_undo_and_redo_bring_back_every_state(caller: Caller) -> None:
    video = caller.video()
    states = [(caller.get(video)["objects"], caller.masks(video))]
    play_steps = [
        lambda: caller.click(video, 0, 1),
        lambda: caller.follow(video),
        lambda: caller.ask("PATCH", f"{video}/objects/1", json={"name": "dog", "color": "#00ff00"}),
        lambda: caller.click(video, 3, 1, x=40),
        lambda: caller.follow(video, scope="affected"),
        lambda: caller.ask("PUT", f"{video}/reviewed", json={"start": 1, "stop": 4, "reviewed": True}),
        lambda: caller.ask("DELETE", f"{video}/objects/1"),
    ]
    for step in play_steps:
        step()
        states.append((caller.get(video)["objects"], caller.masks(video)))
    for before in reversed(states[:-1]):
        caller.post(f"{video}/undo")
        assert (caller.get(video)["objects"], caller.masks(video)) == before
    caller.post(f"{video}/undo", status=409)
    for after in states[1:]:
        caller.post(f"{video}/redo")
        assert (caller.get(video)["objects"], caller.masks(video)) == after
    caller.post(f"{video}/redo", status=409)


def test_what_is_done_after_an_undo_ends_what_could_be_redone(caller: Caller, tmp_path: Path) -> None:
    video = caller.video()
    play(caller, video, [("click", 0, 1), ("follow", {}), ("click", 3, 1), ("follow", {})])
    for _ in range(2):
        caller.post(f"{video}/undo")
    caller.click(video, 5, 1, x=30)
    assert not caller.get(video)["can_redo"]
    caller.follow(video, start=4)
    assert_is_the_session(caller, video, tmp_path)


def test_a_video_that_was_let_go_of_comes_back(caller: Caller, tmp_path: Path) -> None:
    video = caller.video()
    play(caller, video, [("click", 0, 1), ("follow", {"stop": 4})])
    caller.studio.live.drop(video.rpartition("/")[2])
    play(caller, video, [("follow", {"start": 4}), ("click", 2, 1), ("follow", {"scope": "affected"})])
    assert_is_the_session(caller, video, tmp_path)


def test_candidates_can_be_chosen(caller: Caller) -> None:
    video = caller.video()
    offered = caller.click(video, candidates=True)["candidates"]
    assert [candidate["rank"] for candidate in offered] == [0, 1, 2]
    (chosen,) = (candidate for candidate in offered if candidate["chosen"])
    assert chosen["counts"] == caller.masks(video)[0][0]["counts"]
    other = next(candidate for candidate in offered if not candidate["chosen"])
    caller.post(f"{video}/candidates", {"frame": 0, "object": 1, "rank": other["rank"]})
    prompt = caller.get(f"{video}/prompts/0/1")
    assert prompt["mask"]["counts"] == other["counts"]
    caller.post(f"{video}/candidates", {"frame": 1, "object": 1, "rank": 0}, status=404)


def test_what_is_painted_stands_as_it_was_painted(caller: Caller, tmp_path: Path) -> None:
    video = caller.video()
    painted = np.zeros(SIZE, dtype=bool)
    painted[10:30, 12:40:3] = True
    mask = {"size": list(SIZE), "counts": counts(painted)}
    (answer,) = caller.post(f"{video}/prompts", {"frame": 0, "object": 1, "mask": mask})["masks"]
    assert answer["counts"] == rle.encode(painted)["counts"]
    assert caller.get(video)["prompts"][0]["prompt"]["mask"] is True
    caller.follow(video)
    caller.studio.live.drop(video.rpartition("/")[2])
    assert caller.masks(video)[0] == [answer]
    assert_is_the_session(caller, video, tmp_path)
    (tmp_path / "coco.json").write_bytes(caller.exported(video, "coco"))
    coco = json.loads((tmp_path / "coco.json").read_text())
    first = next(entry for entry in coco["annotations"] if entry["image_id"] == coco["images"][0]["id"])
    assert first["segmentation"] == {"size": list(SIZE), "counts": answer["counts"]}
    caller.click(video, x=30)  # upon what was painted: from here on the model decides
    assert caller.masks(video)[0][0]["counts"] != answer["counts"]
    caller.post(f"{video}/undo")
    assert caller.masks(video)[0] == [answer]


def test_a_mask_that_is_erased_stays_away(caller: Caller, tmp_path: Path) -> None:
    video = caller.video()
    caller.click(video)
    caller.follow(video)
    nothing = {"size": list(SIZE), "counts": [SIZE[0] * SIZE[1]]}
    caller.post(f"{video}/prompts", {"frame": 3, "object": 1, "mask": nothing})
    caller.follow(video, scope="affected")
    (erased,) = caller.masks(video)[3]
    assert erased["box"] is None and erased["score"] < 0
    assert_is_the_session(caller, video, tmp_path)


def test_a_click_overtakes_following(caller: Caller, tmp_path: Path) -> None:
    video = caller.video()
    caller.click(video, 0, 1)
    caller.post(f"{video}/propagation", {})
    caller.click(video, 6, 1, x=44)  # before the end is reached, most likely; the masks agree in any case
    caller.rest(video)
    assert caller.get(video)["tracked"] == {"1": [[0, LENGTH]]}
    assert_is_the_session(caller, video, tmp_path)


def test_what_was_stopped_goes_on(caller: Caller) -> None:
    video = caller.video()
    caller.click(video, 0, 1)
    caller.post(f"{video}/propagation", {})
    caller.post(f"{video}/propagation", {}, status=409)
    stopped = caller.ask("DELETE", f"{video}/propagation")
    assert stopped["state"] in ("stopped", "finished")
    if stopped["state"] == "stopped" and caller.get(video)["unfinished"]:
        caller.follow(video, resume=True)
    caller.post(f"{video}/propagation", {"resume": True}, status=409)
    caller.ask("DELETE", f"{video}/propagation", status=409)


def test_strips_doubt_and_review(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    caller.follow(video)
    shown = caller.get(f"{video}/strips")
    (strip,) = shown["objects"]
    masks = caller.masks(video)
    assert strip["confidence"] == [masks[frame][0]["confidence"] for frame in range(LENGTH)]
    assert strip["prompted"] == [0] and shown["bins"] == LENGTH
    halves = caller.get(f"{video}/strips?bins=3")
    edges = [0, 2, 5, 8]
    assert halves["objects"][0]["confidence"] == [
        min(strip["confidence"][start:stop]) for start, stop in pairwise(edges)
    ]
    doubtful = caller.get(f"{video}/doubtful")
    assert doubtful["confidence"] == min(strip["confidence"][1:])
    frame = doubtful["frame"]
    view = caller.ask("PUT", f"{video}/reviewed", json={"start": frame, "stop": frame + 1, "reviewed": True})
    assert view["reviewed"] == [[frame, frame + 1]]
    assert caller.get(f"{video}/doubtful")["frame"] != frame
    assert caller.get(f"{video}/doubtful?skip=3,4") is None


def test_the_history_says_who_did_what(caller: Caller) -> None:
    video = caller.video()
    ada = {"Masklet-Person": "Ada", "Masklet-Client": "her tab"}
    caller.post(f"{video}/objects", {"name": "dog"}, headers=ada)
    assert caller.get(video)["undo"] == "add dog", "one person worked here"
    caller.click(video)
    assert caller.get(video)["undo"].startswith("click on frame 0, by ")
    view = caller.post(f"{video}/undo")
    assert view["undo"] == "add dog, by Ada" and view["redo"].startswith("click on frame 0, by ")
    steps = caller.get(f"{video}/history")["steps"]
    assert [(step["title"], step["undone"]) for step in steps] == [
        ("click on frame 0", True),
        ("add dog", False),
    ]
    assert steps[1]["person"] == "Ada" != steps[0]["person"]
    assert [step["client"] for step in steps] == [None, "her tab"]


def test_an_undo_is_told_as_one(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    told = []
    with caller.client.websocket_connect(f"ws://127.0.0.1/api{video}/events") as tab:
        assert tab.receive_json()["type"] == "hello", "only now it is told of events"
        for verb in ("undo", "redo"):
            caller.post(f"{video}/{verb}")
            while (message := tab.receive_json())["type"] != "changed":
                pass
            told.append((message["how"], message["title"]))
    assert told == [("undone", "click on frame 0"), ("redone", "click on frame 0")]


def test_only_a_step_that_was_seen_is_undone(caller: Caller) -> None:
    video = caller.video()
    one, two = ({"Masklet-Person": "Ada", "Masklet-Client": tab} for tab in ("one", "two"))
    grace = {"Masklet-Person": "Grace", "Masklet-Client": "three"}

    def move(verb: str, step: str | None, headers: dict[str, str], status: int | None = None) -> Any:
        return caller.ask("POST", f"{video}/{verb}?step={step or ''}", status, headers=headers)

    caller.click(video, headers=one)
    seen = caller.get(video)
    caller.click(video, x=40, headers=one)
    masks = caller.masks(video)
    sentence = "Nothing was undone, because another tab has made a newer step: click on frame 0."
    assert move("undo", seen["undo_step"], two, 409)["message"] == sentence
    assert "because Ada has" in move("undo", seen["undo_step"], grace, 409)["message"]
    assert move("undo", None, two, 409)["message"] == sentence, "the page was opened before the first step"
    assert caller.masks(video) == masks
    move("undo", seen["undo_step"], one)  # the newest step is this tab's own
    assert caller.get(video)["undo_step"] == seen["undo_step"]
    move("redo", caller.get(video)["redo_step"], two)
    assert caller.masks(video) == masks
    newest = caller.get(video)["undo_step"]
    undone = move("undo", newest, two)
    answer = move("undo", newest, grace, 409)
    assert answer["error"] == "changed"
    assert answer["message"] == ("Nothing was undone, because that step is already undone: click on frame 0.")
    assert undone["redo_step"] == newest and undone["undo_step"] == seen["undo_step"]
    caller.click(video, x=50, headers=one)  # takes the number of the undone step
    assert caller.get(video)["head"] == seen["head"] + 1
    assert "a newer step" in move("undo", newest, two, 409)["message"]
    assert "a newer step" in move("redo", newest, two, 409)["message"]
    caller.post(f"{video}/undo")  # a program that has not looked


def test_only_a_step_that_was_seen_is_redone(caller: Caller) -> None:
    video = caller.video()
    for x in (20, 30, 40):
        caller.click(video, x=x)
    caller.post(f"{video}/undo")
    seen = caller.get(video)["redo_step"]
    caller.post(f"{video}/undo")
    answer = caller.post(f"{video}/redo?step={seen}", status=409)
    assert answer["message"] == (
        "Nothing was redone, because another step has been undone meanwhile: click on frame 0."
    )
    first = caller.get(video)["redo_step"]
    assert caller.post(f"{video}/redo?step={first}")["redo_step"] == seen
    answer = caller.post(f"{video}/redo?step={first}", status=409)
    assert answer["message"] == "Nothing was redone, because that step is already redone: click on frame 0."
    assert caller.post(f"{video}/redo?step={seen}")["redo_step"] is None


def test_who_does_not_know_of_tracking_undoes_nothing(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = caller.video()
    caller.click(video, headers={"Masklet-Person": "Ada"})
    seen = caller.get(video)["undo_step"]
    propagation = caller.studio.propagations
    go_on = Event()
    publish = propagation._publish_frame

    def wait(*arguments: Any) -> None:
        publish(*arguments)
        go_on.wait(60)

    monkeypatch.setattr(propagation, "_publish_frame", wait)
    caller.post(f"{video}/propagation", {}, headers={"Masklet-Person": "Ada"})
    try:
        for person, who in (("Ada", "another tab"), ("Grace", "Ada")):
            headers = {"Masklet-Person": person}
            answer = caller.ask("POST", f"{video}/undo?step={seen}", 409, headers=headers)
            sentence = f"Nothing was undone, because {who} is tracking. Stop that first."
            assert answer["message"][1:] == sentence[1:]
    finally:
        go_on.set()
    caller.rest(video)
    assert sorted(caller.masks(video)) == list(range(LENGTH)), "it was not stopped"


def test_two_tabs_see_each_other(caller: Caller) -> None:
    video = caller.video()
    with (
        caller.client.websocket_connect(f"ws://127.0.0.1/api{video}/events") as one,
        caller.client.websocket_connect(f"ws://127.0.0.1/api{video}/events") as two,
    ):
        assert one.receive_json()["type"] == two.receive_json()["type"] == "hello"
        caller.post(
            f"{video}/prompts",
            {"frame": 0, "object": 1, "positive": [[20, 24]]},
            headers={"Masklet-Client": "tab1"},
        )
        for tab in (one, two):
            events = {}
            while "masks" not in events:
                message = tab.receive_json()
                events[message["type"]] = message
            assert events["changed"]["client"] == events["masks"]["client"] == "tab1"
            assert events["masks"]["masks"] == caller.masks(video)[0]
        caller.follow(video)
        followed = []
        while True:
            message = two.receive_json()
            if message["type"] == "frame":
                followed.append(message["frame"])
            if message["type"] == "propagation" and message["propagation"]["state"] == "finished":
                break
        assert followed == list(range(LENGTH))
        two.send_text(json.dumps({"type": "look", "frame": 2}))
        assert [viewer["frame"] for viewer in two.receive_json()["people"]] == [2]
        assert two.receive_json() == {"type": "ready", "frame": 2}
        for text in ("[" * 3000, '{"type": "look", "frame": 1, "frame": 2}'):
            two.send_text(text)
            assert two.receive_json()["type"] == "error"


def test_an_image_needs_no_session(caller: Caller) -> None:
    image = (caller.studio.settings.folder / "one.png").read_bytes()
    prompts = json.dumps([{"positive": [[20, 24]]}, {"box": [4, 4, 40, 40]}])
    answer = caller.ask("POST", "/image", files={"image": ("a.png", image)}, data={"prompts": prompts})
    assert [len(result["masks"]) for result in answer["results"]] == [3, 1]
    assert answer["size"] == list(SIZE)


@pytest.mark.parametrize(
    "fields",
    [{"negatives": [[5, 5]]}, {"frame": True}, {"object": True}, {"positive": [[True, 5]]}, {"new": 1.5}],
)
def test_a_prompt_with_other_fields_or_truth_values_is_refused(
    caller: Caller, fields: dict[str, object]
) -> None:
    video = caller.video()
    body = {"frame": 0, "object": 1, "positive": [[20, 24]], **fields}
    error = caller.post(f"{video}/prompts", body, status=422)
    assert error["error"] == "invalid"
    assert caller.get(video)["prompts"] == []


def test_a_misspelt_field_of_tracking_is_named(caller: Caller) -> None:
    video = caller.video()
    caller.click(video)
    message = caller.post(f"{video}/propagation", {"strat": 3}, status=422)["message"]
    assert "strat" in message.lower()
    assert caller.get(video)["propagation"] is None


def test_a_name_that_stands_twice_is_refused(caller: Caller) -> None:
    video = caller.video()
    body = b'{"frame": 0, "object": 1, "positive": [[20, 24]], "positive": [[1, 1]]}'
    headers = {"content-type": "application/json"}
    message = caller.ask("POST", f"{video}/prompts", content=body, headers=headers, status=422)["message"]
    assert message == "The JSON cannot be read: an object has the key 'positive' twice."
    assert caller.get(video)["prompts"] == []


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', '{"a": 1' + 5000 * "0" + "}", "[" * 100_000, "{", b"\xff"]
)
def test_json_that_cannot_be_read_is_refused_in_a_sentence(text: str | bytes) -> None:
    with pytest.raises(ApiError, match="the JSON "):
        parse_json(text)


def test_a_name_that_stands_twice_in_the_prompts_of_an_image_is_refused(caller: Caller) -> None:
    image = (caller.studio.settings.folder / "one.png").read_bytes()
    prompts = '[{"box": [1, 1, 9, 9], "box": [2, 2, 9, 9]}]'
    files, data = {"image": ("a.png", image)}, {"prompts": prompts}
    assert "twice" in caller.ask("POST", "/image", files=files, data=data, status=422)["message"]


def test_every_route_but_those_of_label_studio_reads_json_strictly() -> None:
    for module in map(
        import_module, (f"{routes.__name__}.{entry.name}" for entry in iter_modules(routes.__path__))
    ):
        for router in vars(module).values():
            if isinstance(router, APIRouter) and module is not label_studio:
                assert router.route_class is StrictRoute or not http_routes(router), module.__name__


def http_routes(router: APIRouter) -> list[APIRoute]:
    return [route for route in router.routes if isinstance(route, APIRoute)]


def test_frames_without_a_constant_rate_have_their_own_times(caller: Caller) -> None:
    folder = caller.studio.settings.folder
    assert folder is not None
    ticks = [0, 1, 2, 12, 13, 30]
    with av.open(str(folder / "phone.mp4"), "w") as container:
        stream = container.add_stream("libx264", 10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for tick, image in zip(ticks, clip(len(ticks), SIZE), strict=True):
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = tick, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = caller.video("phone.mp4")
    assert caller.get(f"{video}/times")["seconds"] == [tick / 10 for tick in ticks]
    assert caller.get(f"{video}/times?start=3&stop=5")["seconds"] == [1.2, 1.3]
    caller.ask("GET", f"{video}/times?start=9", 422)
