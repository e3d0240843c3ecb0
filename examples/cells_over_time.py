"""Track a nucleus through depth and time, in a stack with the axes T, Z, Y, X.

The stack is tracked as one film that goes up through the depths at one time and down at the next. The label
TIFF has the axes and the order of its source.

python examples/cells_over_time.py                                        a stack that is made here
python examples/cells_over_time.py --stack cells.ome.tif --channel DAPI --point 210 180 --time 0 --depth 12
"""

from pathlib import Path

import numpy as np
import PIL.Image

import masklet
from masklet.cli import run_script
from masklet.media import open_frames, writers


def make_stack(path: Path) -> Path:
    """Three times, five depths: a nucleus that drifts to the right, widest in the middle of the stack."""
    (y, x), noise, pages = np.mgrid[:256, :256], np.random.default_rng(0), []
    for time, depth in np.ndindex(3, 5):
        nucleus = (x - 80 - 12 * time) ** 2 + (y - 100) ** 2 < 36**2 - (9 * (depth - 2)) ** 2
        values = 550 + 2600 * nucleus + 150 * np.sin(x / 30) + noise.normal(0, 25, x.shape)
        pages.append(PIL.Image.fromarray(values.astype(np.uint16)))
    axes = "ImageJ=1.54f\nimages=15\nslices=5\nframes=3\nhyperstack=true\n"
    pages[0].save(path, save_all=True, append_images=pages[1:], description=axes)
    return path


def main(
    stack: Path | None = None,
    channel: str | None = None,
    point: tuple[float, float] = (80, 100),
    time: int = 0,
    depth: int = 2,
    model: str = "nano",
    out: Path = Path("out/cells_over_time"),
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    frames = open_frames(stack or make_stack(out / "stack.tif"), channel=channel)
    if frames.axes is None:
        raise masklet.MaskletError("the file does not say which of its pages are depth and which are time.")
    pages = np.arange(len(frames)).reshape(frames.axes.time, frames.axes.depth)
    pages[1::2] = pages[1::2, ::-1]  # every second time from above
    order = pages.ravel().tolist()
    session = masklet.VideoSession(masklet.load(model), [frames[page] for page in order])
    start = order.index(time * frames.axes.depth + depth)
    session.prompt(start, 1, masklet.Prompt(positive=[point]))
    _ = [*session.propagate(start), *session.propagate(start, reverse=True)]
    with writers(["ome-tiff"], out, frames, {1: "nucleus"}) as files:
        for page, image in enumerate(frames):
            files.write(image, session.masks(order.index(page)))
    print(out / "labels.ome.tif")


if __name__ == "__main__":
    run_script(main)
