"""Prompts as they are typed: X,Y and X0,Y0,X1,Y1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from masklet.types import Box as Box4
    from masklet.types import Point, Prompt

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


def point(text: str, option: str) -> Point:
    """X,Y"""
    x, y = _numbers(text, "X,Y", option)
    return x, y


def corners(text: str) -> Box4:
    """X0,Y0,X1,Y1"""
    x0, y0, x1, y1 = _numbers(text, "X0,Y0,X1,Y1", "--box")
    return x0, y0, x1, y1


def _numbers(text: str, form: str, option: str) -> list[float]:
    count = form.count(",") + 1
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
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
        positive=[point(each, "--point") for each in points or ()],
        negative=[point(each, "--negative") for each in negatives or ()],
        box=None if box is None else corners(box),
    )
    if pointed:
        said[1] = said.get(1, Prompt()) | pointed
    if not said:
        raise typer.BadParameter("point at something: --point X,Y or --box X0,Y0,X1,Y1 or --mask PNG.")
    return said
