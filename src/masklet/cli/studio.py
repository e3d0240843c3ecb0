"""masklet studio: segment videos and images in the browser."""

from __future__ import annotations

import os
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from masklet.cli.options import (
    Device,
    Dtype,
    Engine,
    ImageSize,
    Model,
    ModelOptions,
    Precision,
    Setting,
    Speed,
    announce_start,
)

if TYPE_CHECKING:
    from masklet.model import Sam2


def studio(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of videos and images to work on. Uploads work without one.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own requires a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for uploads, the database and caches. [~/.local/share/masklet]"),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="URL of a database, such as postgresql://USER@HOST/NAME. Default: SQLite in DATA."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar=["MASKLET_STUDIO_TOKEN", "MASKLET_TOKEN"],
            help="Token that every request must send; generated if needed. Others on this machine see it in "
            "the process list: prefer the variable or --token-file.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file whose first line is the token.", dir_okay=False)
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="A host name by which browsers reach this machine. Repeat for more."),
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="A folder of checkpoints that projects can use besides MODEL.")
    ] = None,
    model: Model = "nano",
    device: Device = None,
    dtype: Precision = Dtype.float32,
    setting: Speed = Setting.balanced,
    image_size: ImageSize = None,
    engine: Engine = "auto",
) -> None:
    """Open the studio: segment videos and images in the browser, alone or as a team."""
    announce_start()
    from masklet.errors import MediaError, MissingExtra

    try:
        from masklet.studio.server import address, read_token, serve, token_for
        from masklet.studio.settings import Settings
    except ModuleNotFoundError as error:
        raise MissingExtra("studio", error.name or "fastapi") from error

    for place in (folder, models):
        if place is not None and not place.is_dir():
            raise MediaError(f"{place} is not a folder.")
    home = Path(os.environ.get("XDG_DATA_HOME", "~/.local/share")).expanduser() / "masklet"
    settings = Settings(
        data=data or home,
        folder=folder,
        host=host,
        port=port,
        database=database,
        token=token_for(host, token if token_file is None else read_token(token_file)),
        hosts=tuple(name or ()),
        models=models,
    )

    network = ModelOptions(model, device, dtype, setting, image_size, engine)
    loaded = network.load()

    def announce() -> None:
        typer.echo(f"The studio is at {address(settings)}")
        typer.echo(network.describe(loaded))
        typer.echo(f"Press Ctrl-C to stop it; your work is saved in {settings.data}.")
        if browser:  # in a thread, since some browsers block their caller
            threading.Thread(target=webbrowser.open, args=[address(settings)], daemon=True).start()

    def load_model(path: Path) -> Sam2:
        return ModelOptions(str(path), device, dtype, setting).load()

    serve(settings, loaded, network.name, announce, load_model)
