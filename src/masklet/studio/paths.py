"""Where files may lie: the folder that the studio serves, and its own data. Nothing else can be named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from masklet.media.readers.pictures import is_picture
from masklet.studio.errors import Refusal, missing

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "3gp asf avi flv gif h264 hevc ivf m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv y4m".split()  # noqa: SIM905
    )
)


@dataclass(frozen=True)
class Entry:
    name: str
    path: str
    kind: str
    bytes: int


@dataclass(frozen=True)
class Places:
    """Turns what people name into paths.

    folder : None where there is none to choose from
    uploads : files that came over the network, under names made here
    """

    folder: Path | None
    uploads: Path

    def path(self, place: str) -> Path:
        """The file of a video: "upload:NAME" or "folder:PATH", as the database has it."""
        kind, _, name = place.partition(":")
        path = self.uploads / Path(name).name if kind == "upload" else self.inside(name)
        if not path.exists():
            raise missing(f"{path.name} is not where it was. Put it back, or delete the video here.")
        return path

    def inside(self, path: str) -> Path:
        """A path in the folder; whatever leads outside of it, also by links, is refused."""
        if self.folder is None:
            raise Refusal(403, "forbidden", "the studio was started without a folder to choose from.")
        root = Path(os.path.realpath(self.folder))
        if "\0" in path or "\\" in path or Path(path).is_absolute():
            raise Refusal(403, "forbidden", "a path must be relative, with / between its parts.")
        try:
            real = Path(os.path.realpath(root / path))
        except (OSError, ValueError):
            raise Refusal(403, "forbidden", "that is not a path.") from None
        if not real.is_relative_to(root):
            raise Refusal(403, "forbidden", f"{path} is outside of the folder.")
        if any(part.startswith(".") for part in real.relative_to(root).parts):
            raise Refusal(403, "forbidden", "hidden files are not shown.")
        if not _exists(real):
            raise missing(f"there is no {path[:200]} in the folder.")
        return real

    def entries(self, path: str) -> list[Entry]:
        """What can be chosen in a folder, folders first."""
        place = self.inside(path)
        if not place.is_dir():
            raise missing(f"{path} is not a folder.")
        root = Path(os.path.realpath(self.folder or place))
        found = []
        for each in place.iterdir():
            if each.name.startswith(".") or not Path(os.path.realpath(each)).is_relative_to(root):
                continue
            kind = _kind(each)
            if kind is not None:
                size = 0 if each.is_dir() else each.stat().st_size
                found.append(Entry(each.name, str(each.relative_to(root)), kind, size))
        return sorted(found, key=lambda each: (each.kind != "folder", each.name.lower()))


def _exists(path: Path) -> bool:
    """Whether there is something; a name too long for the disk names nothing."""
    try:
        return path.exists()
    except OSError:
        return False


def _kind(path: Path) -> str | None:
    if path.is_dir():
        return "pictures" if any(is_picture(each) for each in path.iterdir()) else "folder"
    if is_picture(path):
        return "picture"
    return "video" if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() else None
