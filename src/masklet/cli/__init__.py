"""The command line: one file for each command. What a command needs is imported when it runs."""

from __future__ import annotations

import sys

import typer

from masklet.cli.evaluate import evaluate
from masklet.cli.everything import everything
from masklet.cli.models import models
from masklet.cli.segment import segment
from masklet.cli.studio import studio
from masklet.cli.track import track
from masklet.cli.train import train
from masklet.errors import MaskletError

app = typer.Typer(
    help="Segment and follow anything you point at, in images, videos and live streams.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (track, segment, everything, studio, models, train, evaluate):
    app.command()(command)


def main() -> None:
    """Run the command line; what a user can mend is said in one sentence."""
    try:
        app()
    except MaskletError as error:
        typer.echo(f"masklet: {error}", err=True)
        sys.exit(1)
