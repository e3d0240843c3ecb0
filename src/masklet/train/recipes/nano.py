"""Training of nano, the network that comes with the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from masklet.datasets import DatasetItem, find_items
from masklet.errors import MaskletError
from masklet.synthetic import ClipMix, Composer
from masklet.synthetic.assets import (
    AssetLibrary,
    PackedImage,
    hold_back_images,
    load_cutouts,
    load_unlabelled_videos,
)
from masklet.synthetic.stills import make_still
from masklet.train.recipe import NEW, BatchSource, ClipSource, Recipe, Stage, TrainingOptions, ValidationSet
from masklet.train.sampling import ClipSampler, WeightedSampler
from masklet.train.validation import validation_stills

VALIDATION_SIZE = 384
# Fraction of an image; smaller objects are left out of validation, which does not zoom.
MIN_VALIDATION_AREA = 0.003
VALIDATION_STILLS = 48  # approximate number
SEED = 41  # seed of the clips
SPEED = 0.5  # factor of the speed of cameras and objects in composed clips
CACHE = Path(".cache")
# Sets that repeat one scene are drawn less often, those with many kinds of objects more often.
WEIGHTS = {
    "coco-more": 2.5,
    "coco-permissive": 2.5,
    "coco-street": 2.0,
    "coco-person": 1.3,
    "feral-cats": 0.7,
    "facades": 0.4,
    "nuclei": 0.5,
    "mushrooms": 0.5,
    "warehouse": 0.35,
    "desk-things": 0.25,
}
STILLS = ClipMix(still=0.85, moved=0.0, pasted=0.1, procedural=0.02, pasted_on_video=0.03)
CLIPS = ClipMix(still=0.0, moved=0.4, pasted=0.32, procedural=0.05, pasted_on_video=0.23)
REAL_SHARE = 0.2  # fraction of real clips, if there are labelled videos
REAL_SHARE_PER_VIDEO = 0.02  # limits the repetitions of few videos


def recipe(options: TrainingOptions) -> Recipe:
    """Nano on EfficientNet-Lite, a trunk pretrained on ImageNet: many small clips first, then larger ones.

    masklet train nano DATA --out runs/train
    torchrun --nproc-per-node 2 -m masklet train nano ...      one process for each core trains faster

    DATA holds `images/`, a folder of image sets, and if you like `cutouts/` (folders of RGBA images),
    `clips-unlabelled/` (videos, to paste things over) and labelled videos, `videos-train/` and `videos-
    pseudo/`. It begins with ImageNet's trunk and random weights elsewhere; `--model FILE` goes on from a
    network with such a trunk, and `--model new-nano-lite2` takes the larger one. `--steps N` shortens or
    stretches every stage.

    Cost: not run to its end; on two busy cores 1 to 3 s a step at 192 pixels, 3 to 7 at 256, 3 to 20 at
    384; 4 GB for each process. The shipped weights had 18,500 steps of it, after 1,060 of a trial
    (docs/nano.md). Expected score: at least that in docs/nano.md.

    Three stages at rising sizes, over which the learning rate falls to 0; clips of one to sixteen frames.
    """
    config, start = options.resolve_model(NEW + "nano")
    if config.trunk == "hiera":
        raise MaskletError(
            "the recipe nano trains only networks with an EfficientNet-Lite trunk. For others, use the "
            "recipe finetune."
        )
    image_folder = options.data / "images"
    images, held_back = hold_back_images(
        replace(options, data=image_folder if image_folder.is_dir() else options.data).images
    )
    assets = AssetLibrary(
        images,
        load_cutouts(_folders(options.data / "cutouts"), CACHE),
        load_unlabelled_videos(sorted((options.data / "clips-unlabelled").glob("*.mp4")), CACHE),
        WEIGHTS,
    )
    videos = labelled_videos(options.data)

    def clips(size: int, frames: int, min_area: float) -> ClipSource:
        mix = STILLS if frames == 1 else CLIPS
        if not assets.videos:
            mix = replace(mix, pasted_on_video=0.0)
        composed = Composer(assets, size, frames, 4, SEED + size, mix, min_area=min_area, speed=SPEED).clip
        if frames == 1 or not videos:
            return composed
        real = ClipSampler(videos, size, frames, 3, SEED + size).clip
        share = min(REAL_SHARE, REAL_SHARE_PER_VIDEO * len(videos))
        return WeightedSampler(((1 - share, composed), (share, real)), SEED + size).clip

    def stage(
        name: str,
        size: int,
        steps: int,
        rates: tuple[float, float],
        *shares: tuple[int, int, float],
        min_area: float,
        corrections: int = 4,
    ) -> Stage:
        sources = tuple(
            BatchSource(clips(size, frames, min_area), count, weight) for frames, count, weight in shares
        )
        return Stage(name, size, steps, rates, sources, size // 2, corrections=corrections, iou=3.0)

    whole = Recipe(
        replace(config, image_size=VALIDATION_SIZE),
        (
            stage("many", 192, 6000, (4e-4, 3e-4), (1, 6, 0.4), (4, 2, 0.25), (8, 1, 0.35), min_area=0.006),
            stage("larger", 256, 5000, (3e-4, 2e-4), (1, 4, 0.4), (4, 1, 0.2), (8, 1, 0.4), min_area=0.004),
            stage(
                "full size",
                384,
                4000,
                (2e-4, 0.0),
                (1, 4, 0.5),
                (4, 1, 0.15),
                (8, 1, 0.25),
                (12, 1, 0.1),
                min_area=0.0025,
                corrections=5,
            ),
        ),
        start=start,
        ema=0.995,
        warmup=50,
        trunk_lr_scale=0.25,
        validation=validation_set(held_back, VALIDATION_SIZE),
    )
    return whole if options.steps is None else shorten(whole, options.steps)


def shorten(whole: Recipe, steps: int) -> Recipe:
    """The same recipe with all stages shorter or longer by one factor."""
    factor = steps / whole.steps
    stages = (replace(stage, steps=max(1, round(factor * stage.steps))) for stage in whole.stages)
    return replace(whole, stages=tuple(stages))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*") if path.is_dir())


def labelled_videos(data: Path) -> list[DatasetItem]:
    """Videos to train on: with masks by people, and with pseudo-labels of a network."""
    folders = [data / name for name in ("videos-train", "videos-pseudo")]
    return [item for folder in folders if folder.is_dir() for item in find_items(folder)]


def validation_set(held_back: list[PackedImage], size: int) -> ValidationSet:
    """About fifty held-back images, and clips composed of held-back images."""
    large = [
        image
        for image in held_back
        if any(image.mask(i).mean() >= MIN_VALIDATION_AREA for i in range(len(image)))
    ]
    selected = large[:: max(1, len(large) // VALIDATION_STILLS)]
    stills = validation_stills([make_still(image, size, MIN_VALIDATION_AREA) for image in selected])
    short, long = (
        Composer(held_back, size, frames, objects=2, seed=2, min_area=0.01, speed=SPEED) for frames in (8, 16)
    )
    return ValidationSet(stills, clips=(*map(short.clip, range(6)), *map(long.clip, range(3))), every=1000)
