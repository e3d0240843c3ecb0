"""masklet segment: segment prompted objects in images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masklet.cli import options
from masklet.cli.items import Item, Kind, SourceOptions, find_items
from masklet.cli.outputs import OutputOptions
from masklet.cli.prompts import NO_PROMPT, Box, Mask, Negatives, Objects, Points, PromptTable, read_prompts
from masklet.cli.runs import ProgressBar, Runner, print_intensity_range

if TYPE_CHECKING:
    from masklet.image_candidates import ImageCandidates
    from masklet.media import Frames
    from masklet.media.readers.prompt_files import ObjectPrompts
    from masklet.model import Sam2

LARGE = 8  # factor of the network's square above which tiles are recommended
FILES = ("mask.png", "masks.json", "overlay.png")


def segment(
    out: options.Out,
    images: Annotated[
        list[str] | None, typer.Argument(help="Images: files, folders, globs or URLs, of any sizes.")
    ] = None,
    point: Points = None,
    negative: Negatives = None,
    box: Box = None,
    mask: Mask = None,
    objects: Objects = None,
    prompts: options.PromptFile = None,
    tiles: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Large images: segment a window of this side around each prompt, at full resolution.",
        ),
    ] = None,
    names: options.ListFile = None,
    shard: options.Shard = None,
    overwrite: options.Overwrite = False,
    model: options.Model = "nano",
    device: options.Device = None,
    dtype: options.Precision = options.Dtype.float32,
    setting: options.Speed = options.Setting.balanced,
    image_size: options.ImageSize = None,
    channels: options.Channels = None,
    engine: options.Engine = "auto",
    intensity_range: options.IntensityRange = None,
    pixel_size: options.PixelSize = None,
    max_pixels: options.MaxPixels = None,
    formats: options.ImageFormats = None,
) -> None:
    """Segment prompted objects in images; write mask.png, masks.json and overlay.png for each."""
    with ProgressBar() as bar:
        from masklet.media.readers.prompt_files import ObjectPrompts

        typed = read_prompts(point, negative, box, mask, objects)
        outputs = OutputOptions.parse(formats or ())
        items = find_items(images or (), Kind.image, names_from=names)
        table = None if prompts is None else PromptTable.read(prompts, items)
        if typed is None and table is None:
            raise typer.BadParameter(NO_PROMPT)
        source = SourceOptions.parse(
            channels, intensity_range, pixel_size, max_pixels, formats=outputs.formats
        )
        _check_tiles(tiles)

        def open_item(item: Item) -> _Segmentation:
            frames = source.open(item.source)
            prompts = typed or ObjectPrompts()
            if table is not None:
                prompts = prompts.merge(table.prompts_of(item, frames))
            work = _Segmentation(frames, prompts, outputs, tiles)
            work.check()
            return work

        network = options.ModelOptions(model, device, dtype, setting, image_size, engine)
        Runner("segment", out, open_item, network, source.settings, bar, overwrite).run(items, shard)


def _check_tiles(tiles: int | None) -> None:
    if tiles is None:
        return
    from masklet.zoom import Zoom

    try:
        Zoom(tile=tiles)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--tiles") from None


@dataclass(frozen=True)
class _Segmentation:
    """One image, and its prompts."""

    frames: Frames
    prompts: ObjectPrompts
    outputs: OutputOptions
    tiles: int | None

    @property
    def files(self) -> Sequence[str]:
        return [*FILES, *self.outputs.files]

    @property
    def settings(self) -> Mapping[str, Any]:
        range_ = self.frames.intensity_range  # as given or estimated
        tiles = {} if self.tiles is None else {"tiles": self.tiles}
        return {**self.outputs.settings, **self.prompts.to_json(), "intensity_range": range_, **tiles}

    def check(self) -> None:
        """Raise an error if the image or the prompts cannot be used."""
        from masklet.errors import PromptError
        from masklet.media.formats import check_format_ids
        from masklet.prompts import check_id, check_prompt

        check_format_ids(("palette",), map(check_id, self.prompts.ids))  # mask.png
        frames = [frame for frame in self.prompts.by_frame if frame]
        if frames:
            raise PromptError(f"an image has only frame 0. Got a prompt on frame {frames[0]}.")
        for prompt in self.prompts.by_frame[0].values():
            check_prompt(prompt, self.frames.size)

    def run(self, model: Sam2, folder: Path, bar: ProgressBar) -> None:
        import json

        import masklet
        from masklet.files import atomic_write
        from masklet.media import OverlayPng, write_label_map
        from masklet.zoom import Zoom

        image = self.frames[0]
        bar.begin(self.frames.name)
        print_intensity_range(self.frames, bar)
        if len(self.frames) > 1:
            bar.print(
                f"{self.frames.name} has {len(self.frames)} frames, and only the first is segmented. To "
                "track objects through all of them, use masklet track"
            )
        zoom = None
        if self.tiles is not None:
            zoom = Zoom(tile=self.tiles) if model.config.zoom else Zoom(tile=self.tiles, rounds=0, views=())
        elif max(self.frames.size) > LARGE * model.config.image_size:
            bar.print(
                f"{self.frames.name} is {max(self.frames.size)} pixels wide or high, and the network's "
                f"input is {model.config.image_size}: --tiles 1024 finds small objects better"
            )
        session = masklet.ImageSession(model, image, zoom=zoom)
        answers = {id: session.segment(prompt) for id, prompt in self.prompts.by_frame[0].items()}
        best = masklet.Masks.join({id: masks.as_masks(id) for id, masks in answers.items()})
        write_label_map(folder / "mask.png", best.label_map())
        OverlayPng(folder / "overlay.png").write(image, best)
        entries = [entry for id, masks in answers.items() for entry in self._entries(id, masks)]
        content = {"image": self.frames.name, "size": list(best.size), "masks": entries}
        with atomic_write(folder / "masks.json") as part:
            part.write_text(json.dumps(content))
        if self.outputs.formats:
            self.outputs.write([best], self.frames, folder, bar, classes=self.prompts.classes)
        bar.update(1.0, 1, self.frames.name)

    def _entries(self, id: int, masks: ImageCandidates) -> list[dict[str, Any]]:
        """The candidates of an object, best first, for masks.json."""
        names, classes = self.prompts.names, self.prompts.classes
        labels = {"name": names[id]} if id in names else {}
        labels |= {"class": classes[id]} if id in classes else {}
        ious, boxes, codes = masks.iou.tolist(), masks.boxes.tolist(), masks.rle()
        return [
            {"id": id, "rank": rank, "iou": round(iou, 4), "box": box, "rle": code, **labels}
            for rank, (iou, box, code) in enumerate(zip(ious, boxes, codes, strict=True))
        ]
