"""masklet segments and tracks anything a person points at, in images, stored videos and live streams.

Importing the package is fast: each name is imported when it is first used.
"""

import importlib
import importlib.util
import os
import typing

if typing.TYPE_CHECKING:
    from masklet.auto import Grid, MaskletSet, Segments, everything
    from masklet.checkpoint import load, save
    from masklet.config import Sam2Config
    from masklet.errors import (
        CheckpointError,
        MaskletError,
        MediaError,
        MissingExtra,
        OptionError,
        PromptError,
    )
    from masklet.masks import MaskIterator
    from masklet.model import Sam2
    from masklet.sessions.events import Script
    from masklet.sessions.feature_cache import FeatureCache
    from masklet.sessions.image import ImageSession, segment_many
    from masklet.sessions.tracker import Tracker, track
    from masklet.sessions.video import VideoSession
    from masklet.sessions.visibility import Event, VisibilityMonitor
    from masklet.tracking.bank import MemoryBank
    from masklet.tracking.policies.recency import MemoryPolicy, Recency
    from masklet.types import (
        Candidates,
        FrameFeatures,
        ImageCandidates,
        MaskPrediction,
        Masks,
        Memory,
        MemorySelection,
        Prompt,
    )

    __version__: str

__all__ = [
    "Candidates",
    "CheckpointError",
    "Event",
    "FeatureCache",
    "FrameFeatures",
    "Grid",
    "ImageCandidates",
    "ImageSession",
    "MaskIterator",
    "MaskPrediction",
    "MaskletError",
    "MaskletSet",
    "Masks",
    "MediaError",
    "Memory",
    "MemoryBank",
    "MemoryPolicy",
    "MemorySelection",
    "MissingExtra",
    "OptionError",
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
    "segment_many",
    "track",
]

_MODULES = {  # where each public name is defined
    "auto": ("MaskletSet", "Grid", "Segments", "everything"),
    "checkpoint": ("load", "save"),
    "config": ("Sam2Config",),
    "errors": (
        "CheckpointError",
        "MaskletError",
        "MediaError",
        "MissingExtra",
        "OptionError",
        "PromptError",
    ),
    "model": ("Sam2",),
    "masks": ("MaskIterator",),
    "sessions.events": ("Script",),
    "sessions.feature_cache": ("FeatureCache",),
    "sessions.image": ("ImageSession", "segment_many"),
    "sessions.tracker": ("Tracker", "track"),
    "sessions.video": ("VideoSession",),
    "sessions.visibility": ("Event", "VisibilityMonitor"),
    "tracking.bank": ("MemoryBank",),
    "tracking.policies.recency": ("MemoryPolicy", "Recency"),
    "types": (
        "Candidates",
        "FrameFeatures",
        "ImageCandidates",
        "MaskPrediction",
        "Masks",
        "Memory",
        "MemorySelection",
    ),
    "prompts": ("Prompt",),
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("masklet")
    elif module := next((module for module, names in _MODULES.items() if name in names), None):
        value = getattr(importlib.import_module(f"masklet.{module}"), name)
    elif not name.startswith("_") and importlib.util.find_spec(f"masklet.{name}"):
        return importlib.import_module(f"masklet.{name}")  # a subpackage, such as masklet.media
    else:
        raise AttributeError(f"module 'masklet' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _let_waiting_threads_sleep() -> None:
    """Let torch's threads sleep after a short spin, unless the user has set how they wait.

    OpenMP threads spin for milliseconds, which takes CPU time from other processes.
    OpenMP reads this when torch is first imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


_let_waiting_threads_sleep()
