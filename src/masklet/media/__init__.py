"""Reads images and videos, and writes masks. Does not depend on models: only on frames and
`masklet.types.Masks`."""

from masklet.media.formats import FORMATS, Format, Look, find_format, writers
from masklet.media.readers.frames import Frames, is_still, open_frames
from masklet.media.readers.image_files import is_image
from masklet.media.readers.images import ImageReader, find_images, read_image
from masklet.media.readers.live_streams import Stream, open_source, stream
from masklet.media.readers.mask_files import read_label_map, read_label_maps
from masklet.media.readers.microscopy import PixelSize
from masklet.media.readers.source import Image, NoSuchFrame, Source
from masklet.media.writers.coco import SAV_FRAME_STEP, CocoJson, SavJson, YouTubeVisJson
from masklet.media.writers.cvat import CvatMasks, CvatTracks
from masklet.media.writers.images import (
    CompositeVideo,
    CutoutPngs,
    CutoutProRes,
    CutoutVideo,
    FrameImages,
    OverlayPng,
    OverlayVideo,
    color,
    cutout,
    overlay,
    paint_masks,
)
from masklet.media.writers.label_studio import LabelStudioBrushes, LabelStudioVideo, brush_region, brush_rle
from masklet.media.writers.labels import (
    LabelOmeTiff,
    LabelTiff,
    ObjectPngs,
    PalettePngs,
    check_ids,
    davis_palette,
    write_label_map,
)
from masklet.media.writers.masklets import MaskletsJson, read_masklets
from masklet.media.writers.mattes import MatteExrs
from masklet.media.writers.measures import MeasuresCsv
from masklet.media.writers.merging import merge_coco
from masklet.media.writers.polygons import PolygonsJson, YoloTxts, outlines
from masklet.media.writers.writer import BackgroundWriter, Writer, Writers

__all__ = [
    "FORMATS",
    "SAV_FRAME_STEP",
    "BackgroundWriter",
    "CocoJson",
    "CompositeVideo",
    "CutoutPngs",
    "CutoutProRes",
    "CutoutVideo",
    "CvatMasks",
    "CvatTracks",
    "Format",
    "FrameImages",
    "Frames",
    "Image",
    "ImageReader",
    "LabelOmeTiff",
    "LabelStudioBrushes",
    "LabelStudioVideo",
    "LabelTiff",
    "Look",
    "MaskletsJson",
    "MatteExrs",
    "MeasuresCsv",
    "NoSuchFrame",
    "ObjectPngs",
    "OverlayPng",
    "OverlayVideo",
    "PalettePngs",
    "PixelSize",
    "PolygonsJson",
    "SavJson",
    "Source",
    "Stream",
    "Writer",
    "Writers",
    "YoloTxts",
    "YouTubeVisJson",
    "brush_region",
    "brush_rle",
    "check_ids",
    "color",
    "cutout",
    "davis_palette",
    "find_format",
    "find_images",
    "is_image",
    "is_still",
    "merge_coco",
    "open_frames",
    "open_source",
    "outlines",
    "overlay",
    "paint_masks",
    "read_image",
    "read_label_map",
    "read_label_maps",
    "read_masklets",
    "stream",
    "write_label_map",
    "writers",
]
