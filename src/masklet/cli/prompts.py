"""Prompts as they are typed: X,Y and X0,Y0,X1,Y1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from masklet.types import Prompt

Points = Annotated[
    list[str] | None, typer.Option("--point", metavar="X,Y", help="A click on the object. May be repeated.")
]
Negatives = Annotated[
    list[str] | None,
    typer.Option("--negative", metavar="X,Y", help="A click beside the object. May be repeated."),
]
Box = Annotated[str | None, typer.Option("--box", metavar="X0,Y0,X1,Y1", help="A box around the object.")]
Mask = Annotated[
    Path | None,
    typer.Option("--mask", help="A PNG in which 0 is background and every other value is an object."),
]


def numbers(text: str, count: int, option: str) -> list[float]:
    """The numbers of one option."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        form = "X,Y" if count == 2 else "X0,Y0,X1,Y1"
        raise typer.BadParameter(
            f"expected {count} numbers in pixels, {form}. Got '{text}'.", param_hint=option
        )
    return values


def read_prompts(
    points: list[str] | None, negatives: list[str] | None, box: str | None, mask: Path | None
) -> dict[int, Prompt]:
    """Object id -> prompt: clicks and box speak of object 1, a mask of every object that it shows."""
    import numpy as np

    from masklet.errors import PromptError
    from masklet.media import read_label_map
    from masklet.types import Prompt

    said: dict[int, Prompt] = {}
    if mask is not None:
        labels = read_label_map(mask)
        said = {int(id): Prompt(mask=labels == id) for id in np.unique(labels) if id}
        if not said:
            raise PromptError(f"{mask} shows no object: every pixel is 0.")
    pointed = Prompt(
        positive=[tuple(numbers(each, 2, "--point")) for each in points or ()],
        negative=[tuple(numbers(each, 2, "--negative")) for each in negatives or ()],
        box=None if box is None else tuple(numbers(box, 4, "--box")),
    )
    if pointed:
        said[1] = said.get(1, Prompt()) | pointed
    if not said:
        raise typer.BadParameter("point at something: --point X,Y or --box X0,Y0,X1,Y1 or --mask PNG.")
    return said
