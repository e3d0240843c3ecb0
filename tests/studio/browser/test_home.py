"""The first page: large folders, and cards that fingers can use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Route

from studio.browser.screen import Screen, ask
from studio.browser.test_teamwork import objects

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_two_hundred_files_are_in_order_and_can_be_searched(opened: Callable[[], Screen]) -> None:
    screen = opened()
    names = [f"clip {number}.mp4" for number in range(1, 201)]
    entries = [{"name": name, "path": name, "kind": "video", "bytes": 5} for name in sorted(names)]
    body = json.dumps({"path": "", "entries": entries})
    screen.page.route(
        "**/api/folder*", lambda route: route.fulfill(body=body, content_type="application/json")
    )
    screen.show_project(ask(screen, "POST", "projects", {"name": "Many"})["id"])
    rows = screen.page.locator(".entry")
    rows.last.wait_for()
    shown = rows.evaluate_all("rows => rows.map((row) => row.dataset.path)")
    assert shown == names
    in_view = rows.evaluate_all(
        """rows => {
            const list = rows[0].closest(".entries").getBoundingClientRect();
            return rows.filter((row) => row.getBoundingClientRect().bottom <= list.bottom).length;
        }"""
    )
    assert in_view >= 12
    screen.page.get_by_label("Search in this folder").fill("17 clip")
    visible = rows.evaluate_all("rows => rows.filter((row) => row.checkVisibility()).length")
    assert visible == sum("17" in name for name in names)


def test_the_list_stays_where_it_is_while_the_folder_loads(screen: Screen) -> None:
    page, answers = screen.page, list[Route]()
    page.route("**/api/folder*", lambda route: answers.append(route))
    page.get_by_title("All videos").click()
    card = page.locator(".cards a").first
    card.wait_for()
    screen.until(lambda: answers)
    before = card.bounding_box()
    for answer in answers:
        answer.continue_()
    page.locator(".entry").first.wait_for()
    assert card.bounding_box() == before


def test_a_project_is_a_list_of_work(opened: Callable[[], Screen]) -> None:
    screen = opened()
    made = {
        "width": 64,
        "height": 48,
        "frames": 10,
        "fps": 24,
        "kind": "video",
        "created": "2026-01-01T00:00:00Z",
        "reviewer": "",
        "comments": 0,
        "tracking": None,
    }
    states = {10: (0, 0, "new", ""), 2: (2, 3, "working", "Ada"), 1: (1, 10, "reviewed", "Grace")}
    names_of_state = ("objects", "reviewed", "state", "assignee")
    videos = [
        {
            "id": f"v{number}",
            "name": f"clip {number}.mp4",
            **dict(zip(names_of_state, state, strict=True)),
            **made,
        }
        for number, state in states.items()
    ]
    project = {"id": "p", "name": "Birds", "policy": "recency", "created": made["created"]}
    project |= {"videos": videos, "classes": []}
    body = json.dumps({"projects": [project]})
    screen.page.route(
        "**/api/projects", lambda route: route.fulfill(body=body, content_type="application/json")
    )
    screen.page.reload()
    names = screen.page.locator(".card strong")
    names.first.wait_for()
    screen.page.get_by_label("Order of videos").select_option("name")
    assert names.all_inner_texts() == ["clip 1.mp4", "clip 2.mp4", "clip 10.mp4"]
    screen.page.get_by_role("button", name="in work").click()
    assert names.all_inner_texts() == ["clip 2.mp4"]
    screen.page.get_by_role("button", name="all 3").click()
    screen.page.get_by_label("Search videos").fill("10")
    assert names.all_inner_texts() == ["clip 10.mp4"]
    screen.page.get_by_label("Search videos").fill("")
    screen.page.get_by_label("Person").select_option("Grace")
    assert names.all_inner_texts() == ["clip 1.mp4"]


def test_the_list_stays_as_it_was_left(opened: Callable[[], Screen], clip: Path) -> None:
    screen = opened()
    ask(screen, "PUT", "me", {"name": "Ada"})
    project = ask(screen, "POST", "projects", {"name": "Left"})["id"]
    paths = [clip.name, *(f"images/photo {number}.png" for number in (1, 2, 10))]
    files = ask(screen, "POST", f"projects/{project}/files", {"paths": paths})["files"]
    for file, name in zip(files, ("Ada", "Grace", "Ada", ""), strict=True):
        ask(screen, "PATCH", f"videos/{file['id']}", {"assignee": name})
    screen.page.goto(f"{screen.address}#project/{project}")
    screen.page.reload()
    names = screen.page.locator(".card strong")
    names.nth(3).wait_for()
    screen.page.get_by_label("Person").select_option(label="mine")
    assert names.all_inner_texts() == [files[0]["name"], files[2]["name"]]
    screen.page.get_by_label("Search videos").fill("photo")
    assert names.all_inner_texts() == [files[2]["name"]]
    names.first.click()
    screen.opened()
    screen.page.get_by_title("All videos").click()
    names.first.wait_for()
    assert names.all_inner_texts() == [files[2]["name"]]
    screen.page.get_by_label("Search videos").fill("")
    screen.page.get_by_label("Person").select_option("")
    screen.page.locator("button[title^='Your name']").click()
    screen.page.get_by_label("Your name").last.fill("Grace")
    screen.press("Enter")
    screen.page.locator("button[title^='Your name']", has_text="Grace").wait_for()
    screen.page.get_by_label("Person").select_option(label="mine")
    assert names.all_inner_texts() == [files[1]["name"]]


def test_a_list_shows_what_is_tracked(opened: Callable[[], Screen], clip: Path) -> None:
    screen = opened()
    project = ask(screen, "POST", "projects", {"name": "Tracked"})["id"]
    video = ask(screen, "POST", f"projects/{project}/videos", {"path": clip.name})["id"]
    share: float | None = 0.25

    def answer(route: Route) -> None:
        body = route.fetch().json()
        for entry in body.get("projects", [body]):
            for file in entry["videos"]:
                if file["id"] == video:
                    file["tracking"] = share
        route.fulfill(json=body)

    screen.page.route("**/api/projects", answer)
    screen.page.route(f"**/api/projects/{project}", answer)
    screen.page.goto(f"{screen.address}#project/{project}")
    card = screen.page.locator(".card")
    card.get_by_text("tracking, 25 %").wait_for()
    share = 0.5
    card.get_by_text("tracking, 50 %").wait_for()
    share = None
    screen.page.locator(".card .tracks").wait_for(state="detached")


def test_a_folder_of_images_is_added_and_worked_through(opened: Callable[[], Screen]) -> None:
    screen = opened()
    project = ask(screen, "POST", "projects", {"name": "Images"})["id"]
    classes = [{"name": f"class {number}", "color": "#00ff00"} for number in range(1, 12)]
    ask(screen, "PATCH", f"projects/{project}", {"classes": classes})
    screen.show_project(project)
    screen.page.locator(".entry[data-path=images]").click()
    screen.page.get_by_role("button", name="Add all 3").click()
    names = screen.page.locator(".card strong")
    names.nth(2).wait_for()
    assert names.all_inner_texts() == ["photo 1.png", "photo 2.png", "photo 10.png"]
    screen.page.get_by_role("button", name="All added").wait_for()  # the folder stays in view
    names.first.click()
    screen.opened()
    search = screen.page.get_by_label("Search classes")
    search.fill("class 7")
    search.press("Enter")
    screen.page.locator(".class-chip[aria-pressed=true]", has_text="class 7").wait_for()
    screen.size = 160, 90
    screen.press("d")
    screen.drag((40, 40), (80, 40))
    screen.page.locator(".hints", has_text="accept: next file").wait_for()
    screen.press("Enter")  # reviewed, and on to the next, which keeps the class
    screen.page.locator(".title", has_text="photo 2.png").wait_for()
    screen.opened()
    screen.press("d")
    screen.drag((40, 40), (80, 40))
    screen.until(lambda: objects(screen) == [("class 7 1", "class 7", {})])
    screen.page.get_by_role("button", name="Accept, next").click()
    screen.page.locator(".title", has_text="photo 10.png").wait_for()
    screen.opened()
    screen.press("Enter")
    screen.page.get_by_text("Every file of the project is reviewed.").wait_for()
    files = ask(screen, "GET", f"projects/{project}/files?state=reviewed")
    assert [entry["name"] for entry in files["files"]] == ["photo 1.png", "photo 2.png", "photo 10.png"]


def test_a_file_that_is_opened_again_makes_no_second_card(opened: Callable[[], Screen], clip: Path) -> None:
    screen = opened()
    project = ask(screen, "POST", "projects", {"name": "Twice"})["id"]
    for _ in range(2):
        screen.show_project(project)
        screen.page.locator(f".entry[data-path='{clip.name}']").click()
        screen.opened()
    screen.page.get_by_title("All videos").click()
    screen.page.locator(".card").wait_for()
    assert screen.page.locator(".card").count() == 1
