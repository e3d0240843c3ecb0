"""The output formats by name: one registry for the command line and the studio."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from masklet.errors import MediaError
from masklet.files import StrPath
from masklet.media.readers.source import Source
from masklet.media.writers.coco import CocoJson, SavJson, YouTubeVisJson
from masklet.media.writers.cvat import CvatMasks, CvatTracks
from masklet.media.writers.images import (
    CompositeVideo,
    CutoutPngs,
    CutoutProRes,
    CutoutVideo,
    FrameImages,
    OverlayVideo,
)
from masklet.media.writers.label_studio import LabelStudioBrushes, LabelStudioVideo
from masklet.media.writers.labels import LabelOmeTiff, LabelTiff, ObjectPngs, PalettePngs, check_ids
from masklet.media.writers.masklets import MaskletsJson
from masklet.media.writers.mattes import MatteExrs
from masklet.media.writers.measures import MeasuresCsv
from masklet.media.writers.polygons import PolygonsJson, YoloTxts
from masklet.media.writers.writer import Names, Writer, Writers


@dataclass(frozen=True)
class Look:
    """The look of formats that show images.

    Attributes:
        background: The background of a composite: "blur", a colour, or the path of an image or video.
        soft: Pixels over which the edges of objects fade out, 0 to 100.

    Raises:
        MediaError: `soft` is not from 0 to 100.
    """

    background: str = "blur"
    soft: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.soft <= SOFTEST:
            raise MediaError(f"soft must be from 0 to {SOFTEST} pixels. Got {self.soft:g}.")


MakeWriter = Callable[[Path, Source, Names, Look], Writer]
SOFTEST = 100


@dataclass(frozen=True)
class Format:
    """An output format.

    Attributes:
        name: The name to type.
        title: The title in menus.
        path: Its path in the output folder; a folder of files if it has no suffix.
        make: Makes its writer, for a path, a source and the objects' classes.
        shows_frames: Whether it needs the frames besides their masks.
        look: The fields of `Look` that it uses.
        has_pixel_size: Whether it records the pixel size.
    """

    name: str
    title: str
    path: str
    make: MakeWriter
    _: KW_ONLY
    shows_frames: bool = False
    look: tuple[str, ...] = ()
    has_pixel_size: bool = False


def _without_names(make: Callable[[Path, Source], Writer]) -> MakeWriter:
    return lambda path, source, names, look: make(path, source)


def _path_only(make: Callable[[Path], Writer]) -> MakeWriter:
    return lambda path, source, names, look: make(path)


def _with_names(make: Callable[[Path, Source, Names], Writer]) -> MakeWriter:
    return lambda path, source, names, look: make(path, source, names)


def _soft(make: Callable[..., Writer]) -> MakeWriter:
    return lambda path, source, names, look: make(path, source, soft=look.soft)


def _soft_pngs(path: Path, source: Source, names: Names, look: Look) -> Writer:
    return CutoutPngs(path, soft=look.soft)


def _composite(path: Path, source: Source, names: Names, look: Look) -> Writer:
    return CompositeVideo(path, source, background=look.background, soft=look.soft)


FORMATS = {
    format.name: format
    for format in (
        Format("palette", "Label maps: palette PNG, as DAVIS", "masks", _path_only(PalettePngs)),
        Format("objects", "A PNG per object, as SA-V", "objects", _path_only(ObjectPngs)),
        Format("masklets", "masklet's own JSON", "masklets.json", _without_names(MaskletsJson)),
        Format("coco", "COCO", "coco.json", _with_names(CocoJson)),
        Format("youtube-vis", "YouTube-VIS", "youtube_vis.json", _with_names(YouTubeVisJson)),
        Format("sa-v", "SA-V", "sav.json", _with_names(SavJson)),
        Format("yolo", "YOLO segmentation", "labels", _with_names(YoloTxts)),
        Format(
            "measures",
            "A table of measurements: CSV",
            "measures.csv",
            _with_names(MeasuresCsv),
            has_pixel_size=True,
        ),
        Format("polygons", "Polygons with holes", "polygons.json", _without_names(PolygonsJson)),
        Format("cvat", "CVAT for video: polygon tracks", "cvat_tracks.xml", _with_names(CvatTracks)),
        Format("cvat-images", "CVAT for images: masks", "cvat_masks.xml", _with_names(CvatMasks)),
        Format("label-studio", "Label Studio: brushes", "label_studio.json", _with_names(LabelStudioBrushes)),
        Format(
            "label-studio-video",
            "Label Studio: boxes",
            "label_studio_video.json",
            _with_names(LabelStudioVideo),
        ),
        Format(
            "overlay", "Overlay video: MP4", "overlay.mp4", _without_names(OverlayVideo), shows_frames=True
        ),
        Format(
            "tiff",
            "Label maps: TIFF for ImageJ",
            "labels.tif",
            _with_names(LabelTiff),
            has_pixel_size=True,
        ),
        Format(
            "ome-tiff",
            "Label maps: OME-TIFF",
            "labels.ome.tif",
            _with_names(LabelOmeTiff),
            has_pixel_size=True,
        ),
        Format(
            "cutout-webm",
            "Cut-out video: WebM",
            "cutout.webm",
            _soft(CutoutVideo),
            shows_frames=True,
            look=("soft",),
        ),
        Format(
            "cutout-prores",
            "Cut-out video: ProRes 4444",
            "cutout.mov",
            _soft(CutoutProRes),
            shows_frames=True,
            look=("soft",),
        ),
        Format("cutout-png", "Cut-out images: PNG", "cutout", _soft_pngs, shows_frames=True, look=("soft",)),
        Format("matte-exr", "Mattes: EXR per object", "mattes", _soft(MatteExrs), look=("soft",)),
        Format(
            "composite",
            "On another background: MP4",
            "composite.mp4",
            _composite,
            shows_frames=True,
            look=("background", "soft"),
        ),
        Format("frames", "The frames as images", "frames", _without_names(FrameImages), shows_frames=True),
    )
}


LABEL_MAPS = ("palette", "tiff", "ome-tiff")  # formats whose pixels are ids


def find_format(name: str) -> Format:
    """Find a format by its name.

    Args:
        name: One of `FORMATS`, such as "coco".

    Raises:
        MediaError: There is no such format; the message lists those there are.

    Example:
        >>> find_format("coco").path
        'coco.json'
    """
    if name not in FORMATS:
        raise MediaError(f"there is no format '{name}'. Choose from {', '.join(FORMATS)}.")
    return FORMATS[name]


def check_format_ids(formats: Iterable[str], ids: Iterable[int]) -> None:
    """Refuse ids that one of the formats cannot hold, before anything is written.

    Raises:
        MediaError: A label map is to be written, whose pixels are numbers up to 65,535, and an id is larger.
    """
    if any(name in LABEL_MAPS for name in formats):
        check_ids(ids)


def writers(
    formats: Iterable[str],
    folder: StrPath,
    source: Source,
    names: Names | None = None,
    look: Look | None = None,
) -> Writers:
    """Make writers of several formats, each at its place in a folder.

    Args:
        formats: Their names, see `FORMATS`.
        folder: The folder; it is made.
        source: Where the frames come from.
        names: Classes of the objects, such as "dog", by id.
        look: Background and edges of the formats that show images.

    Returns:
        One writer, which writes all formats.

    Raises:
        MediaError: A name is unknown, a class has a control character, or the folder cannot be written to.
    """
    if isinstance(formats, str):
        raise MediaError(f'formats must be a list of names, such as ["coco"]. Got {formats!r}.')
    folder, look = Path(folder), look or Look()
    chosen = [find_format(name) for name in dict.fromkeys(formats)]
    return Writers(*(format.make(folder / format.path, source, names or {}, look) for format in chosen))
