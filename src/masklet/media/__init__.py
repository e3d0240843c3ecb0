"""Pictures and videos in, masks out. Knows nothing of models: only frames and `masklet.types.Masks`."""

from masklet.media.frames import Frames, open_frames
from masklet.media.pictures import find_pictures, read_image
from masklet.media.source import Image, NoSuchFrame, Source
from masklet.media.stream import Stream, stream

__all__ = [
    "Frames",
    "Image",
    "NoSuchFrame",
    "Source",
    "Stream",
    "find_pictures",
    "open_frames",
    "read_image",
    "stream",
]
