"""Every form in which masks leave masklet, by name: one list for the command line and for the studio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from masklet.errors import MediaError
from masklet.files import StrPath
from masklet.media.kinds import Names
from masklet.media.readers.source import Source
from masklet.media.writers.cutout import CutoutPngs, CutoutVideo
from masklet.media.writers.cvat import CvatMasks, CvatTracks
from masklet.media.writers.datasets import CocoJson, SavJson, YouTubeVisJson
from masklet.media.writers.labels import ObjectPngs, PalettePngs
from masklet.media.writers.labelstudio import LabelStudioBrushes, LabelStudioVideo
from masklet.media.writers.masklets import MaskletsJson
from masklet.media.writers.overlay import OverlayVideo
from masklet.media.writers.polygons import PolygonsJson, YoloTxts
from masklet.media.writers.stills import FramePictures
from masklet.media.writers.writer import Writer, Writers

Make = Callable[[Path, Source, Names], Writer]


@dataclass(frozen=True)
class Format:
    """One form of masks.

    name : as it is typed
    title : as a menu shows it
    path : where it goes in the output folder; a folder of files where it has no suffix
    make : its writer, for a place, a source and what the objects are called
    pictured : it shows the frames, and not their masks only
    """

    name: str
    title: str
    path: str
    make: Make
    pictured: bool = False

    @property
    def is_folder(self) -> bool:
        return not Path(self.path).suffix


_ALL = (
    Format("palette", "Label maps: palette PNG, as DAVIS", "masks", lambda at, of, names: PalettePngs(at)),
    Format("objects", "A PNG for each object, as SA-V", "objects", lambda at, of, names: ObjectPngs(at)),
    Format("masklets", "masklet's own JSON", "masklets.json", lambda at, of, names: MaskletsJson(at, of)),
    Format("coco", "COCO", "coco.json", CocoJson),
    Format("youtube-vis", "YouTube-VIS", "youtube_vis.json", YouTubeVisJson),
    Format("sa-v", "SA-V", "sav.json", SavJson),
    Format("yolo", "YOLO segmentation", "labels", YoloTxts),
    Format("polygons", "Polygons with holes", "polygons.json", lambda at, of, names: PolygonsJson(at, of)),
    Format("cvat", "CVAT for video: polygon tracks", "cvat_tracks.xml", CvatTracks),
    Format("cvat-images", "CVAT for images: masks", "cvat_masks.xml", CvatMasks),
    Format("label-studio", "Label Studio: brushes", "label_studio.json", LabelStudioBrushes),
    Format("label-studio-video", "Label Studio: boxes in video", "label_studio_video.json", LabelStudioVideo),
    Format(
        "overlay",
        "Overlay video: MP4",
        "overlay.mp4",
        lambda at, of, names: OverlayVideo(at, of),
        pictured=True,
    ),
    Format(
        "cutout-webm",
        "Cut-out video: WebM with alpha",
        "cutout.webm",
        lambda at, of, names: CutoutVideo(at, of),
        pictured=True,
    ),
    Format(
        "cutout-png",
        "Cut-out pictures: PNG with alpha",
        "cutout",
        lambda at, of, names: CutoutPngs(at),
        pictured=True,
    ),
    Format(
        "frames",
        "The frames as pictures",
        "frames",
        lambda at, of, names: FramePictures(at, of),
        pictured=True,
    ),
)
FORMATS = {each.name: each for each in _ALL}


def find_format(name: str) -> Format:
    if name not in FORMATS:
        raise MediaError(f"there is no format '{name}'. Choose from {', '.join(FORMATS)}.")
    return FORMATS[name]


def writers(names: Iterable[str], folder: StrPath, source: Source, called: Names | None = None) -> Writers:
    """Writers of several formats, each at its place in a folder.

    called : what the objects are called, by id
    """
    chosen = [find_format(name) for name in dict.fromkeys(names)]
    return Writers(*(each.make(Path(folder) / each.path, source, called or {}) for each in chosen))
