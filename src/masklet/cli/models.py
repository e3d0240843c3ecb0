"""masklet models: the models that have a name."""

from __future__ import annotations

import typer


def models() -> None:
    """List the models that have a name; a path or a hub id works in their place."""
    from rich.console import Console
    from rich.table import Table

    from masklet.checkpoint import PUBLISHED
    from masklet.config import SIZES

    table = Table("name", "trunk", "input", "where")
    for name in ("nano", *PUBLISHED):
        size = SIZES[name.split("hiera-")[-1]]
        blocks = f"{size.embed_dim} wide, {sum(size.stages)} blocks"
        where = "in the package" if name == "nano" else "the hub"
        table.add_row(name, blocks, f"{size.image_size} px", where)
    Console().print(table)
    typer.echo(
        "Use one as --model NAME, or masklet.load(NAME). What is on the hub, huggingface.co/facebook/NAME, "
        "is fetched once."
    )
