"""Fine-tune a trained model on your own images or videos: four recipes, settings of `FineTuning`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from masklet.datasets import DatasetItem
from masklet.train.parameters import Preset, trains_trunk
from masklet.train.recipe import BatchSource, Recipe, Stage, TrainingOptions
from masklet.train.sampling import ClipSampler
from masklet.train.validation import make_validation_set

LEARNING_RATES: dict[Preset, float] = {"decoder": 1e-4, "memory": 5e-5, "everything": 1e-5, "lora": 2e-4}
ZOOM_SHARE = 0.5  # fraction of stills that are a window around a small object, for a network that zooms
RANDOM_WEIGHTS_RATE = 1e-3  # learning rate of a network with random weights


@dataclass(frozen=True)
class FineTuning:
    """The settings of a fine-tune; the recipes `lora`, `images` and `eight_gpus` differ in these.

    Attributes:
        frames: Frames of a clip; 1 trains only on stills.
        stills, clips: Numbers per batch and process.
        objects: The maximum per still or clip.
        stills_weight: Fraction of the batches that are stills, if there are clips.
        distinct_clips: Different stills, and clips; a frozen trunk encodes each of them once.
    """

    preset: Preset = "decoder"
    model: str = "sam2.1-hiera-tiny"
    steps: int = 1000
    frames: int = 1
    stills: int = 2
    clips: int = 1
    objects: int = 3
    stills_weight: float = 0.5
    accumulate: int = 1
    distinct_clips: int | None = None
    layer_decay: float = 0.9
    checkpoint_activations: bool = False

    def recipe(self, options: TrainingOptions) -> Recipe:
        """The recipe for the given options, which take precedence over these settings.

        In a network with random weights, all parts are trained, at a high learning rate.
        """
        config, start = options.resolve_model(self.model)
        config = replace(config, image_size=options.image_size or config.image_size)
        from_random, steps = start is None, options.steps or self.steps
        preset: Preset = "everything" if from_random else options.preset or self.preset
        rate = options.learning_rate or (RANDOM_WEIGHTS_RATE if from_random else LEARNING_RATES[preset])
        training, validation = options.split
        stage = Stage(
            "fine-tuning",
            config.image_size,
            steps,
            (rate, rate / 10),
            self._sources(training, config.image_size, ZOOM_SHARE if config.zoom else 0.0),
            loss_size=config.image_size,
            schedule="cosine",
        )
        return Recipe(
            config,
            (stage,),
            start=start,
            preset=preset,
            warmup=max(1, min(100, steps // 10)),
            # As in the paper's training, and in the published fine-tuning.
            trunk_lr_scale=0.2 if from_random else 0.6,
            weight_decay=0.1,
            clip_norm=0.1 if trains_trunk(preset) and not from_random else 1.0,
            ema=1 - 1 / max(2, min(1000, steps // 10)),
            layer_decay=1.0 if from_random else self.layer_decay,
            accumulate=self.accumulate,
            checkpoint_activations=self.checkpoint_activations,
            distinct_clips=None if trains_trunk(preset) else self.distinct_clips,
            validation=make_validation_set(
                validation, config.image_size, self.frames, max(1, steps // 10), options.open_image
            )
            if options.is_validated
            else None,
        )

    def _sources(self, items: Sequence[DatasetItem], size: int, zoom_share: float) -> tuple[BatchSource, ...]:
        stills = ClipSampler(items, size, 1, self.objects, seed=1, zoom_share=zoom_share)
        of_stills = BatchSource(stills.clip, self.stills, self.stills_weight)
        if self.frames == 1:
            return (of_stills,)
        clips = ClipSampler(items, size, self.frames, self.objects, seed=2)
        return of_stills, BatchSource(clips.clip, self.clips, 1 - self.stills_weight)


def recipe(options: TrainingOptions) -> Recipe:
    """Fine-tune a decoder on your own images or videos, on one GPU of 8 to 16 GB.

    masklet train finetune DATA --model sam2.1-hiera-tiny --out runs/mine
    masklet train finetune DATA --model sam2.1-hiera-base-plus --preset memory --out runs/mine
    masklet train finetune DATA --model sam2.1-hiera-large --out runs/mine

    DATA is a COCO, YOLO-seg, SA-1B, DAVIS, MOSE, YouTube-VOS or SA-V folder, or images/ with masks/. The
    decoder trains on stills, and the frozen trunk encodes each of 600 once: the features take 5 GB of disk at
    1024 pixels. With `--preset memory` the memory trains too, on stills and clips. With few images that are
    alike, 300 steps may be enough (--steps).

    Cost: not run, except for toy networks in the tests.
    Expected score: depends on the data; the report compares the end with the start.
    """
    frames = 4 if options.preset == "memory" else 1
    return FineTuning(frames=frames, distinct_clips=600).recipe(options)


def lora(options: TrainingOptions) -> Recipe:
    """Train small adapters on all linear layers, merged into the weights at the end, on one GPU.

    masklet train lora DATA --model sam2.1-hiera-base-plus --precision bf16 --out runs/mine

    For data that looks unlike photographs (X-rays, microscopes, radar), where a decoder alone is not enough,
    and where there is too little of it to train all parameters. Rank 8 on every linear layer. Adapters train
    on stills, four batches of one per step, with activation checkpointing.

    Cost: not run, except for toy networks in the tests. Expected score: depends on the data; the report
    compares the end with the start.
    """
    return FineTuning(preset="lora", stills=1, accumulate=4, checkpoint_activations=True).recipe(options)


def images(options: TrainingOptions) -> Recipe:
    r"""Train all parameters on images alone, as in the first half of SAM 2's own training.

    torchrun --nproc-per-node 8 -m masklet train images SA-1B --model sam2.1-hiera-tiny \
        --precision bf16 --workers 8 --steps 90000 --rate 4e-4 --out runs/images

    Stills, with up to sixteen objects each. Memory encoder and memory attention do not train here: run
    `eight_gpus` on videos afterwards.

    Cost: not run. SAM 2's authors used 256 images a step for 90,000 steps, with 64 masks each and a
    learning rate that falls with the root of the step; here it falls as a cosine. Expected score: not
    measured.
    """
    return FineTuning(
        preset="everything", steps=20000, stills=2, objects=16, accumulate=4, layer_decay=0.8
    ).recipe(options)


def eight_gpus(options: TrainingOptions) -> Recipe:
    r"""Fine-tune everything on videos with eight GPUs, with the settings of SAM 2's own fine-tune.

    torchrun --nproc-per-node 8 -m masklet train eight_gpus MOSE/train --model sam2.1-hiera-tiny \
        --precision bf16 --workers 4 --out runs/mose
    The same with --model sam2.1-hiera-base-plus, and with --model sam2.1-hiera-large.

    Clips of eight frames, up to three objects, one clip a GPU and step; the trunk's activations are computed
    twice. On one GPU a recipe of your own with `accumulate=8` trains the same, eight times as slowly.

    Cost: not run. Expected score: not measured here; SAM 2's authors give J&F 79.4 on MOSE's validation
    videos for base-plus, after 40 epochs.
    """
    return FineTuning(
        preset="everything",
        model="sam2.1-hiera-base-plus",
        steps=7500,  # 40 epochs of MOSE's 1507 videos
        frames=8,
        stills=1,
        stills_weight=0.0,
        checkpoint_activations=True,
    ).recipe(options)
