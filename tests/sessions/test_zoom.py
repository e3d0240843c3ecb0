"""What is small is looked at again, from close up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import masklet
from masklet.config import NANO, TINY, toy
from masklet.model import Sam2
from masklet.sessions.image import ImageSession
from masklet.sessions.tracker import Tracker
from masklet.sessions.video import VideoSession
from masklet.sessions.zoom import (
    NARROWEST,
    WORTH,
    around,
    coarse,
    elsewhere,
    found,
    meant,
    shared,
    within,
)
from masklet.types import DRAWN, Closeup, Masks, Prompt
from sessions.followed import assert_all_equal, follow, standing
from toys import assert_equal, clip, differ, toy_network

WIDE = (120, 160)
SMALL = Prompt(box=(40, 30, 60, 50))
LARGE = Prompt(box=(10, 10, 150, 110))


@pytest.fixture(scope="module")
def keen() -> Sam2:
    """A toy that looks closer, as nano does."""
    return toy_network(replace(toy(), closer=True))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return clip(6, WIDE)


def test_nano_looks_closer_and_the_published_networks_do_not() -> None:
    assert NANO.closer and masklet.load().config == NANO
    assert not TINY.closer


@pytest.mark.parametrize(
    ("box", "window"),
    [
        ((40, 30, 60, 50), (30, 20, 70, 60)),  # twice its sides, about its middle
        ((0, 0, 20, 20), (0, 0, 40, 40)),  # moved into the picture
        ((150, 110, 160, 120), (160 - NARROWEST, 120 - NARROWEST, 160, 120)),
        ((40, 30, 80, 34), (20, 12, 100, 52)),  # not flatter than two to one
        ((10, 10, 150, 110), None),  # large: nothing to gain
    ],
)
def test_the_window(box: tuple[float, float, float, float], window: tuple[int, ...] | None) -> None:
    assert around(box, WIDE) == window
    if window is not None:
        assert (window[2] - window[0]) * (window[3] - window[1]) <= WORTH * WIDE[0] * WIDE[1]


def test_one_window_does_for_what_is_alike() -> None:
    window, box = (30, 20, 70, 60), (40.0, 30.0, 60.0, 50.0)
    assert shared(window, box, [(0, 0, 40, 40), (28, 22, 68, 62)]) == (28, 22, 68, 62)
    assert shared(window, box, [(45, 20, 85, 60)]) == window, "it would cut the object"
    assert shared(window, box, [(0, 0, 100, 100)]) == window, "it shows it too small"


def test_where_an_object_is_meant_to_be() -> None:
    mask = np.zeros(WIDE, dtype=bool)
    assert meant(Prompt(positive=[(3, 4)]), None) is None
    assert found(mask, Prompt(positive=[(3, 4)])) is None
    mask[20:30, 40:60] = True
    assert meant(Prompt(positive=[(70, 4)], negative=[(1, 1)]), _masks(mask)) == (40, 4, 70, 30)
    assert meant(Prompt(mask=mask), None) == (40, 20, 60, 30)
    assert meant(SMALL | Prompt(positive=[(80, 35)]), _masks(mask)) == (40, 30, 80, 50)


def test_a_prompt_in_a_window() -> None:
    mask = np.zeros(WIDE, dtype=bool)
    mask[30:40, 50:60] = True
    said = Prompt([(50, 40)], [(5, 5), (35, 35)], (40, 30, 60, 50), mask)
    there = within((30, 20, 70, 60), said)
    assert there == Prompt([(20, 20)], [(5, 15)], (10, 10, 30, 30), mask[20:60, 30:70])


def test_a_closeup_is_seen_in_its_window_and_nowhere_else() -> None:
    close = Closeup((30, 20, 70, 60), torch.full((4, 4), 3.0))
    masks = Masks(0, (7,), torch.zeros(1, 4, 4), WIDE, torch.ones(1), torch.ones(1), closeups={7: close})
    assert masks.boxes.tolist() == [[30, 20, 70, 60]]
    assert masks.logits[0, 40, 50] == 3 and masks.logits[0, 0, 0] == -DRAWN
    assert masks.select(7)[7].sum() == Masks.joined({1: masks})[1].sum() == 1600
    low_res = coarse(close, WIDE, 16)[0]
    assert low_res.shape == (16, 16) and low_res.max() == 3 and low_res.min() == -DRAWN
    assert abs((low_res > 0).float().mean() - 1600 / 120 / 160) < 0.03


def test_a_closer_look_is_a_look_at_the_window(keen: Sam2, pictures: np.ndarray) -> None:
    masks = ImageSession(keen, pictures[0]).segment(SMALL)
    x0, y0, x1, y1 = masks.closeups[0].window
    cut = ImageSession(keen, pictures[0, y0:y1, x0:x1], closer=False)
    there = cut.segment(within((x0, y0, x1, y1), SMALL))
    assert np.array_equal(masks[0][y0:y1, x0:x1], there[0])
    assert masks[0].sum() == there[0].sum() and torch.equal(masks.iou, there.iou)


def test_what_lay_elsewhere_is_looked_at_twice(keen: Sam2, pictures: np.ndarray) -> None:
    """In a window of 80 x 80 one answer turns out to fill a corner; the other lies as it did from afar."""
    corner, middle = (torch.full((16, 16), -5.0) for _ in range(2))
    corner[:4, :4] = 5
    middle[4:12, 4:12] = 5
    window = (40, 20, 120, 100)
    seen = {0: Closeup(window, corner), 1: Closeup(window, middle)}
    once = Masks(
        0, (0, 1), torch.zeros(2, 16, 16), WIDE, torch.tensor([0.9, 0.8]), torch.ones(2), closeups=seen
    )
    now = ImageSession(keen, pictures[0])._look_at_each(once, Prompt(positive=[(50, 30)]))
    windows = [close.window for close in now.closeups.values()]
    assert windows.count(window) == 1 and any(np.array_equal(once[1], mask) for _, mask in now.items())
    (there,) = {*windows} - {window}
    assert elsewhere(window, there) and there == around(found(once[0], Prompt()) or window, WIDE)


def test_what_is_large_is_not_looked_at_again(keen: Sam2, pictures: np.ndarray) -> None:
    masks = ImageSession(keen, pictures[0]).segment(LARGE)
    assert not masks.closeups
    assert_equal(masks, ImageSession(keen, pictures[0], closer=False).segment(LARGE))


def test_whoever_asks_decides(keen: Sam2, network: Sam2, pictures: np.ndarray) -> None:
    assert not ImageSession(keen, pictures[0], closer=False).segment(SMALL).closeups
    assert not ImageSession(network, pictures[0]).segment(SMALL).closeups
    assert ImageSession(network, pictures[0], closer=True).segment(SMALL).closeups


def test_corrections_start_from_what_was_seen_close_up(keen: Sam2, pictures: np.ndarray) -> None:
    session = ImageSession(keen, pictures[0])
    first = session.segment(SMALL)
    more = SMALL | Prompt(negative=[(45, 35)])
    assert differ(session.segment(more, hint=first), session.segment(more))


def test_in_a_video_its_answer_stands_to_the_pixel(keen: Sam2, pictures: np.ndarray) -> None:
    session = VideoSession(keen, pictures)
    masks = session.prompt(1, 1, SMALL)
    expected = ImageSession(keen, pictures[1], features=session.features(1)).segment(SMALL)
    assert np.array_equal(masks[1], expected[0]) and torch.equal(masks.iou, expected.iou)
    for _ in session.propagate():
        pass
    assert np.array_equal(session.masks(1)[1], expected[0])
    assert session.offered is not None and not session.offered.closeups.keys() - {0}
    session.prompt(1, 1, Prompt(mask=expected[0]))
    assert session.offered is None


def test_then_too_a_stream_is_a_video(keen: Sam2, pictures: np.ndarray) -> None:
    said = {0: {1: SMALL, 2: LARGE}, 3: {1: Prompt(box=(60, 60, 80, 80))}}
    tracker = Tracker(keen)
    streamed = {frame: tracker.step(image, said.get(frame)) for frame, image in enumerate(pictures)}
    session = VideoSession(keen, pictures)
    for id, prompt in said[0].items():
        session.prompt(0, id, prompt)
    stored = follow(session, 0, 4)
    stored[3] = session.prompt(3, 1, said[3][1])
    stored |= follow(session, 4)
    assert_all_equal(streamed, stored, tolerance=2e-3)
    for frame in said:
        assert streamed[frame].drawn.keys() == stored[frame].drawn.keys() == {1}, "found by a closer look"
        assert np.array_equal(streamed[frame][1], stored[frame][1])


def test_then_too_a_script_replayed_is_the_session(keen: Sam2, pictures: np.ndarray) -> None:
    session = VideoSession(keen, pictures)
    session.prompt(0, 1, SMALL)
    follow(session)
    session.prompt(3, 1, Prompt(negative=[(45, 35)]))
    session.prompt(3, 2, Prompt(positive=[(100, 80)]))
    follow(session)
    again = VideoSession(keen, pictures).replay(session.script)
    assert_all_equal(standing(again), standing(session))


def test_nano_sees_a_small_thing_better_from_close_up() -> None:
    """A disc of 20 pixels before a grey wall of 640 x 480."""
    rows, columns = np.mgrid[:480, :640]
    disc = (rows - 300) ** 2 + (columns - 200) ** 2 < 10**2
    picture = np.full((480, 640, 3), 120, dtype=np.uint8) + (columns[..., None] // 16).astype(np.uint8)
    picture[disc] = 200, 60, 40
    model, box = masklet.load(), Prompt(box=(190, 290, 211, 311))
    near, far = (ImageSession(model, picture, closer=closer).segment(box)[0] for closer in (True, False))
    overlap = [(mask & disc).sum() / (mask | disc).sum() for mask in (near, far)]
    assert overlap[0] > 0.7 and overlap[0] > overlap[1]


def _masks(mask: np.ndarray) -> Masks:
    low_res = torch.from_numpy(np.where(mask, 1.0, -1.0).astype(np.float32))[None]
    return Masks(0, (5,), low_res, WIDE, torch.ones(1), torch.ones(1))
