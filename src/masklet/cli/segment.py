"""masklet segment: masks of what was pointed at in a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from masklet.cli.prompts import Box, Mask, Negatives, Points, read_prompts


def segment(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    out: Annotated[Path, typer.Option(help="The folder that takes mask.png, masks.json and overlay.png.")],
    point: Points = None,
    negative: Negatives = None,
    box: Box = None,
    mask: Mask = None,
    model: Annotated[str, typer.Option(help="A name (see masklet models), path or hub id.")] = "nano",
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps; by default the best there is.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Segment what is pointed at in a picture; a mask with several values is several objects."""
    import json

    import masklet
    from masklet.media import OverlayPng, folder, read_image, write_label_map
    from masklet.media.files import whole

    prompts = read_prompts(point, negative, box, mask)
    picture = read_image(image)
    session = masklet.ImageSession(masklet.load(model, device=device, dtype=dtype), picture)
    offered = {id: session.segment(prompt) for id, prompt in prompts.items()}

    folder(out)
    best = masklet.Masks.joined({id: candidates.select(0) for id, candidates in offered.items()})
    write_label_map(out / "mask.png", best.label_map())
    OverlayPng(out / "overlay.png").write(picture, best)
    said = [
        {"id": id, "rank": rank, "iou": round(iou, 4), "box": box, "rle": code}
        for id, masks in offered.items()
        for rank, iou, box, code in zip(
            masks.ids, masks.iou.tolist(), masks.boxes.tolist(), masks.rle(), strict=True
        )
    ]
    with whole(out / "masks.json") as part:
        part.write_text(json.dumps({"image": image.name, "size": list(best.size), "masks": said}))
    for name in ("mask.png", "masks.json", "overlay.png"):
        typer.echo(out / name)
