"""Make the table and the pictures of docs/policies.md again, from the shipped weights.

python dev/policies_page.py CLIPS

CLIPS is a folder of NAME/frames beside NAME/masks, or DAVIS. What was measured of the same weights stays in
runs/policies, so a killed run goes on. Pictures are of composed clips only.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer

from masklet.cli.compare import compare
from masklet.evaluate.runner import Named
from masklet.evaluate.subjects import Network

REPO = Path(__file__).parents[1]
PAGE = REPO / "docs" / "policies.md"
PICTURES = REPO / "docs" / "images" / "policies"
MARKS = re.compile(r"(<!-- policies -->\n).*?(<!-- end -->)", re.DOTALL)


def main(
    clips: Path,
    model: str = "nano",
    jobs: Annotated[int, typer.Option(help="processes")] = 2,
    out: Path = REPO / "runs" / "policies",
) -> None:
    """Compare all policies, and put what came into the page."""
    network = Named(model)()
    assert isinstance(network, Network)
    place = out / network.digest
    compare(clips, None, place, model, jobs, device="cpu", dtype="float32")
    shutil.rmtree(PICTURES, ignore_errors=True)
    shutil.copytree(place / "strips", PICTURES)
    table = (place / "table.md").read_text().replace("(strips/", "(images/policies/")
    text = PAGE.read_text()
    PAGE.write_text(MARKS.sub(lambda found: f"{found[1]}{table}{found[2]}", text))


if __name__ == "__main__":
    typer.run(main)
