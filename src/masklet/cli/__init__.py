"""The command line: one file for each command. What a command needs is imported when it runs."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from masklet.cli.evaluate import evaluate
from masklet.cli.everything import everything
from masklet.cli.models import models
from masklet.cli.options import Command
from masklet.cli.segment import segment
from masklet.cli.studio import studio
from masklet.cli.track import track
from masklet.cli.train import train
from masklet.errors import MaskletError

app = typer.Typer(
    help="Segment and follow anything you point at, in images, videos and live streams.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (track, segment, everything, studio, models, train, evaluate):
    app.command(cls=Command)(command)


def _print_version(value: bool) -> bool:
    if value:
        import masklet

        typer.echo(f"masklet {masklet.__version__}")
        raise typer.Exit
    return value


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Segment and follow anything you point at, in images, videos and live streams."""


def main() -> None:
    """Run the command line. An error that a user can mend is one sentence; signals end it as Ctrl-C does."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)
    try:
        app()
    except MaskletError as error:
        typer.echo(f"masklet: {error}", err=True)
        sys.exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End as after Ctrl-C: what was done is kept. The same signal again changes nothing."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt(number)
