"""For everybody: no serious fault that axe-core finds, no keyboard trap, and a phone that can export."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.browser.screen import Screen, ask, new_project
from studio.tiffs import write_stack

pytestmark = [pytest.mark.browser, pytest.mark.slow]

AXE = "axe-core@4.10.3"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm, which fetches axe-core")
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run(
        [npm, "pack", AXE, "--silent"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    if packed.returncode:
        pytest.skip("axe-core cannot be fetched from npm")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        source = archive.extractfile("package/axe.min.js")
        assert source is not None
        return source.read().decode()


def violations(screen: Screen, axe: str) -> list[str]:
    """What axe-core calls serious or critical, and where."""
    screen.page.evaluate(axe)
    result = screen.page.evaluate("async () => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{entry['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for entry in result["violations"]
        if entry["impact"] in ("serious", "critical")
        for node in entry["nodes"]
    ]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_serious(screen: Screen, axe: str, theme: str) -> None:
    screen.page.evaluate("theme => localStorage.setItem('masklet-theme', theme)", theme)
    screen.page.reload()
    screen.opened()
    screen.press("d")
    screen.drag((100, 100), (180, 100))
    screen.press("a")
    screen.drag((300, 100), (380, 100))
    screen.press("a", "p")
    screen.click(188, 160)
    screen.page.locator(".candidate").first.wait_for()
    assert violations(screen, axe) == []
    for keys in ("Control+e", "?"):
        screen.press(keys)
        screen.page.get_by_role("dialog").wait_for()
        assert violations(screen, axe) == [], keys
        screen.press("Escape")
    for menu in ("Comments (Y)", "People", "Edit masks (Z)"):
        screen.page.get_by_role("button", name=menu).click()
        screen.page.locator(".menu:popover-open").wait_for()
        screen.quiet()
        assert violations(screen, axe) == [], menu
        screen.press("Escape")
    screen.page.goto(screen.address)
    screen.page.wait_for_selector(".entry")
    assert violations(screen, axe) == []
    for sheet in ("Classes", "History", "Import", "Export all"):
        screen.page.get_by_role("button", name=sheet).first.click()
        screen.page.get_by_role("dialog").wait_for()
        screen.quiet()
        assert violations(screen, axe) == [], sheet
        screen.press("Escape")
        screen.page.get_by_role("dialog").wait_for(state="detached")


def test_the_tab_key_goes_all_the_way_round(screen: Screen) -> None:
    screen.press("d")
    screen.drag((100, 100), (180, 100))
    screen.until(lambda: screen.objects() == ["object 1"])
    screen.quiet()
    count = screen.page.locator("button:enabled, input:enabled, a[href], [tabindex='0'], select").count()
    seen = set()
    for _ in range(2 * count):
        screen.press("Tab")
        seen.add(screen.page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))
    places = screen.page.evaluate(
        """() => [...document.querySelectorAll("button:enabled, input:enabled, a[href], [tabindex='0']")]
            .filter((element) => element.checkVisibility() && element.tabIndex >= 0)
            .map((element) => element.outerHTML.slice(0, 200))"""
    )
    assert set(places) <= seen


OUTSIDE = """() => [...document.querySelectorAll(".topbar *, .hints *, .transport *")]
    .filter((element) => element.checkVisibility() && !element.closest(".visually-hidden, svg, [popover]"))
    .filter((element) => {
        const { left, right } = element.getBoundingClientRect();
        const isWhole = element.matches(".title, select") || getComputedStyle(element).overflow === "visible";
        return left < 0 || right > innerWidth || (!isWhole && element.scrollWidth > element.clientWidth + 1);
    })
    .map((element) => element.outerHTML.slice(0, 120))"""


def phone(screen: Screen) -> None:
    screen.page.set_viewport_size({"width": 390, "height": 844})
    screen.until(lambda: screen.page.evaluate("innerWidth") == 390)
    screen.paint()


def test_the_focus_stays_with_those_who_use_keys_alone(screen: Screen) -> None:
    page = screen.page
    screen.press("d")
    screen.drag((100, 100), (200, 100))
    screen.until(screen.masks)
    page.get_by_role("button", name="More ways to track").focus()
    screen.press("Enter")
    page.get_by_label("Number of frames").focus()
    screen.press("Control+a", "2", "Enter")
    screen.tracked()
    assert sorted(screen.masks()) == [0, 1]
    page.locator(".tracking :focus").wait_for()
    screen.press("j")
    page.wait_for_selector(".stage[data-frame='1']")
    screen.press("Enter")  # the frame is right, and nothing more is tracked
    screen.until(lambda: ask(screen, "GET", f"videos/{screen.video}")["reviewed"] == [[1, 2]])
    screen.quiet()
    assert sorted(screen.masks()) == [0, 1]
    screen.press("Control+e")
    coco = page.locator("button[data-format='coco']")
    coco.focus()
    with page.expect_download():
        screen.press("Enter")
    page.locator(".export-notes a").wait_for()
    assert coco.evaluate("button => button === document.activeElement")


def test_a_phone_goes_from_file_to_file_and_reads_every_hint(
    opened: Callable[..., Screen], clip: Path
) -> None:
    screen = opened(touch=True)
    project = new_project(screen, clip, "Phone")
    first = screen.video
    image = ask(screen, "POST", f"projects/{project}/videos", {"path": "images/photo 1.png"})["id"]
    screen.page.evaluate("id => (location.hash = `#video/${id}`)", image)
    screen.page.get_by_role("button", name="Accept, next").wait_for()
    screen.opened()
    phone(screen)
    hints = screen.page.locator(".hints")
    assert "Tap" in hints.inner_text() and screen.page.evaluate(OUTSIDE) == []
    previous = screen.page.get_by_role("button", name=f"Previous video: {clip.name}")
    assert screen.page.get_by_role("button", name="Next video").is_disabled()
    previous.tap()
    onwards = screen.page.get_by_role("button", name="Next video: photo 1.png")
    onwards.wait_for()
    screen.opened()
    assert screen.video == first
    height = hints.bounding_box()
    screen.page.touchscreen.tap(*screen.at(188, 140))
    hints.get_by_text("tracks it through the video").wait_for()
    assert screen.page.evaluate(OUTSIDE) == []
    assert hints.bounding_box() == height  # the image stays where it is
    onwards.tap()
    screen.page.get_by_role("button", name="Accept, next").wait_for()
    assert screen.video == image


def test_a_finger_chooses_among_everything(opened: Callable[..., Screen], clip: Path) -> None:
    screen = opened(touch=True)
    screen.upload(clip)
    screen.page.get_by_role("button", name="Everything").tap()
    screen.page.wait_for_selector("[aria-label^=Everything][aria-pressed=true]")
    screen.page.touchscreen.tap(*screen.at(188, 140))
    screen.page.locator(".object[data-object]").wait_for()


BEYOND = """element => [...element.querySelectorAll("*")]
    .filter((inner) => inner.checkVisibility() && !inner.closest(".visually-hidden, svg"))
    .filter((inner) => inner.getBoundingClientRect().right > element.getBoundingClientRect().right + 1)
    .map((inner) => inner.outerHTML.slice(0, 120))"""


def test_menus_and_sheets_fit_on_a_phone(opened: Callable[..., Screen], tmp_path: Path) -> None:
    screen = opened(touch=True)
    classes = [{"name": "cell", "color": "#336699"}]
    project = ask(screen, "POST", "projects", {"name": "Phone"})["id"]
    ask(screen, "PATCH", f"projects/{project}", {"classes": classes})
    screen.show_project(project)
    screen.upload(write_stack(tmp_path / "cells.ome.tif", (180, 320)))
    screen.size = 320, 180
    phone(screen)
    channel = screen.page.get_by_label("Channel", exact=True)
    channel.wait_for()
    tops = [
        one.bounding_box()
        for one in (channel, screen.page.locator(".title"), screen.page.get_by_label("Dark or light"))
    ]
    assert all(tops) and abs(tops[0]["y"] - tops[1]["y"]) < 30  # beside the name
    assert tops[2]["y"] - tops[1]["y"] < 60  # in the second row
    screen.page.touchscreen.tap(*screen.at(50, 90))
    screen.page.locator(".object[data-object]").wait_for()
    for name in ("Comments (Y)", "People", "Edit masks (Z)"):
        screen.page.get_by_role("button", name=name).tap()
        menu = screen.page.locator(".menu:popover-open")
        menu.wait_for()
        screen.quiet()
        assert menu.evaluate(BEYOND) == [], name
        screen.press("Escape")
    screen.show_project(project)
    for name in ("Classes", "History", "Import", "Export all"):
        screen.page.get_by_role("button", name=name).first.tap()
        sheet = screen.page.get_by_role("dialog")
        sheet.wait_for()
        screen.quiet()
        assert sheet.evaluate(BEYOND) == [], name
        screen.press("Escape")
        sheet.wait_for(state="detached")


def test_a_phone_has_all_of_the_top_bar_and_a_finger_sees_the_bin(
    opened: Callable[..., Screen], clip: Path
) -> None:
    screen = opened(touch=True)
    screen.upload(clip)
    phone(screen)
    for name in ("Export", "Keys (?)", "Dark or light"):
        box = screen.page.get_by_role("button", name=name).bounding_box()
        assert box is not None and box["x"] + box["width"] <= 390, name
    assert screen.page.evaluate("document.documentElement.scrollWidth") <= 390
    screen.page.goto(screen.address)
    opacity = screen.page.locator(".card-actions").first.evaluate("e => getComputedStyle(e).opacity")
    assert opacity == "1"
