"""The rules by which numbers become masks: object ids, soft edges and noise.

Every mask that a user passes, as an array or an image, is read by these rules:

* Two values, one of them 0: one object. Its id is the other value; 1 if that is white (255 or 65535).
* A few flat values, such as 0, 1, 2, 3: a label map. 0 is the background, every other value an object's id.
* Black and white with soft edges, or with JPEG noise: one object, where values are at least half of white.
* Floats from 0 to 1: probabilities of one object; the mask is where they are 0.5 or more.
* Floats with values below 0: logits of one object; the mask is where they are above 0. Whole numbers below 0
  are background.
* In a TIFF in which 0 is shown as white, as ImageJ and tifffile write masks, the numbers are used, not the
  appearance; in black and white pages of other programs, such as scans, white is the object.
* Anything else is an error: a photograph, labels that were enlarged with interpolation, a NaN. Ambiguous
  values are an error too: a few grey levels in thin lines that do not change from black to white like soft
  edges.
"""

from __future__ import annotations

from typing import Any

import numpy as np

NEAR_WHITE = 0.75  # share of white that a soft mask reaches somewhere
SMOOTH_SHARE = 0.4  # minimum share of a soft mask's edge pixels with values between their neighbours'
SOFT_SHARE = 0.65  # the same: more is a soft mask
MIDDLE = 0.25, 0.75  # fractions of white; between them are the edges of a mask
MANY_VALUES, FLAT_SHARE = 16, 0.2  # more values, or less flat area, mean noise
FEW_LEVELS = 8  # soft edges with so few values end in white
WHITE_SHARE = 0.35  # minimum share of white among the pixels that are not dark, in a noisy image
NOISE_FLAT_SHARE = 0.05  # maximum share of flat pixels among the noise
NOISE_SHARE = 0.2  # maximum share of grey among the pixels that are not dark, in a noisy image
EDGE_SHARE = 0.6  # maximum share of a mask's edges among the pixels that are not dark
NOISE = 12  # the error of a JPEG at black and white, of 255
VIDEO_BLACK, VIDEO_WHITE = 16, 235  # black and white in video range, of 255
FEW_VALUES, INNER_SHARE = 4, 0.7  # of more labels, the minimum share that is not only at edges


HIGHEST_ID = 2**31 - 1  # largest int32


class NotAMask(ValueError):
    """The values are neither labels nor a mask."""


def to_mask(values: Any) -> np.ndarray:
    """One object's mask, bool (H, W), by the rules above; several labels are joined.

    >>> to_mask(np.array([[0.01, 0.3], [0.6, 0.99]])).tolist()
    [[False, False], [True, True]]
    >>> to_mask(np.array([[0, 40, 210, 255]], np.uint8)).tolist()
    [[False, False, True, True]]
    """
    array = np.asarray(values)
    if array.dtype == np.bool_ and array.ndim == 2:
        return array.copy()
    if array.dtype.kind == "f" and bool((array < 0).any()):
        _check_numbers(array)
        return array > 0
    return to_label_map(array, white=1) > 0


def to_label_map(values: np.ndarray, *, white: int = 1, is_lossy: bool = False) -> np.ndarray:
    """Object ids, int32 (H, W), by the rules above.

    Args:
        values: (H, W), of any real type.
        white: The id of the object in an image that is black and white.
        is_lossy: Whether the values went through a format such as JPEG, which keeps no labels.

    Raises:
        NotAMask: The values are neither labels nor a mask.
    """
    if values.ndim != 2 or values.dtype.kind not in "buif":
        raise NotAMask(f"expected (H, W) with one number per pixel. Got {values.dtype} {values.shape}")
    if values.dtype == np.bool_:
        return values * np.int32(white)
    if values.dtype.kind == "f":
        _check_numbers(values)
        values = values.astype(np.float32) if values.dtype == np.float16 else values
        values = np.nan_to_num(values, posinf=1, neginf=-1)
        if (values != np.floor(values)).any():
            if values.min() < 0:
                return (values > 0) * np.int32(white)
            if values.max() <= 1:
                return (values >= 0.5) * np.int32(white)
            return _threshold(values, _white(values)) * np.int32(white)
    if values.size and values.max() <= 0 and values.min() < 0:
        raise NotAMask(f"all its values are 0 or below, down to {values.min():g}: object ids must be above 0")
    values = np.maximum(values, 0)
    if not values.any():
        return np.zeros(values.shape, np.int32)
    present = np.unique(values)
    if present.tolist() in ([0, 255], [255], [0, 65535], [65535], [VIDEO_BLACK, VIDEO_WHITE]):
        return (values > VIDEO_BLACK) * np.int32(white)
    if present[-1] > HIGHEST_ID:
        raise NotAMask(f"its values go up to {present[-1]:.0f}: object ids must be at most {HIGHEST_ID}")
    top = _white(values)
    is_bright = bool(NEAR_WHITE * top <= present[-1] <= top)  # values above white can only be ids
    if is_lossy or (is_bright and _may_be_soft(present, top) and _is_soft(values, present, top)):
        return _threshold(values, top) * np.int32(white)
    _check_labels(values, present)
    return values.astype(np.int32)


def _may_be_soft(present: np.ndarray, top: float) -> bool:
    """Whether there are values between black and white; a few values close to either are labels."""
    gap = NOISE * top / 255
    is_between = len(present) > 2 and present[1] > gap and present[-1] - present[-2] > gap
    return bool(is_between or len(present) > FEW_VALUES)


def _check_labels(values: np.ndarray, present: np.ndarray) -> None:
    """Raise for a dark photograph, and for labels that were resized with interpolation."""
    if len(present) <= FEW_VALUES:
        return
    flat = _is_flat(values)
    is_deep = present[-1] > 255  # ids in the order of rows are not a photograph
    if (
        np.count_nonzero(flat) >= (values.size / 2 if is_deep else 0)
        and len(np.unique(values[flat])) < INNER_SHARE * len(present)
        and _edge_steps_share(values.astype(np.float32)) >= SMOOTH_SHARE
    ):
        raise NotAMask(
            f"its {len(present)} different values change in small steps, as in a photograph or in labels "
            "resized with interpolation: resize labels with nearest neighbour"
        )


def _check_numbers(values: np.ndarray) -> None:
    count = int(np.isnan(values).sum())
    if count:
        raise NotAMask(f"{count} of its {values.size} values are NaN: background is 0")


def _white(values: np.ndarray) -> float:
    return 255.0 if values.max(initial=0) <= 255 else 65535.0


def _threshold(values: np.ndarray, white: float) -> np.ndarray:
    mask = values >= white / 2
    low, high = (share * white for share in MIDDLE)
    between = np.count_nonzero((values > low) & (values < high))
    if not mask.any() or between > EDGE_SHARE * np.count_nonzero(values > low):
        raise NotAMask(
            f"its {len(np.unique(values))} different values are neither labels (0 for background, another "
            "value for each object; not in a JPEG) nor a black and white mask"
        )
    return np.asarray(mask)


def _is_noisy(values: np.ndarray) -> bool:
    """Whether nearly all values are close to black or to white, and not just 0 and 255."""
    counts = np.bincount(values.ravel().astype(np.int64), minlength=256)
    near_black, near_white = counts[1 : NOISE + 1], counts[255 - NOISE : 255]
    if len(counts) > 256 or not (near_black.any() and near_white.any() and counts[255]):
        return False
    others = counts[NOISE + 1 : 255 - NOISE].sum()
    is_varied = np.count_nonzero(counts) > MANY_VALUES
    return bool(others <= (NOISE_SHARE * counts[NOISE + 1 :].sum() if is_varied else 0))


def _is_soft(values: np.ndarray, present: np.ndarray, white: float) -> bool:
    """Whether values change in small steps, as at soft edges and in noise, not from label to label.

    Raises:
        NotAMask: They may be either labels or a soft mask.
    """
    is_varied, noise = len(present) > MANY_VALUES, NOISE * white / 255
    exact = values.astype(np.float32)
    flat = _is_flat(exact)
    if _is_noisy(values):
        is_noise = ((values > 0) & (values <= noise)) | ((values >= white - noise) & (values < white))
        if is_varied or np.count_nonzero(is_noise & flat) <= NOISE_FLAT_SHARE * np.count_nonzero(is_noise):
            return True
    else:
        share = _edge_steps_share(exact)
        # JPEG ringing: many values, and hardly any pixel equals its four neighbours.
        inner = (exact != exact.min()) & (exact != exact.max())
        is_rippled = is_varied and np.count_nonzero(inner & flat) < FLAT_SHARE * np.count_nonzero(inner)
        if share < SMOOTH_SHARE and not is_rippled:
            return False
        near_white = np.count_nonzero(values >= white - noise)
        if is_varied and near_white >= WHITE_SHARE * np.count_nonzero(values > noise):
            return True
        if share >= SOFT_SHARE and (len(present) > FEW_LEVELS or present[-1] == white):
            return True
    _threshold(values, white)
    levels = ", ".join(f"{value:g}" for value in present[:FEW_LEVELS])
    raise NotAMask(
        f"its values {levels}{', ...' if len(present) > FEW_LEVELS else ''} may be labels, or one mask with "
        "soft edges: save labels as a palette PNG, and a mask in black and white (for an array, pass "
        f"values > 0 or values >= {round(white / 2)})"
    )


def _edge_steps_share(values: np.ndarray) -> float:
    """The fraction of grey edge pixels with a darker and a brighter neighbour."""
    low, high = (_reduce_axes(reduce, values) for reduce in (np.minimum, np.maximum))
    at_edge = (values != values.min()) & (values != values.max()) & (low != high)
    steps = np.count_nonzero(at_edge & (low < values) & (values < high))
    return int(steps) / max(1, int(np.count_nonzero(at_edge)))


def _is_flat(values: np.ndarray) -> np.ndarray:
    """The pixels that equal their four neighbours."""
    rows, columns = (
        [_reduce_axes(reduce, values, axes) for reduce in (np.minimum, np.maximum)] for axes in ((0,), (1,))
    )
    return np.equal(*rows) & np.equal(*columns)


def _reduce_axes(reduce: np.ufunc, values: np.ndarray, axes: tuple[int, ...] = (0, 1)) -> np.ndarray:
    """The minimum or maximum of each pixel and its neighbours along the axes; for both axes, of nine
    pixels."""
    for axis in axes:
        along = np.moveaxis(values, axis, 0)
        reduced = along.copy()
        reduce(reduced[1:], along[:-1], out=reduced[1:])
        reduce(reduced[:-1], along[1:], out=reduced[:-1])
        values = np.moveaxis(reduced, 0, axis)
    return values
