"""Annotation files of other tools: COCO, YouTube-VIS, CVAT, Label Studio, YOLO; alone or in a zip file.

Reading is tolerant: valid entries are read, and every other entry is reported with a reason. A file may refer
to images by paths that do not exist on this machine, so the caller decides which image an annotation
belongs to.
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

MAX_BYTES = 256 * 2**20  # maximum size of a file, and of all files in a zip
MAX_MEMBERS = 200_000
KINDS = "COCO or Label Studio (.json), CVAT (.xml), YOLO (.txt), or a .zip of such files"


def read_annotations(path: Path, name: str | None = None) -> list[AnnotationFile]:
    """Read an annotation file, or those in a zip file.

    Args:
        path: The file.
        name: The name shown to users; by default the file's own. Its suffix determines how the file is read.

    Raises:
        MediaError: The file is not an annotation file that can be read.
    """
    name = path.name if name is None else PurePosixPath(name.replace("\\", "/")).name
    if path.stat().st_size > MAX_BYTES:
        raise MediaError(f"{name} is larger than the limit of {MAX_BYTES >> 20} MiB. Split it first.")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".zip" or zipfile.is_zipfile(path):
        return _read_zip(path, name)
    content = path.read_bytes()
    if suffix == ".txt":
        return [read_yolo({name: content}, name)]
    return [_read_one(content, name)]


def _read_one(content: bytes, name: str) -> AnnotationFile:
    """JSON or XML, by its first character."""
    start = content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"<":
        return read_cvat(content, name)
    if start in (b"{", b"["):
        return _read_json(content, name)
    raise MediaError(f"{name} is not an annotation file of a supported kind. Use {KINDS}.")


def _read_json(content: bytes, name: str) -> AnnotationFile:
    try:
        parsed = parse_json(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise MediaError(
            f"{name} is not valid JSON: {error}. It may be incomplete: export or copy it again."
        ) from None
    if is_label_studio(parsed):
        return read_label_studio(parsed, name)
    if isinstance(parsed, dict) and isinstance(parsed.get("annotations"), list):
        if isinstance(parsed.get("images"), list):
            return read_coco(parsed, name)
        if isinstance(parsed.get("videos"), list):
            return read_youtube_vis(parsed, name)
    raise MediaError(f"{name} is JSON, but neither COCO nor Label Studio. Use {KINDS}.")


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
        raise MediaError(f"{name} contains no annotation file of a supported kind. Use {KINDS}.")
    return files


def _zip_members(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    """The files of a zip that may be annotations."""
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            if len(members) > MAX_MEMBERS:
                raise MediaError(
                    f"{name} contains {len(members)} files; the limit is {MAX_MEMBERS}. Split it first."
                )
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
                    raise MediaError(
                        f"{name} is larger than {MAX_BYTES >> 20} MiB when unpacked. Split it first."
                    )
                yield info.filename, content
    except MediaError:
        raise
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError) as error:
        raise MediaError(f"{name} cannot be unpacked: {error}.") from None
