"""Reads and writes of a job on local disks and object stores. Published results are complete or absent."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from masklet.errors import MaskletError, MissingExtra

UNFINISHED = "unfinished"  # a folder for incomplete files, on the same disk as the results
REQUESTS = 32  # parallel uploads to an object store
TIMES = ("Last-Modified", "Content-MD5", "Digest", "LastModified", "modify", "updated", "created")
EDGE = 2**16  # bytes at either end of a file


class StoreError(MaskletError):
    """Results cannot be written or read. The input is not the cause, and a later run tries again."""


def open_filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path within it.

    s3:// and gs:// need s3fs or gcsfs; without them pyarrow's own client is used.
    """
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise MissingExtra("jobs", "fsspec") from error
    if "://" not in url:
        return fsspec.filesystem("file"), str(Path(url).absolute())
    scheme, _, path = url.partition("://")
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        if scheme not in ("s3", "gs"):
            raise StoreError(f"{url} cannot be opened: {error}") from error
    except ValueError as error:
        raise StoreError(f"{url} cannot be opened: {error}.") from error
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import fs as arrow

    if scheme == "gs":
        return ArrowFSWrapper(arrow.GcsFileSystem()), path
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return ArrowFSWrapper(arrow.S3FileSystem(endpoint_override=endpoint)), path


def is_glob(url: str) -> bool:
    """Whether a path or URL that does not exist is a glob. In an http URL, `?` starts the query."""
    return not url.startswith(("http://", "https://")) and any(mark in url for mark in "*?[")


def is_local(url: str) -> bool:
    return "://" not in url or url.startswith("file://")


def local_path(url: str) -> Path:
    return Path(url.removeprefix("file://"))


class Store:
    """The folder of a job's results.

    Args:
        url: A path, or a URL that fsspec opens.

    Example:
        >>> store = Store(tempfile.mkdtemp())
        >>> with store.writing("notes/one.txt") as part:
        ...     _ = part.write_text("all of it")
        >>> store.names("notes"), store.names(UNFINISHED)
        (['one.txt'], [])
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, self._root = open_filesystem(self.url)
        self._is_local = is_local(self.url)

    def path(self, name: str) -> str:
        """The path of a result within the file system."""
        return f"{self._root}/{name}"

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a local path to write a file or folder to. It is published if the block succeeds.

        A file is published by one rename or one upload. A folder in an object store is published file by
        file, so a record must be written after it.
        """
        suffix = f"{secrets.token_hex(4)}-{Path(name).name}"
        if self._is_local:
            part = Path(self.path(UNFINISHED), suffix)
        else:
            part = Path(tempfile.mkdtemp(prefix="masklet-"), suffix)
        try:
            with store_errors(self.url):
                part.parent.mkdir(parents=True, exist_ok=True)
            yield part
            with store_errors(self.url):
                self._publish(part, name)
        finally:
            if self._is_local:
                _remove_local(part)
            else:
                shutil.rmtree(part.parent, ignore_errors=True)

    def write_json(self, name: str, content: Any) -> None:
        with self.writing(name) as part, store_errors(self.url):
            part.write_text(json.dumps(content) + "\n", encoding="utf-8")

    def read_json(self, name: str) -> Any:
        """The content of a JSON file; None if there is none."""
        try:
            with store_errors(self.url):
                return json.loads(self._fs.cat_file(self.path(name)))
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        except ValueError as error:
            raise StoreError(f"{self.url}/{name} is not a file that masklet wrote: {error}.") from error

    def read_folder(self, folder: str) -> dict[str, Any]:
        """The content of every JSON file of a folder, by name without suffix."""
        names = [name for name in self.names(folder) if name.endswith(".json")]
        with ThreadPoolExecutor(REQUESTS) as pool:
            contents = pool.map(lambda name: self.read_json(f"{folder}/{name}"), names)
            return {
                name.removesuffix(".json"): content
                for name, content in zip(names, contents, strict=True)
                if content is not None
            }

    def names(self, folder: str) -> list[str]:
        """The names in a folder."""
        with store_errors(self.url):
            self._fs.invalidate_cache()
            try:
                entries = self._fs.ls(self.path(folder).rstrip("/"), detail=False)
            except FileNotFoundError:
                return []
        return sorted(name for entry in entries if (name := entry.rstrip("/").rpartition("/")[2]) != folder)

    def exists(self, name: str) -> bool:
        with store_errors(self.url):
            return bool(self._fs.exists(self.path(name)))

    def remove(self, name: str) -> None:
        """Remove a file or folder, if it is there."""
        with store_errors(self.url):
            if self._fs.exists(self.path(name)):
                self._fs.rm(self.path(name), recursive=True)

    def remove_unfinished(self) -> None:
        """Remove the folder for incomplete files, if it is empty. Nobody else may be writing."""
        if self._is_local:
            with suppress(OSError):
                Path(self.path(UNFINISHED)).rmdir()

    def open(self, name: str) -> Any:
        """Open a file for reading."""
        with store_errors(self.url):
            return self._fs.open(self.path(name), "rb")

    def _publish(self, part: Path, name: str) -> None:
        path = self.path(name)
        if self._is_local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            if part.is_dir():
                _remove_local(Path(path))  # an attempt that was killed before its record was written
            os.replace(part, path)
            return
        files = sorted(file for file in part.rglob("*") if file.is_file()) if part.is_dir() else [part]
        for file in files:
            target = path if file == part else f"{path}/{file.relative_to(part).as_posix()}"
            self._fs.put_file(str(file), target)


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Raise errors of the file system as one sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).strip().rstrip(".")
        reason = reason[:1].lower() + reason[1:]
        raise StoreError(f"{url} cannot be used: {reason}.") from error


def _remove_local(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def source_stamp(source: str) -> str:
    """A stamp that shows whether a source has changed: the store's tag, or the size and time.

    If a server gives neither, a hash of the first and last bytes is used. For a folder or glob, it is that of
    its files.

    Raises:
        StoreError: The source does not exist, or its store cannot be reached.
    """
    fs, path = open_filesystem(source)
    with store_errors(source):
        is_there = fs.exists(path)
        if is_there and fs.isdir(path):
            paths = sorted(fs.find(path))
        else:
            paths = sorted(fs.glob(path)) if is_glob(source) and not is_there else [path]
        stamps = [_file_stamp(fs, name) for name in paths]
    if not stamps:
        raise StoreError(f"there is no {source}.")
    return ";".join(stamps)


def _file_stamp(fs: Any, path: str) -> str:
    info = fs.info(path)
    if tag := info.get("ETag") or info.get("etag"):
        return str(tag)
    if info.get("mtime") is not None:
        return str((info.get("size"), str(info["mtime"])))
    times = [str(info[name]) for name in TIMES if info.get(name) is not None]
    return str((info.get("size"), *(times or [_edges_digest(fs, path, info.get("size"))])))


def _edges_digest(fs: Any, path: str, size: int | None) -> str:
    """A hash of a file's first and last bytes, or only the first if a server sends no ranges."""
    try:
        with fs.open(path, "rb", block_size=EDGE) as file:
            edges = file.read(EDGE)
            if size is not None and size > EDGE:
                file.seek(max(EDGE, size - EDGE))
                edges += file.read(EDGE)
    except ValueError:
        with fs.open(path, "rb", block_size=0) as file:
            edges = file.read(EDGE)
    return hashlib.sha256(edges).hexdigest()[:32]


@contextmanager
def local_copy(source: str) -> Iterator[str]:
    """A local path of a source: its own, or that of a temporary copy."""
    if is_local(source):
        yield str(local_path(source))
        return
    fs, path = open_filesystem(source)
    with tempfile.TemporaryDirectory(prefix="masklet-") as folder:
        copy = Path(folder, path.rstrip("/").rpartition("/")[2].split("?")[0] or "source")
        with store_errors(source):
            if fs.isdir(path):
                raise StoreError(
                    f"{source} is a folder. A video in an object store must be one file: use files, or a "
                    "glob such as s3://bucket/*.mp4."
                )
            fs.get_file(path, str(copy))
        yield str(copy)
