"""Composed clips: the same for the same number, labelled where the object is and nowhere else."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.random import default_rng

from masklet.datasets.types import Clip
from masklet.synthetic import ClipMix, Composer, motion, scenes, sprites
from masklet.synthetic.assets import AssetLibrary, PackedImage, load_images, pack_image
from masklet.synthetic.effects import CameraEffects, make_grain
from masklet.synthetic.scenes import ImageBackground, Scene
from masklet.synthetic.sprites import Layer, Sprite
from masklet.synthetic.stills import make_augmented_still, make_still

SIZE = 64
KINDS = {
    "still": ClipMix(1, 0, 0, 0),
    "moved": ClipMix(0, 1, 0, 0),
    "pasted": ClipMix(0, 0, 1, 0),
    "procedural": ClipMix(0, 0, 0, 1),
}


def disc(colour: tuple[int, int, int], x: int, y: int, radius: int = 14) -> PackedImage:
    """A disc of one colour on grey noise."""
    pixels = default_rng(x).integers(90, 110, (72, 96, 3)).astype(np.uint8)
    mask = np.zeros((72, 96), dtype=np.uint8)
    cv2.circle(mask, (x, y), radius, 1, -1)
    pixels[mask > 0] = colour
    return pack_image(f"discs/{x}-{y}.png", pixels, [mask > 0])


@pytest.fixture(scope="module")
def images() -> list[PackedImage]:
    return [disc((250, 20, 20), 40, 36), disc((20, 250, 20), 50, 30), disc((20, 20, 250), 30, 40)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_is_a_function_of_seed_and_number(images: list[PackedImage], kind: str) -> None:
    frames = 1 if kind == "still" else 4
    one, same, other = (Composer(images, SIZE, frames, 3, seed, KINDS[kind]) for seed in (1, 1, 2))
    first, again = one.clip(5), same.clip(5)
    assert (first.images == again.images).all() and (first.masks == again.masks).all()
    assert (first.images != other.clip(5).images).any() and (first.images != one.clip(6).images).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [64, 96])
def test_every_clip_shows_an_object_on_its_first_frame(
    images: list[PackedImage], kind: str, size: int
) -> None:
    frames = 1 if kind == "still" else 5
    composer = Composer(images, size, frames, 2, 0, KINDS[kind])
    for number in range(40):
        clip = composer.clip(number)
        assert clip.images.shape == (frames, size, size, 3) and clip.images.dtype == np.uint8
        assert clip.masks.shape == (frames, clip.objects, size, size) and clip.masks.dtype == bool
        assert 1 <= clip.objects <= 2
        assert (clip.masks[0].mean(axis=(1, 2)) >= 0.002).all()


def test_without_images_everything_is_procedural() -> None:
    for frames in (1, 3):
        assert Composer([], SIZE, frames, 3, 0).clip(0).objects
    with pytest.raises(ValueError, match="without images"):
        Composer([], SIZE, 3, 3, 0, KINDS["moved"])
    with pytest.raises(ValueError, match="one frame"):
        Composer([], SIZE, 3, 3, 0, KINDS["still"])


def redness(clip: Clip) -> np.ndarray:
    images = clip.images.astype(int)
    return images[..., 0] - images[..., 1:].max(axis=-1) > 60


def agreement(clip: Clip) -> list[float]:
    """IoU of the mask with the red pixels, on each frame where there are enough of either to tell."""
    pairs = zip(redness(clip), clip.masks.any(axis=1), strict=True)
    return [(red & mask).sum() / (red | mask).sum() for red, mask in pairs if (red | mask).sum() > 60]


def test_masks_of_a_moved_image_move_with_it() -> None:
    image = disc((250, 20, 20), 40, 36)
    found = []
    spec = scenes.ClipSpec(SIZE, 4, 1, make_grain(SIZE + 128))
    for seed in range(40):
        background = scenes.build_moved(default_rng(seed), AssetLibrary([image]), spec).background
        found += agreement(Scene(replace(background, shutter=0.0), (), (), clean()).render(SIZE))
    assert len(found) > 100 and min(found) > 0.8 and np.mean(found) > 0.95


def test_masks_of_a_swaying_image_sway_with_it() -> None:
    image, path = disc((250, 20, 20), 40, 36), np.stack([np.eye(3)] * 4)
    for seed in range(10):
        elastic = motion.Elastic(default_rng(seed), 4, amplitude=6.0)
        background = ImageBackground(image.pixels, (image.mask(0).view(np.uint8) * 255,), path, elastic, 0.0)
        assert min(agreement(Scene(background, (), (), clean()).render(SIZE))) > 0.9


def clean() -> CameraEffects:
    """A camera that changes nothing."""
    camera = CameraEffects(default_rng(0), 8, SIZE, make_grain(SIZE + 128))
    camera.tone, camera.saturation, camera.has_constant_light = None, 1.0, True
    camera.defocus, camera.noise, camera.quality = 0.0, 0.0, None
    return camera


def square(colour: tuple[int, int, int], x: float, y: float, frames: int = 1) -> Layer:
    """An opaque square of 20 pixels with its corner at (x, y)."""
    sprite = Sprite(np.full((1, 20, 20, 4), (*colour, 255), dtype=np.uint8))
    return Layer(sprite, np.stack([motion.translation(x, y)] * frames), None, 0.0, 0.0)


def grey(frames: int = 1) -> ImageBackground:
    return ImageBackground(
        np.full((SIZE, SIZE, 3), 100, np.uint8), (), np.stack([np.eye(3)] * frames), None, 0.0
    )


def test_what_is_nearer_hides_what_is_behind_it() -> None:
    layers = (square((250, 0, 0), 10, 10), square((0, 250, 0), 20, 10))
    clip = Scene(grey(), layers, (0, 1), clean()).render(SIZE)
    behind, before = clip.masks[0]
    assert before.sum() == 400 and behind.sum() == 200
    assert not (behind & before).any()
    assert (clip.images[0][behind] == (250, 0, 0)).all() and (clip.images[0][before] == (0, 250, 0)).all()


def test_a_hidden_object_has_an_empty_mask_and_one_in_front_need_not_be_an_object() -> None:
    layers = (square((250, 0, 0), 10, 10), square((0, 250, 0), 10, 10))
    clip = Scene(grey(), layers, (0,), clean()).render(SIZE)
    assert clip.objects == 1 and not clip.masks.any()


def test_out_of_the_frame_is_drawn_nowhere() -> None:
    for x, y in ((-30, 10), (70, 10), (10, 64), (10, -20.5)):
        layer = Layer(square((250, 0, 0), x, y).sprite, motion.translation(x, y)[None], None, 0.5, 0.5)
        clip = Scene(grey(), (layer,), (0,), clean()).render(SIZE)
        assert not clip.masks.any() and (clip.images == 100).all()


def test_a_cut_out_carries_its_own_colour_to_its_edge() -> None:
    sprite = sprites.make_cutout(default_rng(3), disc((250, 20, 20), 40, 36), 0, 256)
    red, green, _, alpha = sprite.rgba[0].astype(int).transpose(2, 0, 1)
    assert np.count_nonzero(alpha > 127) > 0.75 * np.pi * 14**2
    assert (red - green)[alpha > 60].min() > 0.4 * 60  # colours come multiplied by their opacity
    assert ((red - green) > 0.35 * alpha)[alpha > 60].all()


def test_the_camera_stays_within_the_image() -> None:
    image = disc((250, 20, 20), 40, 36)
    for seed in range(60):
        rng = default_rng(seed)
        background = scenes._image_background(
            rng, image, [0], motion.camera_motion(rng, 6, SIZE), SIZE, around=0
        )
        corners = np.linalg.inv(background.path) @ np.array(
            [[0, SIZE, 0, SIZE], [0, 0, SIZE, SIZE], [1, 1, 1, 1]]
        )
        high, wide = background.pixels.shape[:2]
        assert corners[:, :2].min() > -1e-6
        assert corners[:, 0].max() < wide + 1e-6 and corners[:, 1].max() < high + 1e-6


def test_a_still_keeps_its_instance_first_and_in_place() -> None:
    grain = make_grain(SIZE + 128)
    for seed in range(60):
        clip = make_augmented_still(default_rng(seed), disc((250, 20, 20), 40, 36), 0, SIZE, grain)
        mask, image = clip.masks[0, 0], clip.images[0].astype(int)
        assert mask.mean() > 0.01
        if (image.max(axis=-1) - image.min(axis=-1)).max() > 90:  # not made grey
            assert image[mask][:, 0].mean() > image[~mask][:, 0].mean() + 20 or mask.mean() > 0.8


def test_a_plain_still_is_the_whole_image() -> None:
    clip = make_still(disc((250, 20, 20), 48, 36), 48)
    assert clip.images.shape == (1, 48, 48, 3) and agreement(clip)[0] > 0.9
    ys, xs = np.nonzero(clip.masks[0, 0])
    assert abs(xs.mean() - 24) < 1 and abs(ys.mean() - 24) < 1


def test_objects_may_leave_and_return() -> None:
    composer = Composer([], SIZE, 6, 3, 0)
    present = [clip.masks.any(axis=(2, 3)) for clip in map(composer.clip, range(120))]
    assert any((~row[1:-1]).any() and row[-1] for seen in present for row in seen.T)


def test_real_sets_compose(tmp_path: Path) -> None:
    root = Path(__file__).parents[3] / "shared" / "data" / "open" / "images"
    if not root.is_dir():
        pytest.skip("the image sets are not at hand")
    images = load_images([root / "balloon"], tmp_path)
    assert len(images) > 50
    composer = Composer(images, SIZE, 3, 3, 0)
    assert all(composer.clip(number).objects for number in range(20))


def test_a_reflection_is_upside_down_dimmer_and_below() -> None:
    """Also where the camera moves: the water goes with what stands in it."""
    rng = np.random.default_rng(0)
    sprite = Sprite(np.full((1, 10, 20, 4), 255, dtype=np.uint8))
    view = np.stack([motion.translation(0, 0), motion.translation(5, -8)])
    layer = Layer(sprite, view @ motion.translation(30, 20), None, 0.0, 0.0)
    mirrored = scenes._reflect(rng, layer, view, 100)
    middle, feet = np.array([10, 5, 1.0]), np.array([10, 10, 1.0])
    for path, other in zip(layer.path, mirrored.path, strict=True):
        assert (other @ middle)[1] > (other @ feet)[1] >= (path @ feet)[1] - 4, "head down"
        assert (other @ middle)[0] == pytest.approx((path @ middle)[0])
    shores = [
        (a @ feet)[1] + (b @ feet)[1] - 2 * v[1, 2]
        for a, b, v in zip(layer.path, mirrored.path, view, strict=True)
    ]
    assert shores[0] == pytest.approx(shores[1]), "the water stands still in the scene"
    assert mirrored.sprite.rgba[..., :3].mean() < mirrored.sprite.rgba[..., 3].mean() < 255
