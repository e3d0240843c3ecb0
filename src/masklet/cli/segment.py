"""masklet segment: masks of what was pointed at in a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from masklet.cli.network import Device, Dtype, Model, Precision, Setting, Speed, load_network
from masklet.cli.prompts import Box, Mask, Negatives, Points, read_prompts


def segment(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    out: Annotated[Path, typer.Option(help="The folder that takes mask.png, masks.json and overlay.png.")],
    point: Points = None,
    negative: Negatives = None,
    box: Box = None,
    mask: Mask = None,
    model: Model = "nano",
    device: Device = None,
    dtype: Precision = Dtype.float32,
    setting: Speed = Setting.exact,
) -> None:
    """Segment what is pointed at in a picture; a mask with several values is several objects."""
    import json

    import masklet
    from masklet.files import atomic_write, make_folder
    from masklet.media import OverlayPng, read_image, write_label_map
    from masklet.transforms import check_prompt

    prompts = read_prompts(point, negative, box, mask)
    picture = read_image(image)
    prompts = {id: check_prompt(prompt, picture.shape[:2]) for id, prompt in prompts.items()}
    make_folder(out)
    session = masklet.ImageSession(load_network(model, device, dtype, setting), picture)
    offered = {id: session.segment(prompt) for id, prompt in prompts.items()}

    best = masklet.Masks.joined({id: candidates.as_masks(id) for id, candidates in offered.items()})
    write_label_map(out / "mask.png", best.label_map())
    OverlayPng(out / "overlay.png").write(picture, best)
    said = [
        {"id": id, "rank": rank, "iou": round(iou, 4), "box": box, "rle": code}
        for id, masks in offered.items()
        for rank, iou, box, code in zip(
            range(len(masks)), masks.iou.tolist(), masks.boxes.tolist(), masks.rle(), strict=True
        )
    ]
    with atomic_write(out / "masks.json") as part:
        part.write_text(json.dumps({"image": image.name, "size": list(best.size), "masks": said}))
    for name in ("mask.png", "masks.json", "overlay.png"):
        typer.echo(out / name)
