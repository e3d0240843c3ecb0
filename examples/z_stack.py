"""A microscope's z-stack: follow a nucleus through depth, write an OME-TIFF of labels and measures.

python examples/z_stack.py --stack cells.ome.tif --channel DAPI --point 210 180 --page 12    or one made here
"""

from pathlib import Path

import numpy as np
import PIL.Image

import masklet
from masklet.cli import run_script
from masklet.media import open_frames, writers

PAGES, SIDE = 9, 256
NUCLEI = (90, 100, 34), (178, 150, 26), (80, 200, 20)  # x, y, radius


def make_stack(path: Path) -> Path:
    """Two channels of 12 bits: nuclei that are widest in the middle of the stack, and a dim background."""
    (y, x), random, pages = np.mgrid[:SIDE, :SIDE], np.random.default_rng(0), []
    for page in range(PAGES):
        depth = (6 * (page - PAGES // 2)) ** 2
        nuclei = 2600 * np.any([(x - cx) ** 2 + (y - cy) ** 2 < r**2 - depth for cx, cy, r in NUCLEI], axis=0)
        for channel in (nuclei, 500 + 200 * np.sin(x / 30)):
            values = (channel + random.normal(150, 25, channel.shape)).clip(0, 4095)
            pages.append(PIL.Image.fromarray(values.astype(np.uint16)))
    scale = {282: 4.0, 283: 4.0}  # TIFF's tags of resolution: pixels in a micrometre
    axes = f"ImageJ=1\nimages={2 * PAGES}\nchannels=2\nslices={PAGES}\nhyperstack=true\nunit=um\nspacing=1\n"
    pages[0].save(path, save_all=True, append_images=pages[1:], description=axes, tiffinfo=scale)
    return path


def main(
    stack: Path | None = None,
    channel: str = "0",
    point: tuple[float, float] = (90, 100),
    page: int = PAGES // 2,
    model: str = "nano",
    out: Path = Path("out/z_stack"),
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    frames = open_frames(stack or make_stack(out / "stack.tif"), channel=channel)
    session = masklet.VideoSession(masklet.load(model), frames)
    session.prompt(page, 1, masklet.Prompt(positive=[point]))
    for reverse in (False, True):
        list(session.propagate(page, reverse=reverse))
    with writers(["ome-tiff", "measures"], out, frames, {1: "nucleus"}) as files:
        for number, image in enumerate(frames):
            files.write(image, session.masks(number))
            print(f"page {number}: {int(session.masks(number)[1].sum())} pixels")
    pixels = sum(int(session.masks(number)[1].sum()) for number in range(len(frames)))
    if (size := frames.pixel_size) is not None and size.z is not None:
        print(f"volume: {pixels * size.x * size.y * size.z:.1f} cubic micrometres")
    print(out / "labels.ome.tif", out / "measures.csv", sep="\n")


if __name__ == "__main__":
    run_script(main)
