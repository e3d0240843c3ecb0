"""Clips from data sets and mixtures: functions of their number, with masks on the objects."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.random import default_rng

from masklet.datasets import DatasetItem
from masklet.datasets.types import Clip
from masklet.errors import MediaError
from masklet.train.sampling import Augmentation, ClipSampler, WeightedSampler

H, W = 48, 64
NOTHING = Augmentation(0.0, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.0, 0.0)


@dataclass(frozen=True)
class Rectangles:
    """A video of two bright rectangles that move right; the green one is gone after three frames."""

    frames: int

    def __len__(self) -> int:
        return self.frames

    def objects(self, frame: int) -> Sequence[int]:
        return [4, 7]

    def masks(self, frame: int, ids: Sequence[int]) -> np.ndarray:
        masks = np.zeros((len(ids), H, W), dtype=bool)
        for mask, id in zip(masks, ids, strict=True):
            if id == 4:
                mask[8:24, 8 + 2 * frame : 28 + 2 * frame] = True
            elif frame < 3:
                mask[30:44, 30 : 50 + frame] = True
        return masks

    def image(self, frame: int) -> np.ndarray:
        image = np.full((H, W, 3), 40, dtype=np.uint8)
        red, green = self.masks(frame, [4, 7])
        image[red], image[green] = (220, 20, 20), (20, 220, 20)
        return image


def items(frames: int) -> list[DatasetItem]:
    return [DatasetItem(f"set/{frames}", lambda: Rectangles(frames))]


def agrees(clip: Clip, tolerance: float = 0.85) -> None:
    """Masks lie on the bright pixels, frame by frame."""
    for image, masks in zip(clip.images.astype(int), clip.masks, strict=True):
        bright = image.max(axis=-1) - image.min(axis=-1) > 60
        mask = masks.any(axis=0)
        if max(bright.sum(), mask.sum()) > 50:
            assert (bright & mask).sum() / (bright | mask).sum() > tolerance


def test_a_clip_is_a_function_of_its_number() -> None:
    for frames in (1, 4):
        one, two = (ClipSampler(items(8), 32, frames, 2, seed=3) for _ in range(2))
        first, again, other = one.clip(0), two.clip(0), one.clip(1)
        assert (first.images == again.images).all() and (first.masks == again.masks).all()
        assert (first.images != other.images).any()


def test_clips_are_consecutive_and_labelled() -> None:
    sampler = ClipSampler(items(8), 64, 4, 2, seed=0, augmentation=NOTHING)
    for number in range(10):
        clip = sampler.clip(number)
        assert clip.images.shape == (4, 64, 64, 3) and clip.masks[0].any(axis=(1, 2)).all()
        agrees(clip)
        left = [np.nonzero(masks.any(axis=0))[1].min() for masks in clip.masks if masks.any()]
        assert np.diff(left).tolist() == [2] * (len(left) - 1)


def test_only_so_many_objects_and_only_those_in_sight() -> None:
    counts = {ClipSampler(items(8), 32, 4, 2, seed=0).clip(number).objects for number in range(20)}
    assert counts == {1, 2}  # from frame 3 on only one is in sight
    assert all(ClipSampler(items(8), 32, 4, 1, seed=0).clip(number).objects == 1 for number in range(10))


def test_a_short_video_is_played_there_and_back() -> None:
    clip = ClipSampler(items(2), 64, 5, 2, seed=0, augmentation=NOTHING).clip(0)
    assert (clip.images[0] == clip.images[2]).all() and (clip.images[1] == clip.images[3]).all()
    assert (clip.images[0] != clip.images[1]).any()


def test_an_image_becomes_a_moving_clip() -> None:
    sampler = ClipSampler(items(1), 64, 4, 2, seed=0, augmentation=NOTHING)
    clips = [sampler.clip(number) for number in range(12)]
    assert all(clip.images.shape[0] == 4 and clip.objects for clip in clips)
    assert any((clip.masks[0] != clip.masks[3]).any() for clip in clips)


def broken() -> Rectangles:
    raise MediaError("this.jpg cannot be read.")


def test_unreadable_items_are_logged_and_skipped(caplog: pytest.LogCaptureFixture) -> None:
    bad = DatasetItem("set/bad", broken)
    with caplog.at_level(logging.WARNING):
        assert all(
            ClipSampler([bad, *items(4)], 32, 2, 2, seed=0).clip(number).objects for number in range(12)
        )
    assert "skipped set/bad: this.jpg cannot be read." in caplog.text
    with pytest.raises(MediaError, match=r"20 videos or images .* set/bad"):
        ClipSampler([bad], 32, 2, 2, seed=0).clip(0)


def moving(frames: int = 3) -> Clip:
    reel = Rectangles(frames)
    images = np.stack([reel.image(frame) for frame in range(frames)])
    return Clip(images, np.stack([reel.masks(frame, [4, 7]) for frame in range(frames)]))


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(grey=0.0),
        Augmentation(grey=0.0, rotation=0.0, shear=0.0, mosaic=1.0),
        Augmentation(grey=0.0, colour=(0.3, 0.3, 0.1), flicker=(0.0, 0.0, 0.0)),
    ],
)
def test_augmented_masks_stay_on_their_objects(augmentation: Augmentation) -> None:
    for seed in range(20):
        clip = augmentation(moving(), default_rng(seed))
        assert clip.images.shape == (3, H, W, 3) and clip.masks.shape == (3, 2, H, W)
        colourful = np.ptp(clip.images.astype(int), axis=-1) > 50
        assert colourful[clip.masks.any(axis=1)].mean() > 0.85
        assert clip.masks[0].any(axis=(1, 2)).all()


def test_a_still_clip_stays_still() -> None:
    frame = moving(1)
    still = Clip(np.repeat(frame.images, 3, axis=0), np.repeat(frame.masks, 3, axis=0))
    augmentation = Augmentation(colour=(0.3, 0.3, 0.3), flicker=(0.0, 0.0, 0.0), mosaic=0.5)
    for seed in range(10):
        clip = augmentation(still, default_rng(seed))
        assert (clip.images == clip.images[:1]).all() and (clip.masks == clip.masks[:1]).all()


def test_each_augmentation_does_what_its_name_says() -> None:
    clip = moving()
    same = NOTHING(clip, default_rng(0))
    assert (same.images == clip.images).all() and (same.masks == clip.masks).all()
    flipped = replace(NOTHING, flip=1.0)(clip, default_rng(0))
    assert (flipped.images == clip.images[:, :, ::-1]).all() and (
        flipped.masks == clip.masks[..., ::-1]
    ).all()
    reversed_ = replace(NOTHING, reverse=1.0)(clip, default_rng(0))
    assert (reversed_.images == clip.images[::-1]).all() and (reversed_.masks == clip.masks[::-1]).all()
    grey = replace(NOTHING, grey=1.0)(clip, default_rng(0))
    assert np.ptp(grey.images.astype(int), axis=-1).max() <= 1
    flicker = replace(NOTHING, flicker=(0.3, 0.0, 0.0))(clip, default_rng(0))
    assert len(np.unique(flicker.images[:, 0, 0, 0])) == 3


def test_a_clip_that_ends_without_its_object_is_not_reversed() -> None:
    clip = moving(5)  # the green one is gone at the end
    augmented = replace(NOTHING, reverse=1.0)(clip, default_rng(0))
    assert (augmented.images == clip.images).all()


def test_a_mosaic_names_one_of_four_alike() -> None:
    places = set()
    for seed in range(20):
        clip = replace(NOTHING, mosaic=1.0)(moving(), default_rng(seed))
        quarters = clip.images.reshape(3, 2, H // 2, 2, W // 2, 3).swapaxes(2, 3).reshape(3, 4, -1)
        assert np.ptp(quarters.mean(axis=2), axis=1).max() < 1e-6
        masked = clip.masks.any(axis=(0, 1)).reshape(2, H // 2, 2, W // 2).any(axis=(1, 3))
        assert masked.sum() == 1
        places.add(int(masked.argmax()))
    assert places == {0, 1, 2, 3}


def test_a_mixture_draws_by_weight() -> None:
    one, two = (Clip(np.full((1, 2, 2, 3), value, np.uint8), np.ones((1, 1, 2, 2), bool)) for value in (1, 2))
    mixture = WeightedSampler(
        [(3.0, lambda number: one), (1.0, lambda number: two), (0.0, lambda number: one)], seed=0
    )
    drawn = np.array([mixture.clip(number).images[0, 0, 0, 0] for number in range(2000)])
    assert 0.71 < (drawn == 1).mean() < 0.79
    again = WeightedSampler([(3.0, lambda number: one), (1.0, lambda number: two)], seed=0)
    assert [again.clip(number).images[0, 0, 0, 0] for number in range(50)] == drawn[:50].tolist()
    with pytest.raises(ValueError, match="weights"):
        WeightedSampler([(0.0, lambda number: one)], seed=0)


class Small(Rectangles):
    """Its rectangles are in an image that is four times as wide and high."""

    def masks(self, frame: int, ids: Sequence[int]) -> np.ndarray:
        return np.pad(super().masks(frame, ids), ((0, 0), (H, 2 * H), (W, 2 * W)))

    def image(self, frame: int) -> np.ndarray:
        whole = Rectangles(self.frames).image(frame)
        return np.pad(whole, ((H, 2 * H), (W, 2 * W), (0, 0)), constant_values=40)


def test_close_stills_show_a_small_object_as_zoom_does() -> None:
    source = [DatasetItem("small", lambda: Small(4))]

    def shares(zoom_share: float) -> list[float]:
        sampler = ClipSampler(source, 64, 1, 2, seed=0, augmentation=NOTHING, zoom_share=zoom_share)
        clips = [sampler.clip(number) for number in range(12)]
        for clip in clips:
            assert clip.images.shape == (1, 64, 64, 3) and clip.masks.any(axis=(0, 2, 3)).all()
            agrees(clip, tolerance=0.7)
        return [float(clip.masks.any(axis=1).mean()) for clip in clips]

    whole, close, mixed = shares(0.0), shares(1.0), shares(0.5)
    assert min(close) > 3 * max(whole)
    assert min(mixed) <= max(whole) and max(mixed) >= min(close)


def test_clips_and_large_objects_are_not_cut_out() -> None:
    clips = [
        ClipSampler(items(4), 64, 3, 2, seed=0, augmentation=NOTHING, zoom_share=c).clip(0)
        for c in (0.0, 1.0)
    ]
    assert (clips[0].images == clips[1].images).all()
    large = [DatasetItem("large", lambda: Large(1))]
    clip = ClipSampler(large, 64, 1, 2, seed=0, augmentation=NOTHING, zoom_share=1.0).clip(0)
    assert clip.masks.mean() > 0.5


class Large(Rectangles):
    """Its one object fills most of the frame."""

    def objects(self, frame: int) -> Sequence[int]:
        return [1]

    def masks(self, frame: int, ids: Sequence[int]) -> np.ndarray:
        mask = np.zeros((len(ids), H, W), dtype=bool)
        mask[:, 4:-4, 4:-4] = True
        return mask

    def image(self, frame: int) -> np.ndarray:
        return np.full((H, W, 3), 200, dtype=np.uint8)
