"""The commands' own class: an option is given once, and the help shows options in groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import typer
import typer.core

from masklet.cli.options import engine_names, format_names, policy_names, recipe_names

# The groups in the help of commands with many options; the most used options come first.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Prompts": (
        *("--point", "--negative", "--box", "--mask", "--object"),
        *("--frame", "--prompts", "--script", "--given"),
    ),
    "Output": (
        *("--out", "--format", "--exclusive", "--partition", "--sort"),
        *("--background", "--soft", "--original"),
    ),
    "Server": (
        *("--host", "--port", "--browser", "--token-file", "--token", "--name"),
        *("--data", "--database"),
    ),
    "Search": (
        *("--preset", "--tiles", "--detections", "--every", "--max-objects", "--patience"),
        *("--points", "--points-per-side", "--points-per-batch", "--pred-iou-thresh"),
        *("--stability-score-thresh", "--stability-score-offset", "--box-nms-thresh", "--nms"),
        *("--crop-n-layers", "--min-mask-region-area", "--max-area", "--min-contrast", "--use-m2m"),
    ),
    "Video": ("--direction", "--fps", "--cuts", "--policy", "--frames"),
    "Loop": ("--world", "--pictures", "--clips", "--rounds", "--accept-from"),
    "Training": ("--steps", "--size", "--rate", "--base", "--validation"),
    "Model": (
        *("--model", "--models", "--device", "--setting", "--image-size"),
        *("--zoom", "--dtype", "--precision", "--engine"),
    ),
    "Input": ("--as", "--list", "--channel", "--intensity-range", "--pixel-size", "--max-pixels"),
    "Run": (
        *("--overwrite", "--shard", "--split", "--jobs", "--workers", "--actors", "--cpus-per-actor"),
        *("--gpus-per-actor", "--address", "--attempts", "--timeout", "--retry-errors", "--help"),
    ),
}


class Command(typer.core.TyperCommand):
    """A command that refuses an option given twice, and whose help lists the registered names.

    In the help of an option, {formats}, {policies}, {engines} and {recipes} are replaced, so that
    `masklet --help` need not load them.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        counts = Counter(id(param) for param in order)
        for param in self.get_params(ctx):
            if counts[id(param)] > 1 and param.param_type_name == "option" and not param.multiple:
                raise typer.BadParameter(
                    "this option can be used only once.", ctx=ctx, param_hint=param.opts[0]
                )
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for param in self.get_params(ctx):
            if isinstance(param, typer.core.TyperOption | typer.core.TyperArgument) and param.help:
                param.help = _fill(param.help)
        super().format_help(ctx, formatter)


class GroupedCommand(Command):
    """A command with many options: its help shows them in groups, in the order of GROUPS."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        for param in params:
            if isinstance(param, typer.core.TyperOption):
                param.rich_help_panel = group_of(param)
        return sorted(params, key=_place)


def group_of(option: typer.core.TyperOption) -> str | None:
    """The group of an option: its own, otherwise that of GROUPS; None if there is none."""
    named = (group for group, names in GROUPS.items() if set(names) & set(option.opts))
    return option.rich_help_panel or next(named, None)


def _place(param: Any) -> tuple[int, int]:
    """The position of a parameter in the help."""
    if not isinstance(param, typer.core.TyperOption):
        return (-1, 0)
    group = group_of(param)
    if group is None:
        return (len(GROUPS), 0)
    places = [place for place, name in enumerate(GROUPS[group]) if name in param.opts]
    return (list(GROUPS).index(group), min(places, default=len(GROUPS[group])))


def _fill(text: str) -> str:
    for field, names in (
        ("{formats}", format_names),
        ("{policies}", policy_names),
        ("{engines}", engine_names),
        ("{recipes}", recipe_names),
    ):
        if field in text:
            text = text.replace(field, ", ".join(names()))
    return text
