"""Each rule against a slow and plain restatement of it, on made-up sequences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from masklet.boxes import box_iou
from masklet.tracking.policies.dam4sam import Dam4Sam
from masklet.tracking.policies.gated import Gated
from masklet.tracking.policies.recency import MemoryPolicy, Recency
from masklet.tracking.policies.sam2long import weights
from masklet.tracking.policies.samurai import KalmanBox, Samurai

from .seen import CLIPS, STEADY_CLIPS, Seen, SelectedFrames, mirrored, track_clip

PROMPTS = st.sampled_from([(0,), (0, 3), (0, 7, 20)])
ANY = CLIPS | STEADY_CLIPS
few = settings(max_examples=8, phases=[Phase.generate])  # long clips shrink slowly


def expected(
    now: int, prompts: list[int], maps: list[int], pointers: list[tuple[int, int]], weighted: tuple = ()
) -> SelectedFrames:
    """From the frames in the order in which they are looked at, those of maps the newest first."""
    prompted = [(6, frame) for frame in prompts]
    pointed = [(now - frame, frame) for frame in prompts] + pointers
    return prompted + list(enumerate(maps)), pointed, weighted


def best(seen: Seen) -> int:
    return max(range(3), key=lambda index: seen.ious[index])


@few
@given(ANY, PROMPTS)
def test_recency(clip: list[Seen], prompts: tuple[int, ...]) -> None:
    for now, (recalled, choice) in enumerate(track_clip(Recency(), clip, prompts=prompts)):
        before = [frame for frame in prompts if frame < now]
        tracked = [(now - f, f) for f in range(now - 1, -1, -1) if f not in prompts and now - f <= 15]
        maps = [(6, frame) for frame in before] + [(age - 1, frame) for age, frame in tracked if age <= 6]
        assert recalled == (maps, [(now - frame, frame) for frame in before] + tracked, ())
        assert choice == (0 if now in prompts else best(clip[now]))


@few
@given(ANY, PROMPTS)
def test_gated(clip: list[Seen], prompts: tuple[int, ...]) -> None:
    made = track_clip(Gated(), clip, prompts=prompts)
    for now, (recalled, choice) in enumerate(made):
        good = []
        for frame in range(now - 1, -1, -1):
            if frame in prompts or len([at for at in good if _worth(clip[at]) > 0.01]) == 15:
                continue
            if frame == now - 1 or _worth(clip[frame]) > 0.01:
                good.append(frame)
        before = [frame for frame in prompts if frame < now]
        ranks = list(enumerate(good, start=1))[:15]
        assert recalled == expected(now, before, good[:6], ranks)
        assert choice == (0 if now in prompts else best(clip[now]))


def _worth(seen: Seen) -> float:
    score = seen.score
    return seen.ious[best(seen)] * (2 / (1 + math.exp(-score)) - 1 if score > 0 else 0)


@few
@given(ANY, PROMPTS)
def test_samurai(clip: list[Seen], prompts: tuple[int, ...]) -> None:
    made = track_clip(Samurai(), clip, prompts=prompts)
    filter_, steady, motions, chosen = None, 0, {}, {}
    for now, (recalled, choice) in enumerate(made):
        good: list[int] = []
        for frame in range(now - 1, -1, -1):
            if frame in prompts:
                continue
            well = clip[frame].ious[chosen[frame]] > 0.5 and clip[frame].score > 0
            well = well and motions.get(frame, 1.0) > 0.0
            if frame == now - 1 or well:
                good.append(frame)
        before = [frame for frame in prompts if frame < now]
        pointers = [(now - f, f) for f in range(now - 1, max(-1, now - 16), -1) if f not in prompts]
        assert recalled == expected(now, before, good[:6], pointers)

        chosen[now] = 0
        if now in prompts:
            continue
        seen, led = clip[now], None
        if filter_ is not None and steady > 0:
            filter_ = filter_.predict()
        if filter_ is not None and steady >= 15:
            led = [box_iou(filter_.box, seen.box(index)) for index in range(3)]
            scores = [0.25 * led[index] + 0.75 * seen.ious[index] for index in range(3)]
            chosen[now] = int(np.argmax(scores))
            motions[now] = led[chosen[now]]
        else:
            chosen[now] = best(seen)
        assert choice == chosen[now]
        box, iou = seen.box(chosen[now]), seen.ious[chosen[now]]
        if not seen.area(chosen[now]):
            steady = 0
        elif filter_ is None or steady == 0:
            filter_, steady = KalmanBox.at(box), 1
        elif iou > 0.3:
            filter_, steady = filter_.update(box), steady + 1
        else:
            steady = 0


@few
@given(ANY, PROMPTS)
def test_dam4sam(clip: list[Seen], prompts: tuple[int, ...]) -> None:
    made = track_clip(Dam4Sam(), clip, prompts=prompts)
    anchors: list[int] = []
    areas: dict[int, int] = {}
    for now, (recalled, choice) in enumerate(made):
        before = [frame for frame in prompts if frame < now]
        others = sorted([*before[1:], *anchors], key=lambda frame: now - frame)[:3]
        fixed = [*before[:1], *others]
        visible = [f for f in range(now) if f not in prompts and f not in fixed and areas.get(f, 0) > 0]
        slots = [now - 1]
        while len(slots) < 7 - len(fixed):
            slots.append((slots[-1] - 1) // 5 * 5)
        recent: list[int] = []
        for slot in slots:
            older = [f for f in visible if f <= slot and f not in recent and f < min([*recent, now])]
            recent += older[-1:]
        pointers = [(now - f, f) for f in range(now - 1, max(-1, now - 16), -1) if f in visible]
        assert recalled[0] == [(6, f) for f in fixed] + list(enumerate(recent))
        assert recalled[1] == [(now - f, f) for f in fixed] + pointers

        if now in prompts:
            continue
        seen = clip[now]
        assert choice == best(seen)
        area = seen.area(choice) if seen.score > 0 else 0
        lately = [earlier for f, earlier in areas.items() if earlier and now - f < 300][-10:]
        like = not lately or 0.8 <= area / np.median(lately) <= 1.2
        apart = all(now - f > 5 for f in [*before, *anchors])
        if area and np.float32(seen.ious[choice]) > 0.8 and like and apart and _rivalled(seen, choice):
            anchors.append(now)
        areas[now] = area


def _rivalled(seen: Seen, choice: int) -> bool:
    """A rectangle less another falls into pieces that are found by flooding."""
    masks = (seen.candidates.logits[0] > 0).numpy()
    own = masks[choice]
    for other in (masks[index] & ~own for index in range(3) if index != choice):
        pieces, left = [], {tuple(at) for at in np.argwhere(other)}
        while left:
            piece, edge = set(), [left.pop()]
            while edge:
                y, x = edge.pop()
                piece.add((y, x))
                near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
                left -= near
                edge += near
            pieces.append(piece)
        largest = [piece for piece in pieces if len(piece) == max(map(len, pieces))][:2]
        overlaps = []
        for piece in largest or [set()]:
            ys, xs = np.array(sorted(piece | {tuple(at) for at in np.argwhere(own)})).T
            x0, y0, x1, y1 = map(int, (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            overlaps.append(box_iou(seen.box(choice), (x0, y0, x1, y1)))
        if len({overlap <= 0.7 for overlap in overlaps}) > 1:
            return has_distractor_among_equals(seen, choice)
        if overlaps[0] <= 0.7:
            return True
    return False


def has_distractor_among_equals(seen: Seen, choice: int) -> bool:
    """Of two largest pieces either may be taken; the rule does not say which."""
    from masklet.tracking.policies.dam4sam import has_distractor

    return has_distractor(seen.candidates.logits[0], choice)


@pytest.mark.parametrize("make", [Recency, Gated, Samurai, Dam4Sam])
@few
@given(clip=ANY)
def test_a_bank_with_a_capacity_recalls_as_an_endless_one(make: type[MemoryPolicy], clip: list[Seen]) -> None:
    assert track_clip(make(), clip, capacity=make.capacity) == track_clip(make(), clip)


@pytest.mark.parametrize("make", [Recency, Gated, Samurai, Dam4Sam])
@few
@given(clip=ANY, prompts=PROMPTS)
def test_backwards_is_forwards_in_a_mirror(
    make: type[MemoryPolicy], clip: list[Seen], prompts: tuple[int, ...]
) -> None:
    there = track_clip(make(), clip, prompts=prompts)
    assert mirrored(track_clip(make(), clip, prompts=prompts, reverse=True)) == there


@given(st.lists(st.sampled_from([-2.0, 0.5, 3.0, 10.0]), max_size=20))
def test_weights_rise_with_the_score(scores: list[float]) -> None:
    result = weights(scores)
    assert len(result) == len(scores)
    ordered = [weight for _, weight in sorted(zip(scores, result, strict=True), key=lambda pair: pair[0])]
    even = [1.0] if len(scores) == 1 else list(np.linspace(0.95, 1.05, len(scores)))
    assert ordered == pytest.approx(even)


def test_a_steady_box_is_expected_where_it_goes() -> None:
    motion = KalmanBox.at((0, 0, 10, 20))
    for frame in range(1, 40):
        motion = motion.predict().update((2 * frame, frame, 10 + 2 * frame, 20 + frame))
    assert motion.predict().box == pytest.approx((80, 40, 90, 60), abs=0.3)


def test_the_filter_is_the_textbook_one() -> None:
    """Against the same update written with an inverse, in the form that keeps the covariance symmetric."""
    motion = KalmanBox.at((3, 4, 13, 24)).predict()
    seen, h = np.array([9.0, 15.0, 0.6, 20.0]), motion.mean[3]
    noise = np.diag([h / 20, h / 20, 1e-2, h / 20]) ** 2
    look, p = np.eye(4, 8), motion.covariance
    gain = p @ look.T @ np.linalg.inv(look @ p @ look.T + noise)
    after = motion.update((3, 5, 15, 25))
    rest = np.eye(8) - gain @ look
    np.testing.assert_allclose(after.mean, motion.mean + gain @ (seen - look @ motion.mean))
    np.testing.assert_allclose(after.covariance, rest @ p @ rest.T + gain @ noise @ gain.T, atol=1e-9)
