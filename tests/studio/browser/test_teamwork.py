"""A project and the people in it: classes, comments, who works on what, who did what, one export of all."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Route, WebSocketRoute

from studio.browser.screen import FRAMES, Screen, ask, new_project

pytestmark = [pytest.mark.browser, pytest.mark.slow]

RED = (188, 140)


def objects(screen: Screen) -> list[tuple[str, str | None, dict]]:
    found = ask(screen, "GET", f"videos/{screen.video}")["objects"]
    return [(entry["name"], entry["label"], entry["attributes"]) for entry in found]


def test_classes_are_made_once_and_given_by_keys(opened: Callable[[], Screen], clip: Path) -> None:
    screen = opened()
    project = new_project(screen, clip, "Classes")
    screen.page.get_by_role("button", name="Add classes").click()
    for name, attributes in (("balloon", "pattern: plain, striped; scale: 1:1, 1:2; note"), ("basket", "")):
        if name != "balloon":
            screen.page.get_by_role("button", name="Add class", exact=True).click()
        screen.page.keyboard.type(name)  # the name has the focus
        screen.page.get_by_label("Attributes").last.fill(attributes)
    screen.page.get_by_label("Key, a letter or digit").last.fill("1")
    screen.page.get_by_role("button", name="Save classes").click()
    screen.page.get_by_text("Two classes have the key 1").wait_for()
    screen.page.get_by_label("Key, a letter or digit").last.fill("z")
    screen.page.get_by_role("button", name="Save classes").click()
    screen.page.get_by_role("dialog").wait_for(state="detached")
    attributes = ask(screen, "GET", f"projects/{project}")["classes"][0]["attributes"]
    assert [entry["values"] for entry in attributes] == [["plain", "striped"], ["1:1", "1:2"], []]
    screen.press("1", "d")
    screen.drag((100, 100), (180, 100))
    screen.until(lambda: objects(screen) == [("balloon 1", "balloon", {})])
    screen.page.get_by_label("pattern").select_option("striped")
    screen.until(lambda: objects(screen)[0][2] == {"pattern": "striped"})
    screen.page.locator(".stage .over").focus()
    screen.press("z")  # another class for the selected object
    screen.until(lambda: objects(screen)[0][:2] == ("basket 1", "basket"))
    screen.press("Control+z", "Control+z")
    screen.until(lambda: objects(screen) == [("balloon 1", "balloon", {})])
    screen.press("Control+z")  # the stroke and the object that it made
    screen.until(lambda: objects(screen) == [])
    ask(screen, "PATCH", f"projects/{project}", {"classes": []})  # other tests upload to the newest project


def test_values_of_attributes_that_the_sheet_cannot_write_are_kept(opened: Callable[[], Screen]) -> None:
    screen = opened()
    project = ask(screen, "POST", "projects", {"name": "Imported"})["id"]
    attribute = {"name": "pose", "values": ["up, left", "down"]}
    classes = [{"name": "dog", "color": "#336699", "attributes": [attribute]}]
    ask(screen, "PATCH", f"projects/{project}", {"classes": classes})
    screen.show_project(project)
    screen.page.get_by_role("button", name="Classes").click()
    screen.page.get_by_label("Name of the class").fill("hound")
    screen.page.get_by_role("button", name="Save classes").click()
    screen.page.get_by_role("dialog").wait_for(state="detached")
    (saved,) = ask(screen, "GET", f"projects/{project}")["classes"]
    assert saved["name"] == "hound" and saved["attributes"] == [attribute]
    ask(screen, "PATCH", f"projects/{project}", {"classes": []})


def test_comments_are_seen_by_others_and_resolved(opened: Callable[[], Screen], clip: Path) -> None:
    screen, other = opened(), opened()
    new_project(screen, clip, "Comments")
    other.page.goto(screen.page.url)
    other.opened()
    screen.frame(5)
    screen.press("y")
    screen.page.keyboard.type("Is the <b>basket</b> part of it?")
    screen.press("Enter")
    screen.page.get_by_text("Is the <b>basket</b> part of it?").wait_for()
    other.page.locator(".comment-mark[data-frame='5']").wait_for()
    other.page.get_by_role("button", name="Comments (Y): 1 open").click()
    other.page.get_by_role("button", name="frame 5", exact=True).click()
    other.page.wait_for_selector(".stage[data-frame='5']")
    other.page.get_by_role("button", name="Resolve").click()
    screen.page.locator(".comment-mark").wait_for(state="detached")
    screen.page.locator(".comment[data-resolved=true]").wait_for()


def test_candidates_stay_when_somebody_else_clicks(opened: Callable[[], Screen], clip: Path) -> None:
    screen, other = opened(), opened()
    ask(other, "PUT", "me", {"name": "Grace"})
    new_project(screen, clip, "Candidates")
    screen.click(*RED)
    screen.page.locator(".candidate").nth(2).wait_for()
    other.page.goto(screen.page.url)
    other.opened()
    other.press("a", "d")
    other.drag((400, 100), (480, 100))
    screen.until(lambda: screen.masks() == {0: {1, 2}})
    screen.quiet()
    screen.page.locator(".candidate").nth(2).click()
    screen.shows_prompt("1 positive, candidate 3")


def test_people_see_where_others_are_and_who_changes_what(opened: Callable[[], Screen], clip: Path) -> None:
    screen, other = opened(), opened()
    ask(other, "PUT", "me", {"name": "Grace"})
    project = new_project(screen, clip, "People")
    screen.press("d")
    screen.drag((100, 100), (180, 100))
    other.page.goto(screen.page.url)
    other.page.reload()
    other.opened()
    other.frame(7)
    screen.page.get_by_role("button", name="People: you and Grace").click()
    screen.page.get_by_role("button", name="frame 7").wait_for()
    screen.page.get_by_label("Assigned to").wait_for()
    offered = screen.page.locator("#known-people option").evaluate_all("all => all.map(one => one.value)")
    assert "Grace" in offered  # she is here: her name can be chosen
    screen.page.get_by_label("Assigned to").fill("Grace")
    screen.page.get_by_label("Reviewer").fill("Ada")
    screen.page.get_by_label("Reviewer").press("Tab")
    screen.press("Escape")
    other.press("1", "d")
    other.drag((300, 100), (380, 100))
    screen.page.get_by_text("Grace is changing the object that you selected").wait_for()
    screen.page.locator(".changed-by", has_text="Grace").wait_for()
    screen.until(lambda: roles(screen, project) == ("Grace", "Ada"))


def test_work_of_another_person_that_is_changed_is_said(opened: Callable[[], Screen], clip: Path) -> None:
    screen, other = opened(), opened()
    for each, name in ((screen, "Ada"), (other, "Grace")):
        ask(each, "PUT", "me", {"name": name})
    new_project(screen, clip, "Reviewer")
    screen.press("d")
    screen.drag((100, 100), (180, 100))
    screen.until(lambda: screen.masks() == {0: {1}})
    other.page.goto(screen.page.url)
    other.opened()
    other.press("r")
    screen.page.locator(".reviewed-note").wait_for()
    screen.drag((100, 200), (180, 200))
    screen.page.get_by_text("Frame 0 is still marked as reviewed, with its current mask.").wait_for()
    other.press("d")
    other.drag((300, 200), (380, 200))
    screen.until(lambda: "by Grace" in screen.label("Undo"))
    screen.press("Control+z")
    screen.page.get_by_text("Undone: mask on frame 0, by Grace").wait_for()
    other.page.get_by_text("Ada has undone: mask on frame 0.").wait_for()
    screen.until(lambda: "by Ada" in other.label("Undo"))
    screen.press("Delete")
    other.page.get_by_text("Ada deleted the object that you selected.").wait_for()
    other.until(lambda: other.objects() == [])


def test_a_tab_does_not_undo_what_it_has_not_shown(opened: Callable[..., Screen], screen: Screen) -> None:
    screen.press("d")
    screen.drag((170, 100), (210, 100))
    screen.until(lambda: screen.masks() == {0: {1}})
    tab = opened(beside=screen)
    tab.page.route_web_socket("**/events", without_changes)
    tab.page.goto(screen.page.url)
    tab.opened()
    tab.until(lambda: tab.objects() == ["object 1"])
    screen.press("a", "d")
    screen.drag((300, 200), (380, 200))
    screen.until(lambda: screen.objects() == ["object 1", "object 2"])
    assert tab.objects() == ["object 1"]
    tab.press("Control+z")
    sentence = "Nothing was undone, because another tab has made a newer step: mask on frame 0."
    tab.page.get_by_text(sentence).wait_for()
    tab.until(lambda: tab.objects() == ["object 1", "object 2"])
    assert screen.objects() == ["object 1", "object 2"] and screen.masks() == {0: {1, 2}}
    tab.press("Control+z")
    tab.until(lambda: tab.objects() == ["object 1"])
    screen.page.get_by_text("In another tab you have undone: mask on frame 0.").wait_for()
    screen.until(lambda: screen.objects() == ["object 1"])
    screen.press("Control+z")
    screen.until(lambda: screen.objects() == [])


def without_changes(page: WebSocketRoute) -> None:
    """A line on which the news of steps are late."""
    server = page.connect_to_server()

    def forward(message: str | bytes) -> None:
        if json.loads(message)["type"] not in ("changed", "masks"):
            page.send(message)

    server.on_message(forward)


def test_the_undo_of_a_message_is_for_that_step(screen: Screen) -> None:
    screen.press("d")
    screen.drag((170, 100), (210, 100))
    screen.until(lambda: screen.masks() == {0: {1}})
    screen.press("a", "d")
    screen.drag((300, 200), (380, 200))
    screen.until(lambda: screen.masks() == {0: {1, 2}})
    screen.press("Delete")
    undo = screen.page.locator(".toast", has_text="Deleted object 2.").get_by_role("button", name="Undo")
    undo.wait_for()
    held: list[Route] = []
    screen.page.route("**/prompts", lambda route: held.append(route))
    screen.page.mouse.move(*screen.at(100, 250))
    screen.page.mouse.down()
    screen.page.mouse.move(*screen.at(150, 250))
    screen.page.mouse.up()
    screen.until(lambda: held)
    undo.click()  # before the stroke is answered
    held[0].continue_()
    screen.page.get_by_text("Nothing was undone, because there is a newer step: mask on frame 0.").wait_for()
    assert screen.masks() == {0: {1}}
    screen.page.unroute("**/prompts")
    screen.press("Control+z", "Control+z")
    screen.until(lambda: screen.masks() == {0: {1, 2}})
    screen.press("2", "Delete")
    undo.wait_for()
    screen.drag((100, 250), (150, 250))
    undo.wait_for(state="detached")
    screen.press("Control+z", "Control+z")
    screen.until(lambda: screen.masks() == {0: {1, 2}})
    screen.press("2", "Delete")
    undo.wait_for()
    screen.page.get_by_title("All videos").click()
    undo.wait_for(state="detached")


def test_attributes_set_at_the_same_time_are_both_kept(opened: Callable[[], Screen], clip: Path) -> None:
    screen, other = opened(), opened()
    ask(other, "PUT", "me", {"name": "Grace"})
    project = new_project(screen, clip, "Attributes")
    attributes = [{"name": "pose", "values": ["up", "down"]}, {"name": "mood", "values": ["good", "bad"]}]
    ask(
        screen,
        "PATCH",
        f"projects/{project}",
        {"classes": [{"name": "balloon", "color": "#aa3355", "attributes": [*attributes, {"name": "note"}]}]},
    )
    ask(screen, "POST", f"videos/{screen.video}/objects", {"label": "balloon"})
    for one in (screen, other):
        one.page.goto(screen.page.url)
        one.page.reload()
        one.opened()
        one.press("1")
        one.page.get_by_label("pose").wait_for()
    # What Grace sees from now on is late: she changes the object as it was before.
    other.page.route(
        "**/api/videos/*", lambda route: None if route.request.method == "GET" else route.continue_()
    )
    screen.page.get_by_label("pose").select_option("up")
    screen.page.get_by_label("note").fill("string torn")
    screen.press("Enter")
    screen.until(lambda: objects(screen)[0][2] == {"pose": "up", "note": "string torn"})
    other.page.get_by_label("mood").select_option("bad")
    screen.until(lambda: objects(screen)[0][2] == {"pose": "up", "note": "string torn", "mood": "bad"})
    screen.page.get_by_text("Grace is changing the object that you selected: mood of balloon 1.").wait_for()
    other.page.get_by_label("pose").select_option("down")  # the same field
    other.page.get_by_text("set “pose” to “up” at the same time; now it is “down”.").wait_for()
    screen.page.get_by_text("Grace is changing the object that you selected: pose of balloon 1.").wait_for()
    screen.page.get_by_label("note").fill("")  # without leaving the field in between
    screen.press("Enter")
    screen.until(lambda: objects(screen)[0][2] == {"pose": "down", "mood": "bad"})
    ask(screen, "PATCH", f"projects/{project}", {"classes": []})


def test_a_name_that_replaces_another_one_is_said(opened: Callable[[], Screen], clip: Path) -> None:
    screen, other = opened(), opened()
    ask(other, "PUT", "me", {"name": "Grace"})
    new_project(screen, clip, "Names")
    object = ask(screen, "POST", f"videos/{screen.video}/objects", {"name": "balloon"})["id"]
    field = screen.page.locator("input.name")
    screen.until(lambda: field.first.input_value() == "balloon")
    field.first.dblclick()
    screen.page.keyboard.type("red balloon")
    ask(other, "PATCH", f"videos/{screen.video}/objects/{object}", {"name": "ballon rouge"})
    badge = screen.page.locator(".changed-by", has_text="Grace")
    screen.page.get_by_text("Grace is changing the object that you selected").wait_for()
    screen.press("Enter")
    words = "set the name to “ballon rouge” at the same time; now it is “red balloon”."
    screen.page.get_by_text(words).wait_for()
    badge.wait_for()
    box = field.first.bounding_box()
    assert box is not None and box["width"] > 80  # the badge leaves room for the name


def roles(screen: Screen, project: str) -> tuple[str, str]:
    """Assignee and reviewer of a project's only file."""
    file = ask(screen, "GET", f"projects/{project}/files")["files"][0]
    return file["assignee"], file["reviewer"]


def test_a_video_that_somebody_deletes_is_said_to_be_gone(opened: Callable[[], Screen], clip: Path) -> None:
    screen, late = opened(), opened()
    project = new_project(screen, clip, "Deleted")
    lines: list[WebSocketRoute] = []

    def keep_from_hearing(line: WebSocketRoute) -> None:
        """Of the deletion, as a page that was offline then."""
        lines.append(line)
        server = line.connect_to_server()
        server.on_message(lambda message: line.send(message) if '"gone"' not in str(message) else None)

    late.page.route_web_socket("**/events", keep_from_hearing)
    late.page.goto(screen.page.url)
    late.page.reload()
    late.opened()
    late.until(lambda: lines)
    ask(late, "DELETE", f"videos/{screen.video}")
    words = f"“{clip.name}” was deleted with its masks."
    screen.page.get_by_text(words).wait_for()
    assert screen.page.url.endswith(f"#project/{project}")
    lines[-1].close(code=4000)
    late.page.get_by_text(words).wait_for()
    ask(screen, "DELETE", f"projects/{project}")
    late.page.goto(f"{late.address}#project/{project}0")
    late.page.get_by_text("This project was deleted, or its address is wrong.").wait_for()


def test_an_assignment_that_somebody_else_made_meanwhile_is_kept(
    opened: Callable[[], Screen], clip: Path
) -> None:
    screen = opened()
    project = new_project(screen, clip, "Assignments")
    video = f"videos/{screen.video}"
    screen.page.get_by_role("button", name="People").click()
    screen.page.get_by_label("Assigned to").wait_for()
    ask(screen, "PATCH", video, {"reviewer": "Grace"})
    screen.page.get_by_label("Assigned to").fill("Ada")
    screen.page.get_by_label("Assigned to").press("Tab")
    screen.until(lambda: roles(screen, project) == ("Ada", "Grace"))
    screen.page.get_by_label("Reviewer").fill("Ada")
    screen.page.get_by_label("Reviewer").press("Tab")
    screen.page.get_by_text("Someone else set the reviewer to Grace: nothing was changed.").wait_for()
    screen.until(lambda: screen.page.get_by_label("Reviewer").input_value() == "Grace")


def test_a_project_shows_its_history_and_goes_out_as_one_data_set(
    opened: Callable[[], Screen], clip: Path, tmp_path: Path
) -> None:
    screen = opened()
    project = new_project(screen, clip, "Data set")
    ask(screen, "PATCH", f"projects/{project}", {"classes": [{"name": "balloon", "color": "#ff0000"}]})
    screen.page.reload()
    screen.opened()
    screen.page.locator(".class-chip", has_text="balloon").click()
    screen.press("d")
    screen.drag((100, 100), (180, 100))
    screen.until(lambda: screen.masks() == {0: {1}})
    screen.page.get_by_title("All videos").click()
    screen.page.get_by_role("button", name="State and people of balloons.mp4").click()
    screen.page.get_by_label("Assigned to").fill("Ada")
    screen.page.get_by_role("combobox", name="State").select_option("reviewed")
    screen.page.get_by_role("button", name="Save").click()
    screen.page.locator(".card[data-state=reviewed]", has_text="Ada").wait_for()
    screen.page.get_by_role("button", name="History").click()
    rows = screen.page.locator(".audit tbody tr")
    rows.first.wait_for()
    assert "state reviewed" in rows.first.inner_text()
    assert "mask on frame 0" in " ".join(rows.all_inner_texts())
    screen.press("Escape")
    screen.page.get_by_role("button", name="Export all").click()
    with screen.page.expect_download() as download:
        screen.page.get_by_role("button", name="Export", exact=True).click()
    path = tmp_path / "project.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as archive:
        files = archive.namelist()
        splits = [json.loads(archive.read(name)) for name in files if name.startswith("annotations/")]
    assert [entry["name"] for entry in splits[0]["categories"]] == ["balloon"]
    assert sum(len(split["annotations"]) for split in splits) == 1
    assert sum(name.endswith(".jpg") for name in files) == 1


def test_problems_list_jumps_and_overlaps(screen: Screen) -> None:
    for number, (left, right) in enumerate(((100, 180), (120, 200))):
        screen.press("a", "d")
        screen.drag((left, 100), (right, 100))
        screen.until(lambda number=number: len(screen.objects()) == number + 1)
    screen.press("p", "f")
    screen.tracked_to(FRAMES)
    screen.page.get_by_role("button", name="Problems").click()
    overlap = screen.page.locator("[data-problem=overlap]").first
    overlap.wait_for()
    assert "object 1 and object 2 overlap" in overlap.inner_text()
    in_view = "(row) => row.getBoundingClientRect().right <= innerWidth"
    screen.until(lambda: overlap.evaluate(in_view))
    overlap.click()
    screen.page.wait_for_selector(".stage:not([data-frame='0'])")


def test_a_video_is_accepted_when_all_that_is_doubtful_was_seen(
    opened: Callable[[], Screen], clip: Path
) -> None:
    screen = opened()
    project = new_project(screen, clip, "Accept")
    hints = screen.page.locator(".hints")
    hints.get_by_text("makes a mask of the object").wait_for()
    screen.press("d")
    screen.drag((100, 100), (180, 100))
    screen.press("p")
    hints.get_by_text("adds to object 1").wait_for()
    hints.get_by_text("tracks it through the video").click()  # a hint is no button: nothing happens
    screen.page.locator(".stage .over").focus()
    screen.press("f")
    screen.tracked_to(FRAMES)
    hints.get_by_text("most doubtful frame").wait_for()
    right = screen.page.get_by_role("button", name="Accept the video: next")
    for _ in range(FRAMES):
        if right.is_visible():
            break
        screen.press("j")
        screen.quiet()
    right.click()
    screen.page.get_by_text("Every file of the project is reviewed.").wait_for()
    (file,) = ask(screen, "GET", f"projects/{project}/files?state=reviewed")["files"]
    assert file["name"] == clip.name
    screen.page.get_by_role("button", name="Open the project").click()
    screen.page.locator(".card[data-state=reviewed]").wait_for()
