"""Numbers become masks: labels stay labels, and soft or noisy masks are one object."""

from __future__ import annotations

import io

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from masklet.errors import PromptError
from masklet.label_maps import NotAMask, _is_noisy, to_label_map, to_mask
from masklet.media import read_label_map
from masklet.prompts import _points
from masklet.types import Prompt

SIZE = (96, 120)
shapes = st.lists(
    st.tuples(st.integers(4, 110), st.integers(4, 90), st.integers(2, 30), st.booleans()),
    min_size=1,
    max_size=12,
)


def draw(shapes: list[tuple[int, int, int, bool]], ids: list[int], dtype: type = np.uint8) -> np.ndarray:
    """A label map of circles and boxes."""
    labels = np.zeros(SIZE, np.int32)
    for (x, y, radius, is_circle), id in zip(shapes, ids, strict=False):
        if is_circle:
            cv2.circle(labels, (x, y), radius, id, -1)
        else:
            cv2.rectangle(labels, (x - radius, y - radius), (x + radius, y + radius // 2), id, -1)
    return labels.astype(dtype)


@given(
    shapes, st.lists(st.integers(1, 254), min_size=12, max_size=12), st.sampled_from([np.uint8, np.uint16])
)
def test_label_maps_keep_their_ids(shapes: list, ids: list[int], dtype: type) -> None:
    labels = draw(shapes, ids, dtype)
    assert (to_label_map(labels) == labels).all()


@given(shapes, st.lists(st.integers(1, 65534), min_size=12, max_size=12))
def test_label_maps_of_sixteen_bits_keep_their_ids(shapes: list, ids: list[int]) -> None:
    labels = draw(shapes, ids, np.uint16)
    assert (to_label_map(labels) == labels).all()


def test_a_thin_border_class_is_a_label() -> None:
    labels = draw([(60, 48, 30, True)], [2])
    cv2.circle(labels, (60, 48), 30, 1, 1)
    assert np.unique(to_label_map(labels)).tolist() == [0, 1, 2]


@given(shapes, st.sampled_from(["blur", "feather", "resize", "jpeg", "png of jpeg"]), st.integers(30, 95))
def test_soft_and_noisy_masks_are_one_object(shapes: list, kind: str, quality: int) -> None:
    mask = draw([(x, y, radius + 12, is_circle) for x, y, radius, is_circle in shapes], [255] * 12)
    soft, is_lossy = mask, kind == "jpeg"
    if kind == "blur":
        soft = cv2.GaussianBlur(mask, (0, 0), 1)
    elif kind == "feather":
        soft = cv2.GaussianBlur(mask, (0, 0), 2.5)
    elif kind == "resize":
        soft = cv2.resize(cv2.resize(mask, (40, 32), interpolation=cv2.INTER_AREA), SIZE[::-1])
    else:
        file = io.BytesIO()
        PIL.Image.fromarray(mask).save(file, "JPEG", quality=quality)
        soft = np.asarray(PIL.Image.open(file))
        assume(is_lossy or len(np.unique(soft)) > 5 or _is_noisy(soft))
    labels = to_label_map(soft, is_lossy=is_lossy)
    assert np.unique(labels).tolist() == np.unique(mask > 0).tolist()
    assert (labels == (soft >= 128)).all()


def test_sixteen_bit_soft_masks() -> None:
    mask = cv2.GaussianBlur(draw([(60, 48, 30, True)], [1]).astype(np.float32), (0, 0), 2)
    assert np.unique(to_label_map((mask * 65535).astype(np.uint16))).tolist() == [0, 1]


@pytest.mark.parametrize("background", [0.0, 0.01, 0.2])
def test_probabilities_are_a_mask_from_a_half_on(background: float) -> None:
    probabilities = np.full(SIZE, background, np.float32)
    probabilities[20:40, 30:60] = 0.97
    probabilities[20:40, 29] = 0.5
    expected = probabilities >= 0.5
    assert (to_mask(probabilities) == expected).all()
    assert (to_label_map(probabilities) == expected).all()
    assert (Prompt(mask=probabilities).mask == expected).all()


def test_logits_are_a_mask_above_zero() -> None:
    logits = np.linspace(-9, 4, 120, dtype=np.float32)[None].repeat(96, 0)
    assert (to_mask(logits) == (logits > 0)).all()


@pytest.mark.parametrize("white", [1, 255])
def test_white_is_one_object(white: int) -> None:
    mask = draw([(60, 48, 30, True)], [255])
    assert np.unique(to_label_map(mask, white=white)).tolist() == [0, white]


def test_prompts_take_one_mask_of_any_form() -> None:
    mask = draw([(60, 48, 30, True)], [1]) > 0
    for form in (mask, mask[None], mask[..., None], mask * 255.0, mask * np.uint8(7), mask.astype(float)):
        assert (Prompt(mask=form).mask == mask).all()


def test_what_is_neither_is_an_error() -> None:
    photograph = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8), (0, 0), 2)
    photograph = cv2.normalize(photograph, None, 0, 255, cv2.NORM_MINMAX)
    with pytest.raises(NotAMask, match="neither labels"):
        to_label_map(photograph)
    with pytest.raises(PromptError, match="mask must be bool, labels"):
        Prompt(mask=photograph)
    with pytest.raises(NotAMask, match="not in a JPEG"):
        to_label_map(draw([(60, 48, 30, True)], [3]), is_lossy=True)


@pytest.mark.parametrize("others", [(0.2, 0.9), (-3.0, 4.0), (0.0, 2.0), (np.nan, np.nan)], ids=repr)
def test_nan_is_neither(others: tuple[float, float]) -> None:
    with pytest.raises(NotAMask, match="of its 3 values are NaN"):
        to_mask(np.array([[np.nan, *others]]))
    with pytest.raises(PromptError, match="are NaN"):
        Prompt(mask=np.array([[np.nan, *others]]))


def test_what_a_masked_array_hides_is_background() -> None:
    """As rasters without data come: the value below the mask means nothing."""
    values = np.ones((4, 6), bool)
    hidden = np.zeros((4, 6), bool)
    hidden[:, :2] = True
    for dtype in (bool, np.uint8, np.float32):
        masked = np.ma.masked_array(values.astype(dtype), hidden)
        assert (Prompt(mask=masked).mask == ~hidden).all()
        assert (read_label_map(masked) == ~hidden).all()
    clicks = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], [[False, False], [True, True]])
    with pytest.raises(PromptError, match=r"positive must be a list of \(x, y\) points"):
        _points(clicks, "positive")


def test_two_objects_of_nearly_black_and_nearly_white_ids_are_labels() -> None:
    """Not the noise of a JPEG, nor a soft edge."""
    for ids in ([248, 6], [1, 192], [3, 250, 7, 252, 9]):
        labels = draw([(30 * i + 12, 40, 5, True) for i in range(len(ids))], ids)
        cv2.circle(labels, (12, 40), 5, ids[1], 1)
        assert (to_label_map(labels) == labels).all()


@pytest.mark.parametrize("ids", [(16, 240), (72, 140, 213), (152, 212), (0, 16, 240)])
def test_small_objects_that_touch_are_never_one_soft_mask(ids: tuple[int, ...]) -> None:
    """Where few pixels are at edges, grey levels between others do not say that they are an edge."""
    rng = np.random.default_rng(sum(ids))
    for _ in range(200):
        labels = np.zeros(rng.integers(8, 30, 2), np.uint8)
        for id in ids:
            y, x = (int(rng.integers(0, side)) for side in labels.shape)
            cv2.circle(labels, (x, y), int(rng.integers(0, 5)), id, -1)
        if np.unique(labels).tolist() in ([0, 255], [255]) or not labels.any():
            continue
        try:
            read = to_label_map(labels)
        except NotAMask as error:
            assert "save labels as a palette PNG" in str(error) or "neither labels" in str(error)
        else:
            assert (read == labels).all()


def test_ids_near_black_and_white_are_no_noise() -> None:
    labels = draw(
        [(15, 40, 9, True), (40, 40, 9, True), (60, 40, 9, True), (85, 40, 9, False)], [1, 2, 254, 255]
    )
    cv2.circle(labels, (100, 80), 6, 3, -1)
    with pytest.raises(NotAMask, match="its values 0, 1, 2, 3, 254, 255 may be labels, or one mask"):
        to_label_map(labels)


def test_soft_edges_of_few_levels_are_one_object() -> None:
    """As masks that are drawn at twice the size and made smaller."""
    for seed in range(50):
        corners = np.random.default_rng(seed).integers(0, (240, 192), (5, 2)).astype(np.int32)
        large = cv2.fillPoly(np.zeros((192, 240), np.uint8), [corners], 255)
        soft = cv2.resize(large, (120, 96), interpolation=cv2.INTER_AREA)
        assert (to_label_map(soft) == (soft >= 128)).all()


@pytest.mark.parametrize(
    "scale, interpolation",
    [(0.5, cv2.INTER_AREA), (0.7, cv2.INTER_LINEAR), (1.7, cv2.INTER_LINEAR), (3, cv2.INTER_CUBIC)],
)
@pytest.mark.parametrize("dtype, factor", [(np.uint8, 1), (np.uint16, 100)])
def test_labels_that_were_resized_with_interpolation_are_refused(
    scale: float, interpolation: int, dtype: type, factor: int
) -> None:
    labels = draw([(30, 40, 22, True), (80, 50, 18, False)], [60, 120]).astype(dtype) * factor
    resized = cv2.resize(labels, None, fx=scale, fy=scale, interpolation=interpolation)
    with pytest.raises(NotAMask, match=r"resized with interpolation|neither labels"):
        to_label_map(resized)


def test_a_dark_photograph_is_refused() -> None:
    noise = np.random.default_rng(0).normal(60, 20, SIZE)
    for photo in (noise, cv2.GaussianBlur(noise, (0, 0), 1), cv2.GaussianBlur(noise, (0, 0), 3) * 2):
        with pytest.raises(NotAMask, match="as in a photograph"):
            to_label_map(photo.clip(0, 180).astype(np.uint8))


def test_touching_cells_keep_their_ids() -> None:
    """Hundreds of small objects without background between them, in any order of ids."""
    rows, columns = np.mgrid[:160, :160]
    centres = np.random.default_rng(1).integers(0, 160, (200, 2))
    cells = ((rows[..., None] - centres[:, 0]) ** 2 + (columns[..., None] - centres[:, 1]) ** 2).argmin(2)
    assert (to_label_map(cells) == cells).all()
    assert (to_label_map(cells.astype(np.uint8)) == cells).all()


def test_black_and_white_of_video_is_one_object() -> None:
    mask = draw([(60, 48, 30, True)], [1])
    assert (to_label_map(np.where(mask, 235, 16).astype(np.uint8)) == mask).all()


def test_floats_below_0_are_logits_or_background() -> None:
    mask = draw([(60, 48, 30, True)], [1])
    logits = np.where(mask, 4.3, -5.2) + np.random.default_rng(0).normal(0, 0.5, SIZE)
    assert (to_label_map(logits) == mask).all()
    assert (to_label_map(np.where(mask, 7.0, -1.0)) == 7 * mask).all()  # -1 is a void label
    with pytest.raises(NotAMask, match="0 or below, down to -1"):
        to_label_map(-mask.astype(np.int8))


def test_half_precision_is_read_as_other_floats() -> None:
    """Its largest number is below the white of 16 bits."""
    mask = draw([(40, 40, 20, True)], [1]) > 0
    for values in (mask, mask * 0.9, np.where(mask, 4.0, -4.0)):
        assert (to_mask(np.asarray(values, np.float16)) == mask).all()


def test_clicks_beyond_all_numbers_are_refused() -> None:
    with pytest.raises(PromptError, match="list of"):
        Prompt(positive=[(10**400, 4)])
