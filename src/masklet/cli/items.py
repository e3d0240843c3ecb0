"""The inputs of a command: files, folders, globs, URLs and lists; their names, shards and reading."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import typer

from masklet.errors import MediaError

if TYPE_CHECKING:
    from masklet.media import Frames, PixelSize
    from masklet.media.readers.microscopy import Channel
    from masklet.sessions.saved import SavedSession


class Kind(StrEnum):
    """How an input is read."""

    image = "picture"  # the choice `--as picture`
    video = "video"


@dataclass(frozen=True)
class Item:
    """One input of a command.

    Attributes:
        source: Its path, glob or URL.
        name: Its folder below OUT; empty for a single input, whose results are in OUT itself.
        kind: How it is read.
    """

    source: str
    name: str
    kind: Kind

    @property
    def title(self) -> str:
        return self.name or self.source

    def files(self) -> list[Path]:
        """Its files: one, or the images of a folder or glob; none for a URL."""
        from masklet.media import find_images

        if is_url(self.source):
            return []
        path = Path(self.source)
        return [path] if path.is_file() else find_images(path)


def find_items(sources: Sequence[str], kind: Kind | None, *, names_from: Path | None = None) -> list[Item]:
    """The items that sources refer to.

    A folder or glob of videos is many items. A folder or glob of images is many items, or one video if the
    images are its frames.

    Args:
        sources: Paths, globs and URLs.
        kind: Whether images are single items or a video's frames. None decides for each folder: images of
            one size are frames.
        names_from: A text file with more sources, one per line.
    """
    if names_from is not None:
        sources = [*sources, *_read_list(names_from)]
    if not sources:
        raise typer.BadParameter("at least one input is needed: a file, folder, glob or URL, or --list FILE.")
    expanded: list[tuple[str, Kind]] = []
    for source in sources:
        expanded += _expand(source, kind)
    is_single = len(sources) == 1 and [source for source, _ in expanded] == list(sources)
    names = [""] if is_single else unique_names([source for source, _ in expanded])
    items = [Item(source, name, kind) for (source, kind), name in zip(expanded, names, strict=True)]
    return list({item.source: item for item in items}.values())


def take_shard(items: list[Item], shard: str | None) -> list[Item]:
    """Every n-th item from the i-th, in the order of their sources.

    Args:
        items: All items, in any order, since machines may list a folder in different orders.
        shard: "i/n", with i from 1 to n.
    """
    if shard is None:
        return items
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise typer.BadParameter(
            f"expected i/n with i from 1 to n, such as 2/8. Got '{shard}'.", param_hint="--shard"
        )
    return sorted(items, key=lambda item: item.source)[number - 1 :: count]


def is_url(source: str) -> bool:
    return "://" in source


def unique_names(sources: Sequence[str]) -> list[str]:
    """A folder name for each source: its path below the common folder, if possible without suffix.

    >>> unique_names(["x/a/1.png", "x/b/1.png"]), unique_names(["1.png", "1.jpg", "2.png"])
    (['a/1', 'b/1'], ['1.png', '1.jpg', '2'])
    """
    paths = _relative_paths(list(dict.fromkeys(sources)))
    short = {source: path.with_suffix("") for source, path in paths.items()}
    counts = Counter(_same(str(path)) for path in short.values())
    parents = {_same(str(parent)) for path in short.values() for parent in path.parents}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for source, path in paths.items():
        key = _same(str(short[source]))
        name = str(short[source]) if counts[key] == 1 and key not in parents else str(path)
        while _same(name) in taken or _same(name) in parents:
            name += "_"
        taken.add(_same(name))
        names[source] = name
    return [names[source] for source in sources]


def _same(name: str) -> str:
    """Equal for names that are the same file on some disks: with other letter case, or decomposed accents."""
    return unicodedata.normalize("NFC", name).casefold()


def _relative_paths(sources: list[str]) -> dict[str, PurePosixPath]:
    """Each source's path below the common folder; for a URL, its last part."""
    files = [source for source in sources if not is_url(source)]
    root = os.path.commonpath([Path(file).absolute().parent for file in files]) if files else ""
    paths = {}
    for source in sources:
        if is_url(source):
            last = source.split("?")[0].rstrip("/").rpartition("/")[2] or "stream"
            paths[source] = PurePosixPath(re.sub(r"[^\w.-]+", "_", last))
        else:
            parts = Path(source).absolute().relative_to(root).parts
            paths[source] = PurePosixPath(*(re.sub(r"[*?\[\]]+", "_", part) for part in parts))
    return paths


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"{path} cannot be read as a list of inputs, one per line: {error}.") from None
    named = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [os.path.expanduser(line) if line.startswith("~/") else line for line in named]


def _expand(source: str, kind: Kind | None) -> list[tuple[str, Kind]]:
    """The inputs that one source stands for, with their kinds."""
    from masklet.media import is_still

    _check_source(source)
    path = Path(source)
    if is_url(source) or (path.exists() and not path.is_dir()):
        is_image = kind is Kind.image or (kind is None and is_still(source))
        return [(source, Kind.image if is_image else Kind.video)]
    images, videos = _sort_files(path, source)
    if videos and images:
        raise _mixed_error(path, source, videos[0], images[0])
    if videos and kind is not Kind.image:
        return [(str(file), Kind.video) for file in videos]
    if not images:
        raise _nothing_error(path, source)
    if kind is Kind.image or (kind is None and not _have_one_size(images)):
        return [(str(file), Kind.image) for file in images]
    return [(source, Kind.video)]


def _check_source(source: str) -> None:
    """Refuse a source that is empty, is not there, or cannot be opened."""
    if not source:  # probably an empty shell variable, not the current folder
        raise typer.BadParameter("an input is empty: pass a file, folder, glob or URL.")
    if is_url(source):
        return
    try:
        Path(source).stat()
    except FileNotFoundError:
        if not glob.has_magic(source):
            raise MediaError(f"there is no file {source}.") from None
    except (OSError, ValueError) as error:  # a name that is too long, a folder that may not be entered
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{source[:80]} cannot be opened: {str(reason).lower()}.") from None


def _mixed_error(path: Path, source: str, *files: Path) -> MediaError:
    names = [f"{source}/*{file.suffix}" if path.is_dir() else str(file) for file in files]
    return MediaError(
        f"{source} contains images and videos: select one kind, such as {names[0]} or {names[1]}."
    )


def _nothing_error(path: Path, source: str) -> MediaError:
    below = sorted(folder.name for folder in path.iterdir() if folder.is_dir()) if path.is_dir() else []
    inside = f" Its subfolders are not searched: pass them, such as {source}/{below[0]}." if below else ""
    return MediaError(f"{source} contains no images or videos that can be read.{inside}")


def _sort_files(path: Path, source: str) -> tuple[list[Path], list[Path]]:
    """The images and videos of a folder or glob, in natural order."""
    from masklet.media import find_images, is_image
    from masklet.media.readers.images import natural_key
    from masklet.media.readers.videos import is_video

    files = path.iterdir() if path.is_dir() else map(Path, glob.glob(source, recursive=True))
    visible = [file for file in files if file.is_file() and not file.name.startswith(".")]
    images = find_images(path) if any(map(is_image, visible)) else []
    videos = set(filter(is_video, visible)) - set(images)
    return images, sorted(videos, key=natural_key)


def _have_one_size(images: list[Path]) -> bool:
    """Whether the images can be a video's frames, by their sizes after rotation."""
    import PIL.Image

    sizes = set()
    for path in images:
        try:
            with PIL.Image.open(path) as image:
                is_turned = image.getexif().get(0x0112, 1) >= 5  # a quarter turn
                sizes.add(image.size[::-1] if is_turned else image.size)
        except (OSError, ValueError, SyntaxError):
            continue  # reading it reports the error
        if len(sizes) > 1:
            return False
    return True


@dataclass(frozen=True)
class SourceOptions:
    """How the sources of a command are read; see `masklet.media.open_frames`."""

    channel: Channel | None
    intensity_range: tuple[float, float] | None
    pixel_size: PixelSize | None
    max_pixels: int | None
    fps: float | None = None

    @classmethod
    def parse(
        cls,
        channels: Sequence[str] | None,
        intensity_range: str | None,
        pixel_size: str | None,
        max_pixels: int | None,
        fps: float | None = None,
        *,
        formats: Iterable[str],
    ) -> SourceOptions:
        """The options as they were typed.

        Args:
            channels: NAME or NAME=COLOUR, each.
            intensity_range: LOW,HIGH
            pixel_size: Such as 0.65um.
            max_pixels: See `open_frames`.
            fps: See `open_frames`.
            formats: The output formats; a pixel size is refused where none of them says it.
        """
        from masklet.media.readers.microscopy import parse_channels

        return cls(
            parse_channels(channels or ()),
            _parse_intensity_range(intensity_range),
            _parse_pixel_size(pixel_size, formats),
            max_pixels,
            fps,
        )

    def open(self, source: str, saved: SavedSession | None = None) -> Frames:
        """Open a source; as the saved session reads it, if there is one."""
        from masklet.media import open_frames

        opener = open_frames if saved is None else saved.open  # with its channel and range
        frames = opener(
            source,
            fps=self.fps,
            channel=self.channel,
            intensity_range=self.intensity_range,
            max_pixels=self.max_pixels,
        )
        return open_frames(frames, pixel_size=self.pixel_size)

    @property
    def settings(self) -> dict[str, object]:
        """The settings for `run.json`; channels and sizes only if given."""
        settings: dict[str, object] = {"intensity_range": self.intensity_range}
        settings |= {} if self.channel is None else {"channel": self.channel}
        return settings | ({} if self.pixel_size is None else {"pixel_size": asdict(self.pixel_size)})


def _parse_intensity_range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"expected two numbers, LOW,HIGH. Got '{text}'.", param_hint="--intensity-range"
        ) from None
    return low, high


def _parse_pixel_size(text: str | None, formats: Iterable[str]) -> PixelSize | None:
    if text is None:
        return None
    from masklet.media import FORMATS, PixelSize, find_format

    if not any(find_format(name).has_pixel_size for name in formats):
        supporting = [name for name, format in FORMATS.items() if format.has_pixel_size]
        raise typer.BadParameter(
            f"none of the formats records it. Add --format {' or --format '.join(supporting)}.",
            param_hint="--pixel-size",
        )
    return PixelSize.parse(text)
