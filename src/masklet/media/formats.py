"""Every form in which masks leave masklet, by name: one registry for the command line and the studio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from masklet.errors import MediaError
from masklet.files import StrPath
from masklet.media.readers.source import Source
from masklet.media.writers.coco import CocoJson, SavJson, YouTubeVisJson
from masklet.media.writers.cutout import CutoutPngs, CutoutVideo, FramePictures
from masklet.media.writers.cvat import CvatMasks, CvatTracks
from masklet.media.writers.label_studio import LabelStudioBrushes, LabelStudioVideo
from masklet.media.writers.labels import ObjectPngs, PalettePngs
from masklet.media.writers.masklets import MaskletsJson
from masklet.media.writers.overlay import OverlayVideo
from masklet.media.writers.polygons import PolygonsJson, YoloTxts
from masklet.media.writers.writer import Names, Writer, Writers

MakeWriter = Callable[[Path, Source, Names], Writer]


@dataclass(frozen=True)
class Format:
    """One form of masks.

    Attributes:
        name: As it is typed.
        title: As a menu shows it.
        path: Its place in the output folder; a folder of files where it has no suffix.
        make: Makes its writer, for a path, a source and the objects' classes.
        shows_frames: Whether it needs the frames, and not their masks only.
    """

    name: str
    title: str
    path: str
    make: MakeWriter
    shows_frames: bool = False

    @property
    def is_folder(self) -> bool:
        return not Path(self.path).suffix


def _without_names(make: Callable[[Path, Source], Writer]) -> MakeWriter:
    return lambda path, source, names: make(path, source)


def _path_only(make: Callable[[Path], Writer]) -> MakeWriter:
    return lambda path, source, names: make(path)


FORMATS = {
    format.name: format
    for format in (
        Format("palette", "Label maps: palette PNG, as DAVIS", "masks", _path_only(PalettePngs)),
        Format("objects", "A PNG for each object, as SA-V", "objects", _path_only(ObjectPngs)),
        Format("masklets", "masklet's own JSON", "masklets.json", _without_names(MaskletsJson)),
        Format("coco", "COCO", "coco.json", CocoJson),
        Format("youtube-vis", "YouTube-VIS", "youtube_vis.json", YouTubeVisJson),
        Format("sa-v", "SA-V", "sav.json", SavJson),
        Format("yolo", "YOLO segmentation", "labels", YoloTxts),
        Format("polygons", "Polygons with holes", "polygons.json", _without_names(PolygonsJson)),
        Format("cvat", "CVAT for video: polygon tracks", "cvat_tracks.xml", CvatTracks),
        Format("cvat-images", "CVAT for images: masks", "cvat_masks.xml", CvatMasks),
        Format("label-studio", "Label Studio: brushes", "label_studio.json", LabelStudioBrushes),
        Format("label-studio-video", "Label Studio: boxes", "label_studio_video.json", LabelStudioVideo),
        Format("overlay", "Overlay video: MP4", "overlay.mp4", _without_names(OverlayVideo), True),
        Format("cutout-webm", "Cut-out video: WebM", "cutout.webm", _without_names(CutoutVideo), True),
        Format("cutout-png", "Cut-out pictures: PNG", "cutout", _path_only(CutoutPngs), True),
        Format("frames", "The frames as pictures", "frames", _without_names(FramePictures), True),
    )
}


def find_format(name: str) -> Format:
    """The format of a name; an unknown one is refused with the list of those there are."""
    if name not in FORMATS:
        raise MediaError(f"there is no format '{name}'. Choose from {', '.join(FORMATS)}.")
    return FORMATS[name]


def writers(formats: Iterable[str], folder: StrPath, source: Source, names: Names | None = None) -> Writers:
    """Make writers of several formats, each at its place in a folder.

    Args:
        formats: Their names, see `FORMATS`.
        folder: The folder; it is made.
        source: Where the frames come from.
        names: Classes of the objects, such as "dog", by id.
    """
    chosen = [find_format(name) for name in dict.fromkeys(formats)]
    return Writers(*(format.make(Path(folder) / format.path, source, names or {}) for format in chosen))
