"""The exported page as a visitor uses it, in Chromium: its masks are those of masklet in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import masklet
from export.web.visitor import Visitor, serve, unpack
from masklet import Prompt
from masklet.media.writers.masklets import read_masklets

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DISC, SQUARE = (110, 110), (262, 186)  # in the clip's first frame
CORRECTED, BESIDE = 3, (200, 150)  # a frame, and a place there beside the disc
IN_SCENE = (188, 140), (534, 120), (620, 62)  # balloons of the demo clip: near, far and tiny
LARGEST = 30_000_000  # bytes of the whole folder
EXAMPLES = Path(__file__).parents[3] / "examples"


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


@pytest.fixture(scope="module")
def model() -> masklet.Sam2:
    return masklet.load("nano", device="cpu", engine="torch")


def test_a_clip_has_the_masks_of_a_tracker_and_corrected_those_of_a_session(
    visit: Callable[..., Visitor], clip: Path, model: masklet.Sam2, tmp_path: Path
) -> None:
    visitor = visit("?run=wasm&threads=1")
    assert visitor.load() == "WebAssembly, one thread"
    visitor.open(clip)
    visitor.click(*DISC)
    visitor.press("New object")
    visitor.click(*SQUARE)
    visitor.track()
    folder = unpack(visitor.save("Save all masks", tmp_path))
    prompts = {1: Prompt(positive=[DISC]), 2: Prompt(positive=[SQUARE])}
    check_masks(folder, masklet.track(model, clip, {0: prompts}))

    visitor.go_to(CORRECTED)
    visitor.press("Object 1")
    visitor.click(*BESIDE, is_negative=True)
    visitor.track()
    folder = unpack(visitor.save("Save all masks", tmp_path))
    session = masklet.VideoSession(model, clip)
    for id, prompt in prompts.items():
        session.prompt(0, id, prompt)
    list(session.propagate())
    session.prompt(CORRECTED, 1, Prompt(negative=[BESIDE]))
    list(session.propagate(CORRECTED))
    check_masks(folder, (session.masks(frame) for frame in range(len(session.frames))))


def check_masks(folder: Path, expected: Iterable[masklet.Masks]) -> None:
    """Check masklets.json and the label maps of a folder that was saved.

    The page has Python's pixels. Only the order of sums differs, which may move a pixel on a mask's edge.
    """
    for ours, theirs in zip(read_masklets(folder / "masklets.json"), expected, strict=True):
        assert ours.frame == theirs.frame
        for id in (1, 2):
            assert iou(ours[id], theirs[id]) >= 0.99, f"object {id} on frame {ours.frame}"
        np.testing.assert_allclose(ours.iou, theirs.iou, rtol=0, atol=0.005)
        labels = np.array(Image.open(folder / "masks" / f"{ours.frame:05d}.png"))
        assert set(np.unique(labels)) == {0, 1, 2}
        assert iou(labels == 1, ours[1]) > 0.99


def test_an_image_has_the_masks_of_an_image_session(
    visit: Callable[..., Visitor], clip: Path, model: masklet.Sam2, tmp_path: Path
) -> None:
    image = masklet.media.open_frames(str(clip))[0]
    Image.fromarray(image).save(tmp_path / "still.png")
    visitor = visit()
    visitor.open(tmp_path / "still.png")
    visitor.click(*DISC)
    visitor.click(150, 150)
    visitor.click(175, 110, is_negative=True)
    labels = np.array(Image.open(visitor.save("Save the masks", tmp_path)))
    session, prompt = masklet.ImageSession(model, image), Prompt(positive=[DISC])
    answer = session.segment(prompt)
    for click in (Prompt(positive=[(150, 150)]), Prompt(negative=[(175, 110)])):
        prompt |= click
        answer = session.segment(prompt, hint=answer)
    assert iou(labels == 1, answer.best) >= 0.99


def test_a_photo_of_a_generated_scene_has_the_masks_of_image_sessions(
    visit: Callable[..., Visitor], model: masklet.Sam2, tmp_path: Path
) -> None:
    photo = tmp_path / "scene.jpg"
    frame = masklet.media.open_frames(str(EXAMPLES / "demo.mp4"))[0]
    Image.fromarray(frame).save(photo, quality=92)
    visitor = visit(size=(frame.shape[1], frame.shape[0]))
    visitor.open(photo)
    session = masklet.ImageSession(model, photo)
    expected = []
    for number, point in enumerate(IN_SCENE):
        if number:
            visitor.press("New object")
        visitor.click(*point)
        expected.append(session.segment(Prompt(positive=[point])))
    labels = np.array(Image.open(visitor.save("Save the masks", tmp_path)))
    drawn = np.zeros_like(labels)
    for id, answer in sorted(enumerate(expected, 1), key=lambda entry: float(entry[1].iou[0])):
        drawn[answer.best] = id  # the surest lies on top
    for id in range(1, len(IN_SCENE) + 1):
        assert iou(labels == id, drawn == id) >= 0.99, f"object {id}"


def test_a_large_object_is_seen_in_the_mirrored_image_too(
    visit: Callable[..., Visitor], model: masklet.Sam2, tmp_path: Path
) -> None:
    balloon = masklet.media.open_frames(str(EXAMPLES / "demo.mp4"))[0][40:260, 90:290]
    Image.fromarray(balloon).save(tmp_path / "balloon.png")
    visitor = visit(size=(200, 220))
    visitor.open(tmp_path / "balloon.png")
    visitor.click(98, 100)
    labels = np.array(Image.open(visitor.save("Save the masks", tmp_path)))
    session, plain = (
        masklet.ImageSession(model, balloon, zoom=zoom) for zoom in (None, masklet.zoom.Zoom(mirrored=False))
    )
    click = Prompt(positive=[(98, 100)])
    answer, once = session.segment(click), plain.segment(click)
    assert not answer.zoomed and iou(answer.best, once.best) < 0.999
    assert iou(labels == 1, answer.best) >= 0.99


def test_undo_deletes_and_corrections_lead_back_and_on(visit: Callable[..., Visitor], clip: Path) -> None:
    visitor = visit()
    visitor.open(clip)
    visitor.click(*DISC)
    visitor.press("New object")
    visitor.click(*SQUARE)
    assert visitor.object_names() == ["Object 1", "Object 2"]
    visitor.press("Delete object 1")
    visitor.wait()
    assert visitor.object_names() == ["Object 2"]
    visitor.page.keyboard.press("Control+z")
    visitor.page.get_by_role("button", name="Delete object 1").wait_for()
    visitor.page.keyboard.press("Control+z")
    visitor.page.get_by_role("button", name="Delete object 2").wait_for(state="detached")
    assert visitor.object_names() == ["Object 1"]


def test_the_mask_under_the_pointer_is_shown_before_any_click(
    visit: Callable[..., Visitor], clip: Path
) -> None:
    visitor = visit()
    visitor.open(clip)
    before = visitor.page.locator(".canvas").screenshot()
    visitor.page.mouse.move(*visitor.position(*DISC))
    visitor.page.wait_for_selector(".stage[data-preview]")
    assert visitor.page.locator(".canvas").screenshot() != before
    visitor.page.mouse.move(10, 10)
    visitor.page.wait_for_selector(".stage:not([data-preview])")
    assert visitor.page.locator(".canvas").screenshot() == before


def test_on_a_plain_file_server_the_page_isolates_itself(visit: Callable[..., Visitor], site: Path) -> None:
    with serve(site, {}) as address:
        visitor = visit(at=address)
        runs_on = visitor.load()
        cores = visitor.page.evaluate("Math.min(4, navigator.hardwareConcurrency)")
        assert runs_on == ("WebAssembly, one thread" if cores == 1 else f"WebAssembly, {cores} threads")


def test_where_it_cannot_be_isolated_the_page_runs_in_one_thread(
    visit: Callable[..., Visitor], site: Path, clip: Path
) -> None:
    with serve(site, {}) as address:
        visitor = visit(at=address, service_workers="block")
        assert visitor.load() == "WebAssembly, one thread"
        visitor.open(clip)
        visitor.click(*DISC)
        assert visitor.object_names() == ["Object 1"]


def test_a_camera_is_followed(visit: Callable[..., Visitor]) -> None:
    visitor = visit(size=(1280, 720))
    visitor.load()
    visitor.press("Open the camera")
    visitor.page.wait_for_selector(".stage[data-frame]")
    visitor.click(640, 360)
    visitor.page.get_by_text("frames per second").wait_for()
    assert visitor.object_names() == ["Object 1"]


def test_a_file_that_is_no_image_is_an_error_that_names_it(
    visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    words = tmp_path / "words.mp4"
    words.write_text("not a video")
    visitor = visit()
    visitor.load()
    visitor.page.set_input_files("#file-picker", str(words))
    visitor.page.get_by_role("alert").get_by_text("words.mp4 cannot be opened").wait_for()


def test_a_file_is_seen_and_clicked_while_the_model_loads(visit: Callable[..., Visitor], clip: Path) -> None:
    visitor = visit()
    visitor.page.route("**/model/**", lambda route: None)
    visitor.page.reload()
    visitor.page.set_input_files("#file-picker", str(clip))
    visitor.page.wait_for_selector(".stage[data-frame='0']")
    visitor.page.mouse.click(*visitor.position(*DISC))
    assert visitor.page.locator(".topbar .status").inner_text().startswith("Loading")
    visitor.page.unroute("**/model/**")  # lets them go
    visitor.page.get_by_role("button", name="Delete object 1").wait_for()
    visitor.load()


def test_a_part_that_does_not_arrive_is_a_sentence(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.page.route("**/model/**", lambda route: route.abort())
    visitor.page.reload()
    visitor.page.get_by_role("alert").get_by_text("could not be loaded").wait_for()
    visitor.complaints.clear()  # Chromium's own, about the file


def test_everything_fits_at_a_desk_and_on_a_phone(visit: Callable[..., Visitor], clip: Path) -> None:
    visitor = visit()
    outside = """() => [...document.querySelectorAll("button, input, canvas, .drop")]
        .filter((element) => element.checkVisibility() && !element.closest(".visually-hidden, .objects"))
        .filter((element) => {
            const { left, right } = element.getBoundingClientRect();
            return left < -1 || right > innerWidth + 1;
        })
        .map((element) => element.outerHTML.slice(0, 120))"""
    size = "({ width: document.documentElement.scrollWidth, height: document.documentElement.scrollHeight })"
    for is_open in (False, True):
        if is_open:
            visitor.open(clip)
            visitor.click(*DISC)
        for view in ({"width": 1280, "height": 800}, {"width": 390, "height": 844}):
            visitor.page.set_viewport_size(view)
            visitor.page.wait_for_timeout(200)
            assert visitor.page.evaluate(outside) == [], view
            assert visitor.page.evaluate(size) == view
    box = visitor.page.locator(".canvas").bounding_box()
    assert box is not None and box["height"] > 844 / 3


def test_on_a_phone_the_selected_object_is_in_view(visit: Callable[..., Visitor], clip: Path) -> None:
    visitor = visit(view=(390, 844), is_touch=True)
    visitor.open(clip)
    visitor.click(*DISC)
    visitor.press("New object")
    visitor.click(*SQUARE)
    visitor.press("New object")
    visitor.click(*BESIDE)
    row = visitor.page.locator(".objects").bounding_box()
    assert row is not None
    for name in ("Object 3", "Object 1"):
        visitor.page.locator(".object-name", has_text=name).dispatch_event("click")
        bin = visitor.page.get_by_role("button", name=f"Delete {name.lower()}").bounding_box()
        assert bin is not None
        assert row["x"] - 1 <= bin["x"] and bin["x"] + bin["width"] <= row["x"] + row["width"] + 1, name


def test_the_folder_is_below_thirty_megabytes(site: Path) -> None:
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < LARGEST
