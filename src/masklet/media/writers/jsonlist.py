"""JSON that is valid after every frame: neither Ctrl-C, a crash nor a full disk costs what is written."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from masklet.errors import MediaError
from masklet.files import StrPath, atomic_write, make_folder, write_errors

_END = b"\n]}\n"


class JsonList:
    """A file `{..., "frames": [{"frame": 0, "objects": [{"id": 1, ...}]}, ...]}`, one line a frame.

    It is whole at all times: the next line and a new end are written over the old end. Memory does not grow.

    head : what stands before the frames
    """

    def __init__(self, path: StrPath, head: Mapping[str, Any]) -> None:
        self._path = Path(path)
        self._start = json.dumps({**head, "frames": []}).removesuffix("]}").encode()
        self._last = -1
        self._in_order = True
        make_folder(self._path.parent)
        with write_errors(path):
            self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 - open until `close`
        self._end = 0
        self._put(self._start)

    def write(self, frame: int, record: Mapping[str, Any]) -> None:
        """Add a frame.

        record : with "objects", a list of dicts that each have an "id"
        """
        separator = b"\n" if self._end == len(self._start) else b",\n"
        self._put(separator + json.dumps({"frame": frame, **record}).encode())
        self._in_order = self._in_order and frame > self._last
        self._last = frame

    def close(self) -> None:
        """Put the frames in order, and the objects of a frame that was written twice together."""
        self._file.close()
        if self._in_order:
            return
        with atomic_write(self._path) as part, open(self._path, "rb") as old, open(part, "wb") as new:
            new.write(self._start)
            for count, record in enumerate(_in_order(old)):
                new.write((b",\n" if count else b"\n") + json.dumps(record).encode())
            new.write(_END)
        self._in_order = True

    def _put(self, text: bytes) -> None:
        try:
            self._file.seek(self._end)
            rest = memoryview(text + _END)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            self._file.write(_END)
            raise MediaError(
                f"{self._path} cannot be written: {error.strerror}. What it has is kept."
            ) from error
        self._end += len(text)


def read_list(path: StrPath) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """What stands before the frames; and the frames, read one at a time, as they stand in the file."""
    try:
        with open(path, "rb") as file:
            head = file.readline().rstrip()
            if head.endswith(b'"frames": ['):
                return json.loads(head + b"]}"), _read_lines(path)
            file.seek(0)
            content = json.load(file)  # laid out anew by somebody
            return content, iter(content["frames"])
    except FileNotFoundError:
        raise MediaError(f"there is no file {path}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MediaError(f"{path} is not a list of frames as masklet writes it: {error}.") from error


def _read_lines(path: StrPath) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as file:
        for _, line in _lines(file):
            yield _parsed(line)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The line of each frame, and where it begins."""
    place = 0
    for line in file:
        if line.startswith(b'{"frame": '):
            yield place, line
        place += len(line)


def _parsed(line: bytes) -> dict[str, Any]:
    return json.loads(line.rstrip(b",\n"))


def _in_order(file: BinaryIO) -> Iterator[dict[str, Any]]:
    places = defaultdict(list)
    for place, line in _lines(file):
        places[_parsed(line)["frame"]].append(place)
    for frame in sorted(places):
        record: dict[str, Any] = {}
        objects: dict[int, Any] = {}
        for place in places[frame]:
            file.seek(place)
            record = _parsed(file.readline())
            objects |= {each["id"]: each for each in record["objects"]}
        yield {**record, "objects": list(objects.values())}
