"""masklet segments and follows anything a person points at, in images, stored videos and live streams."""

from masklet.auto import Followed, Grid, Segments, everything
from masklet.checkpoint import load, save
from masklet.config import Sam2Config
from masklet.errors import CheckpointError, MaskletError, MediaError, MissingExtra, PromptError
from masklet.memory import MemoryBank, MemoryPolicy, Recency
from masklet.model import Sam2
from masklet.presence import Event, Watch
from masklet.sessions.features import FeatureCache
from masklet.sessions.image import ImageSession
from masklet.sessions.script import Script
from masklet.sessions.stream import Tracker, track
from masklet.sessions.video import VideoSession
from masklet.types import Candidates, FrameFeatures, MaskPrediction, Masks, Memory, Prompt, Recall

__all__ = [
    "Candidates",
    "CheckpointError",
    "Event",
    "FeatureCache",
    "Followed",
    "FrameFeatures",
    "Grid",
    "ImageSession",
    "MaskPrediction",
    "MaskletError",
    "Masks",
    "MediaError",
    "Memory",
    "MemoryBank",
    "MemoryPolicy",
    "MissingExtra",
    "Prompt",
    "PromptError",
    "Recall",
    "Recency",
    "Sam2",
    "Sam2Config",
    "Script",
    "Segments",
    "Tracker",
    "VideoSession",
    "Watch",
    "everything",
    "load",
    "save",
    "track",
]
