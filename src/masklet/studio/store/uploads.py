"""Adds videos: received over the network into a spool folder, or chosen from the folder."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any, BinaryIO, TypeVar

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from sqlalchemy import func, select
from starlette.requests import Request

from masklet.media import is_image
from masklet.studio.errors import ApiError, limit_exceeded, not_found
from masklet.studio.inference.decoder import DecoderProcess
from masklet.studio.schemas import clean_name
from masklet.studio.settings import MIB, Limits, Settings
from masklet.studio.store.database import Database, new_id
from masklet.studio.store.storage import VIDEO_SUFFIXES, MediaPaths, Quota
from masklet.studio.store.tables import Project, Video

Value = TypeVar("Value")

MAX_FIELD_BYTES = 8 * MIB  # maximum size of a form's fields and part headers, without files
WRITE_BYTES = MIB  # handed to the disk at once
QUOTA_BYTES = 64 * MIB  # received between two looks at the quota


class Form:
    """A multipart form: one file, written to a folder as it arrives, and short fields.

    Args:
        field: The name of the file's field.
    """

    def __init__(self, folder: Path, field: str) -> None:
        self.file_name = ""
        self.path: Path | None = None
        self.complete = False
        self.fields: dict[str, bytes] = {}
        self._folder = folder
        self._field = field
        self._file: BinaryIO | None = None
        self._headers: dict[bytes, bytes] = {}
        self._header = self._value = b""
        self._name = ""
        self._other_bytes = 0

    @property
    def file(self) -> Path:
        if self.path is None:
            raise ApiError(422, "invalid", f"{self._field}: a file is needed as a part of a multipart form.")
        return self.path

    def parser(self, boundary: bytes) -> MultipartParser:
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        return MultipartParser(boundary, callbacks)  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the file, and remove it unless it was moved away."""
        self._end_part()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _begin_part(self) -> None:
        self._headers, self._header, self._value, self._name = {}, b"", b"", ""

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        file_name = options.get(b"filename")
        if self._name == self._field and file_name is not None and self.path is None:
            self.file_name = file_name.decode("utf-8", "replace").replace(
                "%22", '"'
            )  # browsers encode it this way
            self.path = self._folder / f"{new_id()}{_suffix(self.file_name)}"
            self._file = self.path.open("xb")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        else:
            self._count(end - start)
            self.fields[self._name] = self.fields.get(self._name, b"") + data[start:end]

    def _end_part(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        self.complete = True

    def _count(self, size: int) -> None:
        self._other_bytes += size
        if self._other_bytes > MAX_FIELD_BYTES:
            raise limit_exceeded("the form's fields are too large.")


@asynccontextmanager
async def receive_form(request: Request, field: str, folder: Path, quota: Quota) -> AsyncIterator[Form]:
    """Read a form with a file, under the quota. The file is removed afterwards unless it was moved away.

    Args:
        request: A request with a multipart form.
        field: The name of the file's field.
        folder: Takes the file.
        quota: Checked while the file arrives.

    Yields:
        The form.

    Raises:
        ApiError: The form is damaged or too large, or the quota is used up.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ApiError(422, "invalid", f"{field}: a multipart form with a file is needed.")
    form = Form(folder, field)
    parser = form.parser(options[b"boundary"])
    pending, unchecked = bytearray(), 0
    try:
        async for chunk in request.stream():
            pending += chunk
            if len(pending) >= WRITE_BYTES:
                await anyio.to_thread.run_sync(parser.write, bytes(pending))
                unchecked += len(pending)
                pending.clear()
            if unchecked > QUOTA_BYTES:
                await anyio.to_thread.run_sync(quota.check)
                unchecked = 0
        await anyio.to_thread.run_sync(parser.write, bytes(pending))
        if not form.complete:
            raise ApiError(422, "invalid", f"{field}: the form is incomplete.")
        yield form
    except FormParserError as error:
        raise ApiError(422, "invalid", f"the multipart form is damaged: {error}.") from error
    finally:
        form.close()


def file_form(**fields: str) -> dict[str, Any]:
    """A form's description for OpenAPI, which FastAPI cannot derive from `receive_form`.

    Args:
        fields: "file" or "text", by the name of the part; with a trailing "?" if it may be left out.
    """
    kinds = {"file": {"type": "string", "format": "binary"}, "text": {"type": "string"}}
    properties = {name: kinds[kind.rstrip("?")] for name, kind in fields.items()}
    required = [name for name, kind in fields.items() if not kind.endswith("?")]
    schema = {"type": "object", "properties": properties, "required": required}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


class Uploads:
    """Adds videos to projects. Each file is tested in a separate process."""

    def __init__(self, database: Database, paths: MediaPaths, quota: Quota, settings: Settings) -> None:
        self._database = database
        self._quota = quota
        self._paths = paths
        self._limits = settings.limits
        self._slots = BoundedSemaphore(self._limits.uploads)
        self._adding = Lock()
        for left in settings.spool.iterdir():  # left by a killed server
            with suppress(OSError):
                left.unlink()

    def check_room(self, project: str) -> None:
        """Raise before a video is read if it cannot be added.

        Raises:
            ApiError: There is no such project, or no room for another video.
        """
        with self._database.begin() as session:
            if session.get(Project, project) is None:
                raise not_found(f"there is no project {project[:100]}.")
            videos = session.scalar(select(func.count()).select_from(Video)) or 0
        if videos >= self._limits.videos:
            raise limit_exceeded(f"there can be at most {self._limits.videos} videos. Delete one first.")
        self._quota.check()

    def add_upload(self, project: str, name: str, file: Path) -> str:
        """Move a file that was received to the uploads, if it can be read.

        Args:
            project: Its id.
            name: The file's name on the sender's machine.
            file: The received file.

        Returns:
            The video's id.

        Raises:
            ApiError: It is no video or image by its name, or too many files are being read.
            MediaError: It cannot be read.
        """
        suffix = file.suffix
        if not (suffix in VIDEO_SUFFIXES or is_image(file)):
            raise ApiError(400, "media", f"{clean_name(name)} does not have the suffix of a video or image.")
        if not self._slots.acquire(blocking=False):
            raise ApiError(
                429, "queue", f"{self._limits.uploads} files are being read. Try again shortly.", retry=5
            )
        id = new_id()
        target = self._paths.uploads / f"{id}{suffix}"
        try:
            info = read_once(file, _short(name), self._limits, DecoderProcess.describe)
            self._add(project, id, name, f"upload:{target.name}", file, info, move_to=target)
        finally:
            self._slots.release()
        return id

    def add_from_folder(self, project: str, path: str) -> str:
        """Open a file or a folder of images in the server's folder.

        A file that is open in the project already is not opened again.

        Args:
            project: Its id.
            path: Relative to the folder.

        Returns:
            The video's id.

        Raises:
            ApiError: The path is refused, or there is no space.
            MediaError: The file cannot be read.
        """
        real = self._paths.resolve_in_folder(path)
        place = f"folder:{self._paths.relative(real)}"
        opened = self._find(project, {place, f"folder:{path}"})
        if opened is not None:
            return opened
        self.check_room(project)
        info = read_once(real, real.name, self._limits, DecoderProcess.describe)
        with self._adding:  # two requests may add the same file
            opened = self._find(project, {place})
            if opened is None:
                opened = new_id()
                self._add(project, opened, real.name, place, real, info)
        return opened

    def _find(self, project: str, places: set[str]) -> str | None:
        with self._database.begin() as session:
            wanted = select(Video.id).where(Video.project == project, Video.place.in_(places))
            return session.scalar(wanted.limit(1))

    def _add(
        self,
        project: str,
        id: str,
        name: str,
        place: str,
        file: Path,
        info: dict[str, Any],
        move_to: Path | None = None,
    ) -> None:
        kind = "pictures" if file.is_dir() else "picture" if is_image(file) else "video"
        size = {key: info[key] for key in ("width", "height", "frames", "fps")}
        try:
            with self._database.begin() as session:
                video = Video(id=id, project=project, name=_short(name), place=place, kind=kind, **size)
                session.add(video)
                session.flush()  # fails if the project was just deleted
                if move_to is not None:
                    file.rename(move_to)
        except BaseException:
            if move_to is not None:
                move_to.unlink(missing_ok=True)
            raise


def read_once(path: Path, name: str, limits: Limits, read: Callable[[DecoderProcess], Value]) -> Value:
    """One answer of a decoder that is started for it alone.

    Args:
        path: The file.
        name: The file's name for users.
        limits: Of the decoder.
        read: Asks the decoder.
    """
    decoder = DecoderProcess(lambda: path, limits, name=name)
    try:
        return read(decoder)
    finally:
        decoder.close()


def _suffix(name: str) -> str:
    """The suffix under which a file is kept: letters and digits only."""
    suffix = Path(name.replace("\\", "/").rpartition("/")[2]).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,10}", suffix) else ""


def _short(name: str) -> str:
    """A file's displayed name, with its suffix."""
    last = name.replace("\\", "/").rpartition("/")[2]
    stem, suffix = Path(last).stem[:200], Path(last).suffix[:10]
    return clean_name(stem + suffix, 220)
