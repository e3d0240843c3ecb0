"""masklet everything: segment everything in images or videos, without prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet.cli import options
from masklet.cli.items import Item, Kind, SourceOptions, find_items
from masklet.cli.outputs import DEFAULT_FORMATS, OutputOptions
from masklet.cli.runs import ProgressBar, Runner, print_intensity_range

if TYPE_CHECKING:
    from masklet.auto import Grid, MaskletSet, Segments
    from masklet.auto.detections import CocoDetections
    from masklet.config import Sam2Config
    from masklet.media import Frames
    from masklet.model import Sam2

IMAGE_FILES = ("mask.png", "masks.json", "overlay.png")
TRACKS = "tracks.json"


class Preset(StrEnum):
    fast = "fast"
    balanced = "balanced"
    dense = "dense"


class Order(StrEnum):
    score = "score"
    area = "area"


class Overlap(StrEnum):
    mask = "mask"
    box = "box"


def everything(
    out: options.Out,
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Images and videos: files, folders, globs or URLs. See --as for folders."),
    ] = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--as",
            help="Read a folder of images as single images or as the frames of one video. Default: a video "
            "if all have one size.",
        ),
    ] = None,
    preset: Annotated[Preset, typer.Option(help="Density of the search.")] = Preset.balanced,
    points_per_side: Annotated[int | None, typer.Option(help="Points along each side.")] = None,
    points_per_batch: Annotated[int | None, typer.Option(help="Points decoded at once.")] = None,
    pred_iou_thresh: Annotated[float | None, typer.Option(help="Minimum predicted IoU.")] = None,
    stability_score_thresh: Annotated[float | None, typer.Option(help="Minimum stability.")] = None,
    stability_score_offset: Annotated[
        float | None, typer.Option(help="Shift of the threshold to measure stability, in logits.")
    ] = None,
    box_nms_thresh: Annotated[
        float | None, typer.Option(help="Overlap above which the lower-ranked mask is a duplicate.")
    ] = None,
    nms: Annotated[
        Overlap | None, typer.Option(help="Find duplicates by masks, or by boxes as in sam2.")
    ] = None,
    crop_n_layers: Annotated[
        int | None, typer.Option(help="Layers of crops to search too: 1 adds 4 crops, 2 adds 16 more.")
    ] = None,
    min_mask_region_area: Annotated[
        int | None, typer.Option(help="Fill holes and remove islands smaller than this, in pixels.")
    ] = None,
    max_area: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Remove masks that cover a larger share of the image, for example 0.25."
        ),
    ] = None,
    min_contrast: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Remove unsure masks whose contrast with their surroundings is lower."
        ),
    ] = None,
    use_m2m: Annotated[
        bool | None, typer.Option("--use-m2m", help="Refine each mask in a second pass.")
    ] = None,
    sort: Annotated[Order | None, typer.Option(help="Image: order of the masks.")] = None,
    partition: Annotated[
        bool | None, typer.Option("--partition", help="Image: assign each pixel to exactly one mask.")
    ] = None,
    tiles: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Large image: search tiles of this side, and merge masks across seams.",
        ),
    ] = None,
    detections: Annotated[
        Path | None, typer.Option(help="Video: a COCO JSON with boxes or masks to use instead of the grid.")
    ] = None,
    every: Annotated[int | None, typer.Option(help="Video: frames between key frames.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Video: drop an object after it was lost for this many frames.")
    ] = None,
    max_objects: Annotated[
        int | None, typer.Option(help="Video: maximum number of objects tracked at once.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="The memory policy: {policies}.", autocompletion=options.policy_names),
    ] = None,
    cuts: Annotated[bool | None, typer.Option("--cuts", help="Detect scene cuts.")] = None,
    names: options.ListFile = None,
    shard: options.Shard = None,
    overwrite: options.Overwrite = False,
    model: options.Model = "nano",
    device: options.Device = None,
    dtype: options.Precision = options.Dtype.float32,
    setting: options.Speed = options.Setting.balanced,
    image_size: options.ImageSize = None,
    engine: options.Engine = "auto",
    fps: Annotated[float | None, typer.Option(help="Sample this many frames per second.")] = None,
    channels: options.Channels = None,
    intensity_range: options.IntensityRange = None,
    pixel_size: options.PixelSize = None,
    max_pixels: options.MaxPixels = None,
    formats: options.Formats = None,
    background: options.Background = "blur",
    soft: options.SoftEdges = 0.0,
) -> None:
    """Segment everything in images; find and track everything in videos."""
    with ProgressBar() as bar:
        from masklet.tracking.policies import find_policy

        if policy is not None:
            find_policy(policy)
        grid = {
            "points_per_side": points_per_side,
            "points_per_batch": points_per_batch,
            "pred_iou_thresh": pred_iou_thresh,
            "stability_score_thresh": stability_score_thresh,
            "stability_score_offset": stability_score_offset,
            "box_nms_thresh": box_nms_thresh,
            "nms": None if nms is None else nms.value,
            "crop_n_layers": crop_n_layers,
            "min_mask_region_area": min_mask_region_area,
            "max_area": max_area,
            "min_contrast": min_contrast,
            "use_m2m": use_m2m,
        }
        search = {
            "sort": None if sort is None else sort.value,
            "partition": partition,
            "tiles": tiles,
            "detections": None if detections is None else str(detections),
            "every": every,
            "patience": patience,
            "max_objects": max_objects,
            "policy": policy,
            "cuts": cuts,
        }
        chosen = {name: value for name, value in grid.items() if value is not None}
        source = SourceOptions.parse(
            channels, intensity_range, pixel_size, max_pixels, fps, formats=formats or ()
        )
        outputs = OutputOptions.parse(formats or (), background, soft)
        outputs.explain_sampling(fps, bar)
        items = find_items(sources or (), kind, names_from=names)

        def open_item(item: Item) -> _Search:
            from masklet.media import is_still

            frames = source.open(item.source)
            is_image = item.kind is Kind.image or is_still(item.source)
            default = ("coco",) if is_image else DEFAULT_FORMATS
            own = replace(outputs, formats=outputs.formats or default)
            work = _Search(item, frames, is_image, preset.value, chosen, search, own)
            work.check()
            return work

        network = options.ModelOptions(model, device, dtype, setting, image_size, engine)
        settings = {"fps": fps, **source.settings}
        Runner("everything", out, open_item, network, settings, bar, overwrite).run(items, shard)


@dataclass(frozen=True)
class _Search:
    """One image or video, and the settings of its search."""

    item: Item
    frames: Frames
    is_image: bool
    preset: str
    grid: Mapping[str, object]
    options: Mapping[str, Any]
    outputs: OutputOptions

    def check(self) -> None:
        """Raise an error if options or detections cannot be used."""
        from masklet.auto import Grid, check_options

        try:
            check_options(self.options, is_image=self.is_image)
            replace(Grid(), **self.grid)  # type: ignore[arg-type]
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if self._detector is not None:
            self._detector.check(len(self.frames), self.frames.size)

    @cached_property
    def _detector(self) -> CocoDetections | None:
        """The content of the file with detections, read once."""
        from masklet.auto.detections import CocoDetections
        from masklet.errors import MediaError

        path = self.options["detections"]
        if path is None:
            return None
        if not Path(path).is_file():
            raise MediaError(f"the file of detections {path} does not exist.")
        return CocoDetections(Path(path), self.frames.file_name, len(self.frames))

    @property
    def settings(self) -> Mapping[str, Any]:
        from masklet.run_folder import digest

        detections = self.options["detections"]
        content = None if detections is None else digest(detections, [Path(detections)])
        options = {**self.options, "detections": content}
        return {
            "preset": self.preset,
            "grid": self.grid,
            "options": options,
            **self.outputs.settings,
            "intensity_range": self.frames.intensity_range,  # as given or estimated
        }

    @property
    def files(self) -> Sequence[str]:
        own = IMAGE_FILES if self.is_image else (TRACKS,)
        return [*own, *self.outputs.files]

    def run(self, model: Sam2, folder: Path, bar: ProgressBar) -> None:
        import masklet

        frames, length = self.frames, len(self.frames)
        bar.begin(frames.name, passes=1 if self.is_image else 2)
        print_intensity_range(frames, bar)
        try:
            result = masklet.everything(
                model,
                frames[0] if self.is_image else frames,
                _make_grid(model.config, self.preset, self.grid),
                **{**self.options, "detections": self._detector},
                progress=lambda share: bar.update(share, length, frames.name),
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if isinstance(result, masklet.Segments):
            self._write_image(result, folder, bar)
            bar.update(1.0, 1, frames.name)
        else:
            self._write_video(result, folder, bar)

    def _write_image(self, segments: Segments, folder: Path, bar: ProgressBar) -> None:
        """mask.png, masks.json and overlay.png, and the chosen formats."""
        import json

        import PIL.Image

        from masklet.drawing import paint_labels
        from masklet.files import atomic_write
        from masklet.media import OverlayPng, write_label_map

        labels = segments.label_map()
        write_label_map(folder / "mask.png", labels)
        if self.options["tiles"] is None:
            OverlayPng(folder / "overlay.png").write(self.frames[0], segments.uncovered())
        else:
            with atomic_write(folder / "overlay.png") as part:
                PIL.Image.fromarray(paint_labels(self.frames[0], labels)).save(part, format="PNG")
        records = zip(segments.ids, segments.records("coco_rle"), strict=True)
        masks = [{"id": id, **record} for id, record in records]
        content = {"image": self.frames.name, "size": list(segments.size), "masks": masks}
        with atomic_write(folder / "masks.json") as part:
            part.write_text(json.dumps(content))
        self.outputs.write([segments], self.frames, folder, bar)
        self._print(f"{len(segments)} masks", bar)

    def _write_video(self, masklets: MaskletSet, folder: Path, bar: ProgressBar) -> None:
        """The chosen formats, and a record of each object."""
        import json

        from masklet.files import atomic_write

        classes = masklets.find_classes() if self.options["detections"] is not None else {}
        shown = bar.track(masklets, len(self.frames), f"{self.frames.name}, writing")
        self.outputs.write(shown, self.frames, folder, bar, classes=classes)
        tracks = [track.to_json() for track in masklets.tracks.values()]
        with atomic_write(folder / TRACKS) as part:
            part.write_text(json.dumps(tracks, indent=1))
        self._print(f"{len(tracks)} objects", bar)

    def _print(self, text: str, bar: ProgressBar) -> None:
        if not self.item.name:
            bar.close()
            typer.echo(text)


def _make_grid(config: Sam2Config, preset: str, chosen: Mapping[str, object]) -> Grid:
    """The preset's grid, with the given values in place of its own."""
    from masklet.auto import resolve_grid

    try:
        return replace(resolve_grid(preset, config), **chosen)  # type: ignore[arg-type]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
