"""The table, the JSON and the page agree with the results; the command writes all of them."""

import json

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from masklet.cli.evaluate import evaluate
from masklet.evaluate import report
from masklet.evaluate.report import ObjectResult, WorstFrame
from masklet.evaluate.samples import find_clips
from masklet.rle import encode

from .small import write_moving_square

SQUARE = np.zeros((20, 30), dtype=bool)
SQUARE[5:10, 5:10] = True


def row(sample, setting, step, score, object=1, worst=()):
    return ObjectResult(sample, object, setting, step, {"J&F": score, "s/frame": 0.25}, worst)


CLICKS = [
    row("bear", "mask", None, 0.9),
    row("bear", "1 click", 1, 0.4),
    row("bear", "3 clicks", 3, 0.6),
    row("bus", "mask", None, 0.7),
    row("bus", "1 click", 1, 0.2),
    row("bus", "3 clicks", 3, 0.4),
    row("bus", "mask", None, 0.5, object=2),
]


def test_a_line_for_each_setting_is_a_mean_over_objects():
    lines = report.summarize(CLICKS)
    assert [(line.label, line.objects) for line in lines] == [("mask", 3), ("1 click", 2), ("3 clicks", 2)]
    assert [line.format("J&F") for line in lines] == ["70.0", "30.0", "50.0"]
    assert lines[0].format("s/frame") == "0.25"


def test_in_the_groups_mean_each_clip_counts_once():
    bear, bus, mean = report.summarize_groups(CLICKS, "mask")
    assert (bear.label, bear.format("J&F")) == ("bear", "90.0")
    assert (bus.label, bus.objects, bus.format("J&F")) == ("bus", 2, "60.0")
    assert (mean.label, mean.objects, mean.format("J&F")) == ("mean of 2", 3, "75.0")


def test_a_setting_that_is_a_curve_has_a_line_for_each_step_and_their_mean():
    rows = [row("bear", "online", step, score) for step, score in ((1, 0.5), (2, 0.7))]
    lines = report.summarize(rows)
    assert [(line.label, line.format("J&F")) for line in lines] == [
        ("online, step 1", "50.0"),
        ("online, step 2", "70.0"),
        ("online, mean", "60.0"),
    ]
    assert lines[-1].objects == 1


def test_the_curve_leaves_out_what_has_no_step():
    assert report.mean_curve(CLICKS, "J&F") == [(1, pytest.approx(0.3)), (3, pytest.approx(0.5))]


def test_the_worst_frames_take_turns_among_clips():
    def frames(*scores):
        return tuple(
            WorstFrame(frame, score, encode(SQUARE), encode(SQUARE)) for frame, score in enumerate(scores)
        )

    rows = [
        row("bear", "mask", None, 0.1, worst=frames(0.1, 0.2)),
        row("bus", "mask", None, 0.5, worst=frames(0.5)),
    ]
    repeated = [*rows, row("bear", "box", None, 0.1, worst=frames(0.3))]
    assert [(result.sample, worst.score) for result, worst in report.worst_frames(repeated)] == [
        ("bear", 0.1),
        ("bus", 0.5),
        ("bear", 0.2),
    ]


def test_hits_misses_and_excess_have_colours():
    black = np.zeros((20, 30, 3), dtype=np.uint8)
    image = report.paint_errors(black, SQUARE, np.roll(SQUARE, 2, axis=1))
    hit, missed, exceeded, background = image[7, 8], image[7, 5], image[7, 11], image[0, 0]
    assert [int(pixel.argmax()) for pixel in (hit, missed, exceeded)] == [1, 2, 0]
    assert not background.any()


def test_the_command_writes_table_json_and_page(tmp_path):
    write_moving_square(tmp_path / "data")
    app = typer.Typer()
    app.command()(evaluate)
    command = ["video", str(tmp_path / "data"), "--model", "repeat", "--out", str(tmp_path / "out")]
    answer = CliRunner().invoke(
        app, [*command, "--given", "mask", "--given", "3 clicks"], catch_exceptions=False
    )
    assert answer.exit_code == 0 and "J&F" in answer.output and "3 clicks" in answer.output
    content = json.loads((tmp_path / "out/result.json").read_text())
    assert set(content["means"]) == {"mask", "3 clicks"} and len(content["results"]) == 2
    page = (tmp_path / "out/report.html").read_text()
    assert "moving" in page and page.count('<img src="data:image/jpeg;base64,') >= 2
    assert f"{100 * content['means']['mask']['J&F']:.1f}" in page and "s/frame in units" in page
    assert ": moving, frame " in page and "one at a time" not in page  # there is only one


def test_prompts_are_not_chosen_for_protocols_that_have_their_own(tmp_path):
    app = typer.Typer()
    app.command()(evaluate)
    command = ["online", str(tmp_path), "--model", "repeat", "--out", str(tmp_path), "--given", "box"]
    assert CliRunner().invoke(app, command).exit_code == 2


def test_the_page_draws_a_curve_where_there_is_one(tmp_path):
    write_moving_square(tmp_path / "data")
    [clip] = find_clips(tmp_path / "data")
    report.write_page(
        tmp_path / "page.html",
        report.load_template(),
        "<clicks>",
        "masklet evaluate video <clips>",
        CLICKS,
        axis="clicks",
        headline=["J&F"],
        read_frame=lambda name, frame: clip.image(frame),
    )
    page = (tmp_path / "page.html").read_text()
    assert "<polyline" in page and "J&amp;F over clicks" in page
    assert (
        "masklet evaluate video &lt;clips&gt;" in page and "&lt;clicks&gt;" in page and "<clicks>" not in page
    )


def test_the_table_fits_a_terminal():
    console = Console(width=100, record=True, file=None)
    console.print(report.make_table("title", report.summarize(CLICKS)))
    assert "3 clicks" in console.export_text()


def test_a_small_object_is_enlarged():
    region = np.zeros((200, 400), dtype=bool)
    region[10:30, 300:320] = True  # a tenth of the height
    rows, columns = report.crop_around(region)
    assert (rows, columns) == (slice(0, 60), slice(249, 369))
    assert region[rows, columns].sum() == region.sum()
    assert region[report.crop_around(np.ones_like(region))].shape == region.shape
    assert region[report.crop_around(np.zeros_like(region))].shape == region.shape
