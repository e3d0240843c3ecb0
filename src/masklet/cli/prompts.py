"""Prompts of a command: --point X,Y and similar options for one object, --object for several, --prompts for a
file."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from masklet.cli.items import Item
    from masklet.media import Frames
    from masklet.media.readers.prompt_files import ObjectPrompts, PromptBuilder, PromptRow
    from masklet.types import Prompt

Points = Annotated[
    list[str] | None, typer.Option("--point", metavar="X,Y", help="A click on the object. Repeat for more.")
]
Negatives = Annotated[
    list[str] | None,
    typer.Option("--negative", metavar="X,Y", help="A click on what is not the object. Repeat for more."),
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
        help="One object; repeat for more: "
        "'NAME: X,Y -X,Y box=X0,Y0,X1,Y1 mask=PNG frame=N class=NAME id=N'. "
        "A minus makes a click negative. One click, box or mask is enough.",
    ),
]

LONGEST_NUMBER = 18  # digits
NO_PROMPT = "a prompt is needed: --point X,Y, --box X0,Y0,X1,Y1, --mask PNG, --object TEXT or --prompts FILE."

_ID = re.compile(r"(?<!\S)id=(\d{1,18})(?!\S)")
_NAME = re.compile(r"\s*([^:=,]+):(?:\s|$)")


@dataclass(frozen=True)
class PromptTable:
    """The prompts of a file, by input.

    Attributes:
        path: The file.
        rows: Its prompts, by the source of their item.
    """

    path: Path
    rows: Mapping[str, Sequence[PromptRow]]

    @classmethod
    def read(cls, path: Path, items: Sequence[Item]) -> PromptTable:
        """Read a file, and find the input of each prompt.

        Raises:
            PromptError: It cannot be read, or names an input that is missing or ambiguous.
        """
        from masklet.errors import PromptError
        from masklet.media.readers.prompt_files import read_prompt_rows

        rows: dict[str, list[PromptRow]] = {item.source: [] for item in items}
        by_name = _index(items)
        for row in read_prompt_rows(path):
            matches = _find_named(by_name, row.source) if row.source else items
            if not matches:
                names = ", ".join(item.source for item in items[:3])
                raise PromptError(
                    f"{row.where} is for '{row.source}', which is not among the inputs "
                    f"({names}{', ...' if len(items) > 3 else ''}): add it to the inputs, or remove the "
                    "line."
                )
            if row.source and len(matches) > 1:
                raise PromptError(
                    f"{row.where} is for '{row.source}', which matches {matches[0].source} and "
                    f"{matches[1].source}: write more of the path."
                )
            for item in matches:
                rows[item.source].append(row)
        return cls(path, rows)

    def prompts_of(self, item: Item, frames: Frames) -> ObjectPrompts:
        """The prompts of one input.

        Raises:
            PromptError: There are none, or one is not on the input's frames.
        """
        from masklet.errors import PromptError
        from masklet.media.readers.prompt_files import build_prompts

        prompts = build_prompts(self.rows[item.source], self.path.parent, frames)
        if not prompts.by_frame:
            raise PromptError(f"{self.path} has no prompt for {item.source}.")
        return prompts


def read_prompts(
    points: Sequence[str] | None,
    negatives: Sequence[str] | None,
    box: str | None,
    mask: Path | None,
    objects: Sequence[str] | None = None,
    *,
    frame: int = 0,
) -> ObjectPrompts | None:
    """The prompts of the options; None if there are none.

    Clicks and box are for object 1, a mask for every object in it; --object adds objects by name.
    """
    from masklet.media.readers.prompt_files import PromptBuilder
    from masklet.types import Prompt

    builder = PromptBuilder(reserved=[int(id) for text in objects or () for id in _ID.findall(text)])
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


def _index(items: Sequence[Item]) -> Mapping[str, Sequence[Item]]:
    """The items by the names that entries may use: path, file name, and file name without suffix."""
    by_name: dict[str, list[Item]] = {}
    for item in items:
        path = Path(item.source)
        for name in {item.source, path.name, path.stem}:
            by_name.setdefault(name, []).append(item)
    return by_name


def _find_named(by_name: Mapping[str, Sequence[Item]], source: str) -> list[Item]:
    """The items that match an entry, of those with its name or its folder's name."""
    parts = PurePosixPath(source.replace("\\", "/")).parts
    names = dict.fromkeys((source, *parts[-2:]))
    found = {item.source: item for name in names for item in by_name.get(name, ())}
    return [item for item in found.values() if _is_named(item, source)]


def _is_named(item: Item, source: str) -> bool:
    """Whether an entry matches an item: by its path or the end of it; for a video's frame, by its folder."""
    own = PurePosixPath(Path(item.source).as_posix()).parts
    parts = PurePosixPath(source.replace("\\", "/")).parts
    if item.source == source or own[-len(parts) :] == parts:
        return True
    stem = (*own[:-1], Path(own[-1]).stem) if own else ()
    return bool(parts[:-1]) and stem[-len(parts[:-1]) :] == parts[:-1]


def read_mask(path: Path) -> dict[int, Prompt]:
    """A mask prompt for each value of a label map."""
    import numpy as np

    from masklet.errors import PromptError
    from masklet.media import read_label_map
    from masklet.types import Prompt

    labels = read_label_map(path)
    prompts = {int(id): Prompt(mask=labels == id) for id in np.unique(labels) if id}
    if not prompts:
        raise PromptError(f"{path} contains no object: every pixel is 0.")
    return prompts


def _add_object(builder: PromptBuilder, text: str, frame: int) -> None:
    """Add the object of one --object."""
    import numpy as np

    from masklet.media import read_label_map
    from masklet.prompts import Point, Prompt

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
                "an object can have X,Y and -X,Y, and box=, mask=, frame=, class= and id= once each. Got "
                f"'{token}' in '{text}'.",
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
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        raise typer.BadParameter(f"{key} must be a whole number. Got '{text[:40]}'.", param_hint=option)
    return int(text)


def _parse_numbers(text: str, form: str, option: str) -> list[float]:
    from masklet.media.readers.prompt_files import read_number

    count = form.count(",") + 1
    try:
        values = [read_number(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise typer.BadParameter(
            f"expected {count} numbers in pixels, {form}. Got '{text}'.", param_hint=option
        )
    return values
