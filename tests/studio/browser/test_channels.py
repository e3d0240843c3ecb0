"""A file with several channels: the page offers them, and shows the one that is chosen."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.browser.screen import Screen
from studio.tiffs import write_stack

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SIZE = (180, 320)  # height and width
MIDDLES = """() => {
    const base = document.querySelector(".stage .base");
    const small = new OffscreenCanvas(16, 9).getContext("2d");
    small.drawImage(base, 0, 0, 16, 9);
    return [2, 13].map((x) => Array.from(small.getImageData(x, 4, 1, 1).data.slice(0, 3)));
}"""


def test_a_channel_is_chosen_in_the_page(opened: Callable[[], Screen], clip: Path, tmp_path: Path) -> None:
    screen = opened()
    screen.upload(write_stack(tmp_path / "cells.ome.tif", SIZE, interval=90))
    screen.size = SIZE[1], SIZE[0]
    choice = screen.page.get_by_label("Channel", exact=True)
    choice.wait_for()
    assert choice.locator("option").all_inner_texts() == ["all channels", "DAPI", "GFP"]

    words = "320 \u00d7 180 · 3 time points, every 90 s"  # no frames a second
    screen.page.get_by_text(words, exact=True).wait_for()
    screen.press("ArrowRight")
    screen.page.locator(".position .time", has_text="time 1 (1:30.00)").wait_for()
    screen.press("ArrowLeft")

    def colors() -> tuple[list[int], list[int]]:
        left, right = screen.page.evaluate(MIDDLES)
        return left, right

    screen.until(lambda: colors()[0][0] > 180 > 80 > colors()[0][1])  # red at the left
    screen.press("d")
    screen.drag((150, 90), (170, 90))
    screen.until(lambda: screen.masks(0, 1) == {0: {1}})
    choice.select_option("GFP")
    screen.until(lambda: max(colors()[0]) < 80 and min(colors()[1]) > 180)  # grey, at the right alone
    screen.page.get_by_text("Existing masks are kept.").wait_for()
    assert screen.masks(0, 1) == {0: {1}}
    screen.page.reload()
    screen.opened()
    screen.until(lambda: choice.input_value() == "1")
    screen.until(lambda: max(colors()[0]) < 80 and min(colors()[1]) > 180)
    screen.press("Control+e")
    size = screen.page.get_by_label("Pixel size")
    assert size.get_attribute("placeholder") == "such as 0.65um"
    unsaid = screen.page.get_by_text("YOLO, CVAT and Label Studio cannot store a pixel size")
    assert not unsaid.is_visible()
    size.fill("0.5um")
    unsaid.wait_for()
    with screen.page.expect_download() as download:
        screen.page.locator(".format[data-format=measures]").click()
    (row,) = csv.DictReader(download.value.path().read_text().splitlines())
    assert float(row["area_um2"]) == int(row["area"]) / 4
    screen.press("Escape")
    screen.page.get_by_title("All videos").click()
    image = screen.page.locator(".card img[src*='channel=1']")
    image.wait_for()
    screen.page.set_input_files("#file-picker", str(clip))
    screen.opened()
    assert not choice.is_visible()
