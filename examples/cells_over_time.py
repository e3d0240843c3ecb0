"""Follow a nucleus through depth and time, in a stack with the axes T, Z, Y, X.

The stack is tracked as one film that goes up through the depths at one time and down at the next, so that
each frame is next to the one before. The label TIFF has the axes and the order of its source.

python examples/cells_over_time.py                                        a stack that is made here
python examples/cells_over_time.py --stack cells.ome.tif --channel DAPI --point 210 180 --time 0 --depth 12
"""

from pathlib import Path

import numpy as np
import PIL.Image
import typer

import masklet
from masklet import Prompt
from masklet.media import open_frames, writers

TIMES, DEPTHS, SIDE = 3, 5, 256


def make_stack(path: Path) -> Path:
    """A nucleus that drifts to the right, widest in the middle of the stack, and one that stays."""
    (y, x), random, pages = np.mgrid[:SIDE, :SIDE], np.random.default_rng(0), []
    for time in range(TIMES):
        for depth in range(DEPTHS):
            shrink = (9 * (depth - DEPTHS // 2)) ** 2
            drifting = (x - 80 - 12 * time) ** 2 + (y - 100) ** 2 < 36**2 - shrink
            standing = (x - 190) ** 2 + (y - 180) ** 2 < 28**2 - shrink
            values = 2600 * (drifting | standing) + 400 + 150 * np.sin(x / 30)
            values += random.normal(150, 25, values.shape)
            pages.append(PIL.Image.fromarray(values.clip(0, 4095).astype(np.uint16)))
    count = TIMES * DEPTHS
    axes = f"ImageJ=1.54f\nimages={count}\nslices={DEPTHS}\nframes={TIMES}\nhyperstack=true\n"
    pages[0].save(path, save_all=True, append_images=pages[1:], description=axes)
    return path


def up_and_down(times: int, depths: int) -> list[int]:
    """The pages, stored time by time, in an order in which neighbours are neighbours in depth or time.

    >>> up_and_down(2, 3)
    [0, 1, 2, 5, 4, 3]
    """
    pages = np.arange(times * depths).reshape(times, depths)
    pages[1::2] = pages[1::2, ::-1]
    return pages.ravel().tolist()


def main(
    stack: Path | None = None,
    channel: str | None = None,
    point: tuple[float, float] = (80, 100),
    time: int = 0,
    depth: int = DEPTHS // 2,
    model: str = "nano",
    out: Path = Path("out/cells_over_time"),
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    frames = open_frames(stack or make_stack(out / "stack.tif"), channel=channel)
    if frames.axes is None:
        raise typer.BadParameter("the file does not say which of its pages are depth and which are time")
    times, depths = frames.axes.time, frames.axes.depth
    order = up_and_down(times, depths)
    session = masklet.VideoSession(masklet.load(model), [frames[page] for page in order])
    start = order.index(time * depths + depth)
    session.prompt(start, 1, Prompt(positive=[point]))
    for reverse in (False, True):
        list(session.propagate(start, reverse=reverse))
    with writers(["ome-tiff"], out, frames, {1: "nucleus"}) as files:
        for page, image in enumerate(frames):
            files.write(image, masks := session.masks(order.index(page)))
            print(f"time {page // depths}, depth {page % depths}: {int(masks[1].sum())} pixels")
    print(out / "labels.ome.tif")


if __name__ == "__main__":
    typer.run(main)
