"""Annotation files of other tools: COCO, YouTube-VIS, CVAT, Label Studio, YOLO; alone or in a zip file.

Reading is tolerant: what is clear is read, and every other entry is named with the reason. A file may name
pictures by paths that exist nowhere here. Which picture an annotation belongs to is for the caller to decide.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from masklet.errors import MediaError
from masklet.files import parse_json
from masklet.media.annotations.coco import read_coco, read_youtube_vis
from masklet.media.annotations.cvat import read_cvat
from masklet.media.annotations.label_studio import is_label_studio, read_label_studio
from masklet.media.annotations.types import AnnotationFile
from masklet.media.annotations.yolo import read_yolo

MAX_BYTES = 256 * 2**20  # of a file, and of all files in a zip together
MAX_MEMBERS = 200_000
KINDS = "COCO or Label Studio (.json), CVAT (.xml), YOLO (.txt), or a .zip with such files"


def read_annotations(path: Path, name: str | None = None) -> list[AnnotationFile]:
    """Read an annotation file, or those in a zip file.

    Args:
        path: The file.
        name: What people call it; by default its own name. Its suffix says how it is read.

    Raises:
        MediaError: It is none that can be read.
    """
    name = path.name if name is None else PurePosixPath(name.replace("\\", "/")).name
    if path.stat().st_size > MAX_BYTES:
        raise MediaError(f"{name} is larger than {MAX_BYTES >> 20} MiB. Split it first.")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".zip" or zipfile.is_zipfile(path):
        return _read_zip(path, name)
    content = path.read_bytes()
    if suffix == ".txt":
        return [read_yolo({name: content}, name)]
    return [_read_one(content, name)]


def _read_one(content: bytes, name: str) -> AnnotationFile:
    """JSON or XML, by its first letter."""
    start = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        return read_cvat(content, name)
    if start in (b"{", b"["):
        return _read_json(content, name)
    raise MediaError(f"{name} is no annotation file that can be read. Use {KINDS}.")


def _read_json(content: bytes, name: str) -> AnnotationFile:
    try:
        parsed = parse_json(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise MediaError(
            f"{name} cannot be read as JSON: {error}. Is it complete? Export or copy it again."
        ) from None
    if is_label_studio(parsed):
        return read_label_studio(parsed, name)
    if isinstance(parsed, dict) and isinstance(parsed.get("annotations"), list):
        if isinstance(parsed.get("images"), list):
            return read_coco(parsed, name)
        if isinstance(parsed.get("videos"), list):
            return read_youtube_vis(parsed, name)
    raise MediaError(f"{name} is neither COCO nor Label Studio's JSON. Use {KINDS}.")


def _read_zip(path: Path, name: str) -> list[AnnotationFile]:
    files: list[AnnotationFile] = []
    texts: dict[str, bytes] = {}
    for member, content in _zip_members(path, name):
        suffix = PurePosixPath(member).suffix.lower()
        if suffix in (".txt", ".names", ".yaml", ".yml"):
            texts[member] = content
            continue
        try:
            files.append(_read_one(content, member))
        except MediaError as error:
            damaged = AnnotationFile(member, "")
            damaged.skip("the file", error)
            files.append(damaged)
    if any(member.lower().endswith(".txt") for member in texts):
        files.append(read_yolo(texts, name))
    if not any(file.annotations or file.skipped for file in files):
        raise MediaError(f"{name} holds no annotation file that can be read. Use {KINDS}.")
    return files


def _zip_members(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """The files of a zip that may be annotations."""
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) > MAX_MEMBERS:
                raise MediaError(f"{name} holds {len(members)} files; up to {MAX_MEMBERS} are read.")
            for info in members:
                inner = PurePosixPath(info.filename)
                if inner.suffix.lower() not in (".json", ".xml", ".txt", ".names", ".yaml", ".yml"):
                    continue
                if inner.parts[0] == "__MACOSX" or inner.name.startswith("."):
                    continue
                with archive.open(info) as opened:
                    content = opened.read(left + 1)
                left -= len(content)
                if left < 0:
                    raise MediaError(f"{name} unpacks to more than {MAX_BYTES >> 20} MiB. Split it first.")
                yield info.filename, content
    except MediaError:
        raise
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError) as error:
        raise MediaError(f"{name} cannot be unpacked: {error}.") from None
