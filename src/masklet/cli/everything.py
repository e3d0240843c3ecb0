"""masklet everything: masks of all there is in a picture or video, without pointing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masklet.cli.network import Device, Dtype, Model, Precision, Setting, Speed, load_network
from masklet.cli.results import USUAL, Formats, Results, progress_bar, told

if TYPE_CHECKING:
    from masklet.auto import Grid, MaskletSet, Segments, Sort
    from masklet.config import Sam2Config
    from masklet.media import Frames


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
    source: Annotated[str, typer.Argument(help="A picture; or a video file, URL, folder or glob.")],
    out: Annotated[Path, typer.Option(help="The folder that takes what is written.")],
    preset: Annotated[Preset, typer.Option(help="How closely to look.")] = Preset.balanced,
    points_per_side: Annotated[int | None, typer.Option(help="Points along each side.")] = None,
    points_per_batch: Annotated[int | None, typer.Option(help="Points that are asked at once.")] = None,
    pred_iou_thresh: Annotated[float | None, typer.Option(help="The least predicted IoU.")] = None,
    stability_score_thresh: Annotated[float | None, typer.Option(help="The least stability.")] = None,
    stability_score_offset: Annotated[
        float | None, typer.Option(help="How far the threshold moves to measure stability, in logits.")
    ] = None,
    box_nms_thresh: Annotated[
        float | None, typer.Option(help="Overlap from which on two masks are one.")
    ] = None,
    nms: Annotated[Overlap | None, typer.Option(help="Overlap of masks, or of boxes as sam2 has it.")] = None,
    crop_n_layers: Annotated[int | None, typer.Option(help="Also look at 4, 4 + 16, ... crops.")] = None,
    min_mask_region_area: Annotated[
        int | None, typer.Option(help="Clear holes and islands of fewer pixels.")
    ] = None,
    use_m2m: Annotated[
        bool | None, typer.Option("--use-m2m", help="Ask again with each mask as hint.")
    ] = None,
    sort: Annotated[Order | None, typer.Option(help="Picture: which masks come first.")] = None,
    partition: Annotated[
        bool | None, typer.Option("--partition", help="Picture: every pixel belongs to one mask.")
    ] = None,
    detections: Annotated[
        Path | None, typer.Option(help="Video: a COCO JSON with boxes or masks, in place of the grid.")
    ] = None,
    every: Annotated[int | None, typer.Option(help="Video: frames from key frame to key frame.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Video: frames that a lost object is waited for.")
    ] = None,
    max_objects: Annotated[int | None, typer.Option(help="Video: objects followed at a time.")] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="Video: the memory policy: recency, gated, samurai, dam4sam or long."),
    ] = None,
    cuts: Annotated[bool | None, typer.Option("--cuts", help="Video: watch for scene cuts.")] = None,
    model: Model = "nano",
    device: Device = None,
    dtype: Precision = Dtype.float32,
    setting: Speed = Setting.exact,
    fps: Annotated[float | None, typer.Option(help="Video: take so many frames of each second.")] = None,
    formats: Formats = None,
) -> None:
    """Segment everything in a picture; or find everything in a video, and follow it both ways."""
    import masklet
    from masklet.auto import is_still
    from masklet.files import make_folder
    from masklet.media import find_format, open_frames
    from masklet.tracking.policies import find_policy

    if policy is not None:
        find_policy(policy)
    said = {
        "points_per_side": points_per_side,
        "points_per_batch": points_per_batch,
        "pred_iou_thresh": pred_iou_thresh,
        "stability_score_thresh": stability_score_thresh,
        "stability_score_offset": stability_score_offset,
        "box_nms_thresh": box_nms_thresh,
        "nms": None if nms is None else nms.value,
        "crop_n_layers": crop_n_layers,
        "min_mask_region_area": min_mask_region_area,
        "use_m2m": use_m2m,
    }
    order: Sort | None = None if sort is None else sort.value
    still = is_still(source)
    usual = ("coco",) if still else USUAL
    results = Results(out, [find_format(name) for name in dict.fromkeys(formats or usual)])
    frames = open_frames(source, fps=fps)
    make_folder(out)
    network = load_network(model, device, dtype, setting)
    grid = _grid(network.config, preset.value, said)
    with told(results), progress_bar() as bar:
        task = bar.add_task(frames.name, total=1 if still else len(frames))
        try:
            found = masklet.everything(
                network,
                frames[0] if still else frames,
                grid,
                sort=order,
                partition=partition,
                detections=detections,
                every=every,
                patience=patience,
                max_objects=max_objects,
                policy=policy,
                cuts=cuts,
                progress=None if still else lambda done: bar.update(task, completed=done * len(frames)),
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if isinstance(found, masklet.Segments):
            _write_picture(found, frames, results)
            bar.update(task, completed=1)
        else:
            _write_video(found, frames, results)


def _grid(config: Sam2Config, preset: str, said: Mapping[str, object]) -> Grid:
    """The preset's grid, with what was said in place of its own."""
    from masklet.auto import resolve_grid

    given = {name: value for name, value in said.items() if value is not None}
    try:
        return replace(resolve_grid(preset, config), **given)  # type: ignore[arg-type]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _write_picture(found: Segments, frames: Frames, results: Results) -> None:
    """mask.png, masks.json and overlay.png; and COCO, or the forms that were asked for."""
    import json

    from masklet.files import atomic_write
    from masklet.media import OverlayPng, write_label_map

    out = results.folder
    write_label_map(out / "mask.png", found.label_map())
    OverlayPng(out / "overlay.png").write(frames[0], found.uncovered())
    records = zip(found.ids, found.records("coco_rle"), strict=True)
    said = [{"id": id, **record} for id, record in records]
    with atomic_write(out / "masks.json") as part:
        part.write_text(json.dumps({"image": frames.name, "size": list(found.size), "masks": said}))
    with results.writers(frames) as writers:
        writers.write(frames[0], found)
    typer.echo(f"{len(found)} masks")
    for name in ("mask.png", "masks.json", "overlay.png"):
        typer.echo(out / name)


def _write_video(masklets: MaskletSet, frames: Frames, results: Results) -> None:
    """The forms that were asked for, and a record of each object."""
    import json

    from masklet.files import atomic_write

    with results.writers(frames) as writers:
        for masks in masklets:
            writers.write(frames[masks.frame], masks)
    with atomic_write(results.folder / "tracks.json") as part:
        part.write_text(json.dumps([track.to_json() for track in masklets.tracks.values()], indent=1))
    typer.echo(f"{len(masklets.tracks)} objects")
    typer.echo(results.folder / "tracks.json")
