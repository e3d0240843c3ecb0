"""Prompts as they are typed: --point X,Y and its like for one object, --object for one of several."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
Objects = Annotated[
    list[str] | None,
    typer.Option(
        "--object",
        metavar="TEXT",
        help="One object, may be repeated: "
        "'NAME: X,Y -X,Y box=X0,Y0,X1,Y1 mask=PNG frame=N class=NAME id=N'. "
        "A minus makes a click negative; all parts may be left out but one.",
    ),
]

NO_PROMPT = "point at something: --point X,Y, --box X0,Y0,X1,Y1, --mask PNG, --object TEXT or --prompts FILE."

_NAME = re.compile(r"\s*([^:=,]+):(?:\s|$)")


@dataclass(frozen=True)
class ObjectPrompts:
    """What to segment in one input.

    Attributes:
        by_frame: frame -> object id -> prompt.
        names: What objects are called, by id; those without a name are left out.
        classes: Their classes, likewise; by default the names.
    """

    by_frame: Mapping[int, Mapping[int, Prompt]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    classes: Mapping[int, str] = field(default_factory=dict)

    @property
    def ids(self) -> list[int]:
        return sorted({id for prompts in self.by_frame.values() for id in prompts})

    def joined(self, other: ObjectPrompts) -> ObjectPrompts:
        """These prompts and others'. An object's prompts on the same frame join."""
        builder = PromptBuilder()
        for prompts in (self, other):
            for frame, by_id in prompts.by_frame.items():
                for id, prompt in by_id.items():
                    builder.add(frame, id, prompt)
        joined = builder.build()
        return ObjectPrompts(
            joined.by_frame, {**self.names, **other.names}, {**self.classes, **other.classes}
        )

    def to_json(self) -> dict[str, Any]:
        prompts = {
            frame: {id: prompt.to_json() for id, prompt in by_id.items()}
            for frame, by_id in self.by_frame.items()
        }
        return {"prompts": prompts, "names": dict(self.names), "classes": dict(self.classes)}


class PromptBuilder:
    """Collects prompts of objects that are known by an id, a name, or neither."""

    def __init__(self) -> None:
        self._prompts: dict[int, dict[int, Prompt]] = {}
        self._names: dict[int, str] = {}
        self._classes: dict[int, str] = {}

    def add(self, frame: int, id: int, prompt: Prompt) -> None:
        """Add a prompt; it joins what the object has on the same frame."""
        by_id = self._prompts.setdefault(frame, {})
        by_id[id] = by_id[id] | prompt if id in by_id else prompt

    def resolve(self, name: str | None, id: int | None = None, category: str | None = None) -> int:
        """The id of an object, by its own id, its name, or a new one."""
        if id is None and name is not None:
            id = next((other for other, value in self._names.items() if value == name), None)
        if id is None:
            taken = {*self._names, *self._classes, *(id for by_id in self._prompts.values() for id in by_id)}
            id = max(taken, default=0) + 1
        if name is not None:
            self._names[id] = name
        if category is not None:
            self._classes[id] = category
        return id

    def build(self) -> ObjectPrompts:
        classes = {**self._names, **self._classes}
        return ObjectPrompts(dict(sorted(self._prompts.items())), dict(self._names), classes)


def read_prompts(
    points: Sequence[str] | None,
    negatives: Sequence[str] | None,
    box: str | None,
    mask: Path | None,
    objects: Sequence[str] | None = None,
    *,
    frame: int = 0,
) -> ObjectPrompts | None:
    """The prompts of the options; None where there are none.

    Clicks and box are of object 1, a mask of every object that it shows; --object adds objects by name.
    """
    from masklet.types import Prompt

    builder = PromptBuilder()
    if mask is not None:
        for id, prompt in read_mask(mask).items():
            builder.add(frame, id, prompt)
    prompt = Prompt(
        positive=[parse_point(point, "--point") for point in points or ()],
        negative=[parse_point(point, "--negative") for point in negatives or ()],
        box=None if box is None else _parse_box(box, "--box"),
    )
    if prompt:
        builder.add(frame, 1, prompt)
    for text in objects or ():
        _add_object(builder, text, frame)
    prompts = builder.build()
    return prompts if prompts.by_frame else None


def read_mask(path: Path) -> dict[int, Prompt]:
    """A mask prompt for each value of a label map."""
    import numpy as np

    from masklet.errors import PromptError
    from masklet.media import read_label_map
    from masklet.types import Prompt

    labels = read_label_map(path)
    prompts = {int(id): Prompt(mask=labels == id) for id in np.unique(labels) if id}
    if not prompts:
        raise PromptError(f"{path} shows no object: every pixel is 0.")
    return prompts


def _add_object(builder: PromptBuilder, text: str, frame: int) -> None:
    """Add the object of one --object."""
    import numpy as np

    from masklet.media import read_label_map
    from masklet.types import Point, Prompt

    hint = "--object"
    name = _NAME.match(text)
    positive, negative = list[Point](), list[Point]()
    values = dict[str, str]()
    for token in _split(text[name.end() :] if name else text):
        key, equals, value = token.partition("=")
        if not equals:
            (negative if token.startswith("-") else positive).append(parse_point(token.lstrip("+-"), hint))
        elif key not in ("box", "mask", "frame", "class", "id") or key in values or not value:
            raise typer.BadParameter(
                f"an object has X,Y and -X,Y, and once each box=, mask=, frame=, class= and id=. "
                f"Got '{token}' in '{text}'.",
                param_hint=hint,
            )
        else:
            values[key] = value
    mask = read_label_map(Path(values["mask"])) if "mask" in values else None
    prompt = Prompt(
        positive=positive,
        negative=negative,
        box=_parse_box(values["box"], hint) if "box" in values else None,
        mask=None if mask is None else np.asarray(mask) > 0,
    )
    if not prompt:
        raise typer.BadParameter(f"'{text}' has no click, box or mask.", param_hint=hint)
    id = _parse_whole(values["id"], "id", hint) if "id" in values else None
    id = builder.resolve(name[1].strip() if name else None, id, values.get("class"))
    builder.add(_parse_whole(values["frame"], "frame", hint) if "frame" in values else frame, id, prompt)


def _split(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        return list(lexer)
    except ValueError:
        raise typer.BadParameter(f"a quote is not closed. Got '{text}'.", param_hint="--object") from None


def parse_point(text: str, option: str) -> tuple[float, float]:
    """X,Y"""
    x, y = _parse_numbers(text, "X,Y", option)
    return x, y


def _parse_box(text: str, option: str) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = _parse_numbers(text, "X0,Y0,X1,Y1", option)
    return x0, y0, x1, y1


def _parse_whole(text: str, key: str, option: str) -> int:
    if not text.isdecimal():
        raise typer.BadParameter(f"{key} is a whole number. Got '{text}'.", param_hint=option)
    return int(text)


def _parse_numbers(text: str, form: str, option: str) -> list[float]:
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
