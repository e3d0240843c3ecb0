"""What `masklet track` wrote, read back."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

import masklet
from masklet.media import read_label_map, read_masklets
from toy_models import SIZE

CLICK = ("--point", "20,24")


def results(out: Path) -> dict[int, masklet.Masks]:
    """What was written, checked to be whole and of one mind."""
    written = {masks.frame: masks for masks in read_masklets(out / "masklets.json")}
    images = {int(path.stem): read_label_map(path) for path in (out / "masks").glob("*")}
    assert images.keys() == written.keys() and not list(out.rglob(".*"))
    for frame, labels in images.items():
        assert set(np.unique(labels)) <= {0, *written[frame].ids}
        for id in written[frame]:
            assert not (labels == id)[~written[frame][id]].any()
    if written:
        with av.open(str(out / "overlay.mp4")) as video:
            shown = list(video.decode(video=0))
        assert len(shown) == len(written) and (shown[0].height, shown[0].width) == SIZE
    return written
