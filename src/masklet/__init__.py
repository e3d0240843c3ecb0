"""masklet segments and follows anything a person points at, in images, stored videos and live streams."""

from masklet.auto import Followed, Grid, Segments, everything
from masklet.checkpoint import load, save
from masklet.config import Sam2Config
from masklet.errors import CheckpointError, MaskletError, MediaError, MissingExtra, PromptError
from masklet.model import Sam2
from masklet.sessions.events import Script
from masklet.sessions.feature_cache import FeatureCache
from masklet.sessions.image import ImageSession
from masklet.sessions.tracker import Tracker, track
from masklet.sessions.video import VideoSession
from masklet.sessions.visibility import Event, VisibilityMonitor
from masklet.tracking.bank import MemoryBank, MemoryPolicy, Recency
from masklet.types import Candidates, FrameFeatures, MaskPrediction, Masks, Memory, MemorySelection, Prompt

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
    "MemorySelection",
    "MissingExtra",
    "Prompt",
    "PromptError",
    "Recency",
    "Sam2",
    "Sam2Config",
    "Script",
    "Segments",
    "Tracker",
    "VideoSession",
    "VisibilityMonitor",
    "everything",
    "load",
    "save",
    "track",
]
