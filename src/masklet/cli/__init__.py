"""The command line, with one file per command. A command's dependencies are imported when it runs."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from masklet.cli.commands import Command, GroupedCommand
from masklet.cli.engine import app as engine
from masklet.cli.evaluate import evaluate
from masklet.cli.everything import everything
from masklet.cli.export import export
from masklet.cli.jobs import app as jobs
from masklet.cli.models import models
from masklet.cli.options import terminal_text
from masklet.cli.segment import segment
from masklet.cli.studio import studio
from masklet.cli.track import track
from masklet.cli.train import train
from masklet.errors import MaskletError, OptionError

app = typer.Typer(
    help="Segment and track anything you point at, in images, videos and live streams.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (track, segment, everything, studio, train, evaluate):
    app.command(cls=GroupedCommand)(command)
app.command(cls=Command)(models)
app.add_typer(jobs, name="jobs")
app.add_typer(engine, name="engine")
app.add_typer(export, name="export")


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
    """Segment and track anything you point at, in images, videos and live streams."""


def main() -> None:
    """Run the command line. An error that a user can fix is one sentence; signals end it like Ctrl-C."""
    _open_closed_streams()
    _show_messages()
    with _Interruption() as interruption:
        try:
            _check_working_folder()
            app(args=list(map(_expand_home, sys.argv[1:])))
        except MaskletError as error:
            _exit_with(str(error))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or error.filename is not None:
                raise
            _exit_with(f"output cannot be written: {error.strerror}.")
        except SystemExit:
            if interruption.number is not None:
                sys.exit(128 + interruption.number)
            raise


def _open_closed_streams() -> None:
    """Open stdin, stdout and stderr if they are closed, so that no output file gets their file descriptors.

    FFmpeg and OpenMP write messages to these descriptors.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _expand_home(argument: str) -> str:
    """An argument with the home folder for a leading ~, which shells leave in --out=~/masks and in quotes."""
    found = re.match(r"(--[\w-]+=)?(~(?:[/\\].*)?)$", argument, re.DOTALL)
    return argument if found is None else (found[1] or "") + os.path.expanduser(found[2])


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise OptionError("the current folder was deleted: change to another one.") from error


def _exit_with(message: str) -> NoReturn:
    typer.echo(f"masklet: {terminal_text(message)}", err=True)
    sys.exit(1)


def _show_messages() -> None:
    """Show the library's log of slow work before a command can start: compiling."""
    log = logging.getLogger("masklet.backends.native.library")
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler())


def run_script(function: Callable[..., object]) -> None:
    """Run a function as a program, as in the examples: its arguments are the options.

    A `MaskletError` is one sentence on stderr, and the exit code 1.

    Args:
        function: With typer's annotations; its docstring is the help.
    """
    script = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    script.command()(function)
    try:
        script()
    except MaskletError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {terminal_text(str(error))}")


class _Interruption:
    """SIGTERM and SIGHUP as KeyboardInterrupt, so that results are kept. A second signal is ignored.

    Attributes:
        number: The number of the received signal; None before one.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._earlier: dict[int, Any] = {}

    def __enter__(self) -> _Interruption:
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as set by nohup
                self._earlier[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        self.number = number
        raise KeyboardInterrupt(number)
