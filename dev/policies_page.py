"""Writes the table and the images of docs/policies.md, with the shipped weights.

python dev/policies_page.py CLIPS

CLIPS is a folder of NAME/frames beside NAME/masks, or DAVIS. Results are stored by weights in
runs/policies, so that an interrupted run can be resumed. Images show synthetic clips only.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer

from masklet.cli.evaluate import compare
from masklet.evaluate.predictors import ModelPredictor
from masklet.evaluate.runner import PredictorSpec

REPO = Path(__file__).parents[1]
PAGE = REPO / "docs" / "policies.md"
IMAGES = REPO / "docs" / "images" / "policies"
MARKS = re.compile(r"(<!-- policies -->\n).*?(<!-- end -->)", re.DOTALL)


def main(
    clips: Path,
    model: str = "nano",
    jobs: Annotated[int, typer.Option(help="processes")] = 2,
    out: Path = REPO / "runs" / "policies",
) -> None:
    """Compare all policies, and write table and images to the page."""
    spec = PredictorSpec(model, device="cpu")
    predictor = spec.load()
    assert isinstance(predictor, ModelPredictor)
    place = out / predictor.digest
    compare(clips, None, place, spec, jobs, "python dev/policies_page.py CLIPS")
    shutil.rmtree(IMAGES, ignore_errors=True)
    shutil.copytree(place / "strips", IMAGES)
    table = (place / "table.md").read_text().replace("(strips/", "(images/policies/")
    text = PAGE.read_text()
    PAGE.write_text(MARKS.sub(lambda match: f"{match[1]}{table}{match[2]}", text))


if __name__ == "__main__":
    typer.run(main)
