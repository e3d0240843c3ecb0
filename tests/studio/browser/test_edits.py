"""Edits of masks, imports of annotations, and the choice of a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.browser.screen import Screen, ask, new_project
from studio.browser.test_choosing import area

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def edit(screen: Screen, name: str) -> None:
    """Press an entry of the menu of edits, and wait for the answer."""
    screen.press("z")
    with screen.page.expect_response("**/edits"):
        screen.page.get_by_role("button", name=name).click()
    screen.answered()


def test_masks_are_grown_copied_and_undone(screen: Screen) -> None:
    screen.press("d")
    screen.drag((100, 100), (200, 100))
    screen.until(lambda: screen.masks() == {0: {1}})
    before = area(screen)
    edit(screen, "Grow")
    screen.until(lambda: area(screen) > before)
    screen.press("Control+z")
    screen.until(lambda: area(screen) == before)
    screen.press("Shift+C")
    screen.page.wait_for_selector(".stage[data-frame='1']")
    screen.until(lambda: screen.masks() == {0: {1}, 1: {1}})


def test_a_hole_that_is_not_small_is_filled_on_request(screen: Screen) -> None:
    screen.press("q")
    screen.drag((100, 100), (200, 100), (200, 200), (100, 200), (100, 100))
    screen.until(lambda: screen.masks() == {0: {1}})
    whole = area(screen)
    with screen.page.expect_response("**/prompts"):
        screen.page.keyboard.down("Alt")
        screen.drag((130, 130), (170, 130), (170, 170), (130, 170), (130, 130))
        screen.page.keyboard.up("Alt")
    screen.until(lambda: area(screen) < whole)
    screen.press("z")
    screen.page.get_by_role("button", name="Fill holes").click()
    screen.page.get_by_text("No mask on frame 0 has a hole of up to 1 % of the mask.").wait_for()
    screen.press("z")
    screen.page.get_by_label("Fill holes: pixels at most").fill("2000")
    screen.page.get_by_role("button", name="Fill holes").click()
    screen.until(lambda: area(screen) == whole)


@pytest.mark.parametrize("height", [800, 720])
def test_no_tool_hides_another(screen: Screen, height: int) -> None:
    screen.page.set_viewport_size({"width": 1280, "height": height})
    screen.until(lambda: screen.page.evaluate("innerHeight") == height)
    screen.press("d")
    screen.page.get_by_label("Size of the brush in pixels").wait_for()
    hidden = screen.page.locator(".rail").evaluate("rail => rail.scrollHeight - rail.clientHeight")
    assert hidden <= 0


def test_several_objects_are_picked_and_merged(screen: Screen) -> None:
    screen.press("d")
    for number, left in enumerate((100, 300, 500)):
        screen.press("a")
        screen.drag((left, 100), (left + 60, 100))
        screen.until(lambda number=number: len(screen.objects()) == number + 1)
    names = screen.page.locator(".object input.name")
    names.nth(0).click()
    names.nth(2).click(modifiers=["Control"])
    screen.page.locator(".object.picked[data-object='3']").wait_for()
    screen.page.locator(".stage .over").focus()
    whole = area(screen)
    edit(screen, "Merge them, on all frames")
    screen.until(lambda: screen.objects() == ["object 1", "object 2"])
    screen.until(lambda: area(screen) > 1.9 * whole)
    names.nth(1).click(modifiers=["Control"])
    screen.page.locator(".object.picked").wait_for()
    screen.page.locator(".stage .over").focus()
    merged = area(screen)
    edit(screen, "Grow")
    screen.until(lambda: area(screen) > merged and "grow" in screen.label("Undo"))
    screen.press("Control+z")  # one step takes back the edit of both
    screen.until(lambda: area(screen) == merged and "grow" not in screen.label("Undo"))


def test_annotations_are_imported_and_what_was_left_out_is_said(
    opened: Callable[[], Screen], clip: Path, tmp_path: Path
) -> None:
    screen = opened()
    project = new_project(screen, clip, "Imports")
    coco = {
        "images": [{"id": 1, "file_name": "balloons.mp4", "width": 640, "height": 360}],
        "categories": [{"id": 1, "name": "balloon"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0}
            | {"segmentation": [[10, 10, 60, 10, 60, 60, 10, 60]]},
            {"id": 2, "image_id": 9, "category_id": 1, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0}
            | {"segmentation": [[1, 1, 5, 1, 5, 5]]},
        ],
    }
    file = tmp_path / "coco.json"
    file.write_text(json.dumps(coco))
    screen.page.get_by_title("All videos").click()
    screen.page.get_by_role("button", name="Import").click()
    screen.page.get_by_label("File", exact=True).set_input_files(str(file))
    screen.page.get_by_role("dialog").get_by_role("button", name="Import").click()
    screen.page.get_by_text("COCO: 1 mask and 0 boxes or clicks in 1 file.").wait_for()
    screen.page.get_by_text("New classes: balloon.").wait_for()
    screen.page.get_by_text("1 entry skipped").click()
    screen.page.locator(".skipped li").first.wait_for()
    screen.press("Escape")
    screen.page.locator(".card", has_text="1 object").wait_for()
    assert [entry["name"] for entry in ask(screen, "GET", f"projects/{project}")["classes"]] == ["balloon"]


def test_the_model_is_named_with_what_it_costs(opened: Callable[[], Screen]) -> None:
    screen = opened()
    ask(screen, "POST", "projects", {"name": "Models"})
    screen.page.reload()
    name = ask(screen, "GET", "about")["model"]
    choice = screen.page.get_by_label("Model", exact=True)
    screen.page.get_by_text("M parameters").wait_for()
    assert choice.input_value() == name
    measure = screen.page.get_by_role("button", name="Measure")
    if measure.is_visible():
        measure.click()
    screen.page.get_by_text("ms per frame").wait_for()
