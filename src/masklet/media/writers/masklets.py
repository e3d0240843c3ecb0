"""masklets.json, masklet's own format for a video: every mask with its scores. Writes it and reads it.

`FrameList` keeps the file's JSON valid after every frame, so that nothing is lost after Ctrl-C, a crash or on
a full disk.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from masklet import rle
from masklet.errors import MaskletError, MediaError
from masklet.files import StrPath, atomic_write, make_folder, temporary_path, write_errors
from masklet.media.readers.source import Image, Source
from masklet.media.writers.measures import find_time
from masklet.media.writers.writer import Writer, check_masks, closed_error
from masklet.prompts import check_frame
from masklet.types import Masks

_END = b"\n]}\n"


class MaskletsJson(Writer):
    """For each frame and object: COCO RLE, predicted IoU, object score, box x0, y0, x1, y1. Always valid.

    Args:
        path: The file.
        source: Where the frames come from.

    Raises:
        MediaError: The file cannot be written; frames before a failure are kept.

    Example:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> from masklet.media import open_frames
        >>> frames = open_frames(np.zeros((1, 2, 2, 3), dtype=np.uint8))
        >>> masks = Masks.from_arrays(0, {3: np.eye(2, dtype=bool)}, frames.size)
        >>> with TemporaryDirectory() as folder:
        ...     with MaskletsJson(f"{folder}/masklets.json", frames) as writer:
        ...         writer.write(frames[0], masks)
        ...     [(read.frame, read.ids) for read in read_masklets(f"{folder}/masklets.json")]
        [(0, (3,))]
    """

    def __init__(self, path: StrPath, source: Source) -> None:
        self._source = source
        head = {"version": 1, "source": source.name, "size": list(source.size), "fps": source.fps}
        self._list = FrameList(path, head)

    def write(self, image: Image, masks: Masks) -> None:
        check_masks(masks, self._source)
        rows = zip(
            masks.ids,
            masks.iou.tolist(),
            masks.score.tolist(),
            masks.boxes.tolist(),
            masks.rle(),
            strict=True,
        )
        objects = [
            {"id": id, "iou": round(iou, 4), "score": round(score, 3), "box": box, "rle": code}
            for id, iou, score, box, code in rows
        ]
        seconds = round(find_time(self._source, masks.frame), 6)
        self._list.write(masks.frame, {"time": seconds, "objects": objects})

    def close(self) -> None:
        self._list.close()


def read_masklets(path: StrPath) -> Iterator[Masks]:
    """Read the frames of a masklets.json, in its order, with the masks that were written.

    Args:
        path: A file of `MaskletsJson`.

    Yields:
        The masks of a frame, with their predicted IoU and object score.

    Raises:
        MediaError: There is no such file, or it is not a list of frames.
    """
    head, entries = read_frame_list(path)
    try:
        height, width = head["size"]
        for entry in entries:
            objects = entry["objects"]
            yield Masks.from_arrays(
                check_frame(entry["frame"]),
                {obj["id"]: rle.decode(obj["rle"]) for obj in objects},
                (height, width),
                iou=[float(obj["iou"]) for obj in objects],
                score=[float(obj["score"]) for obj in objects],
            )
    except (MaskletError, ValueError, KeyError, TypeError) as error:
        raise MediaError(f"{path} was not written by masklet or was changed: {error}") from error


class FrameList:
    """A file `{..., "frames": [{"frame": 0, "objects": [{"id": 1, ...}]}, ...]}`, with one line per frame.

    The file is valid at all times: the next line and a new end are written over the old end. Memory does not
    grow. An earlier file of the same name stays until this one is closed.

    Args:
        path: The file.
        head: What precedes the frames.

    Raises:
        MediaError: The file cannot be written.
    """

    def __init__(self, path: StrPath, head: Mapping[str, Any]) -> None:
        self._path = Path(path)
        self._start = json.dumps({**head, "frames": []}).removesuffix("]}").encode()
        self._last = -1
        self._is_in_order = True
        make_folder(self._path.parent)
        with write_errors(path):
            self._part = temporary_path(path) if self._path.exists() else self._path
            self._file = open(self._part, "w+b", buffering=0)  # noqa: SIM115 - open until `close`
        self._end = 0
        self._append(self._start)

    def write(self, frame: int, entry: Mapping[str, Any]) -> None:
        """Add a frame.

        Args:
            frame: Its number.
            entry: Has "objects", a list of dicts that each have an "id".

        Raises:
            MediaError: The file cannot be written; the frames before this one are kept.
        """
        if self._file.closed:
            raise closed_error(self._path)
        separator = b"\n" if self._end == len(self._start) else b",\n"
        self._append(separator + json.dumps({"frame": frame, **entry}).encode())
        self._is_in_order = self._is_in_order and frame > self._last
        self._last = frame

    def close(self) -> None:
        """Put the frames in order, and the objects of a frame that was written twice together."""
        if self._file.closed:
            return
        self._file.close()
        with write_errors(self._path):
            if not self._is_in_order:
                self._sort()
            if self._part != self._path:
                os.replace(self._part, self._path)

    def _sort(self) -> None:
        with atomic_write(self._part) as part, open(self._part, "rb") as old, open(part, "wb") as new:
            new.write(self._start)
            for count, entry in enumerate(_entries_in_order(old)):
                new.write((b",\n" if count else b"\n") + json.dumps(entry).encode())
            new.write(_END)

    def _append(self, text: bytes) -> None:
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
                f"{self._path} cannot be written: {error.strerror}. The frames before this one are kept."
            ) from error
        self._end += len(text)


def read_frame_list(path: StrPath) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Read what precedes the frames; and the frames, one at a time, in the order of the file.

    Args:
        path: A file of `FrameList`.

    Returns:
        The head, and an iterator over the entries of the frames.

    Raises:
        MediaError: There is no such file, or it is not a list of frames.
    """
    try:
        with open(path, "rb") as file:
            head = file.readline().rstrip()
            if head.endswith(b'"frames": ['):
                return json.loads(head + b"]}"), _read_lines(path)
            file.seek(0)
            content = json.load(file)  # another program formatted it
            return content, iter(content["frames"])
    except FileNotFoundError:
        raise MediaError(f"there is no file {path}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MediaError(f"{path} is not a list of frames written by masklet: {error}.") from error


def _read_lines(path: StrPath) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as file:
        for _, line in _frame_lines(file):
            yield _parse(line)


def _frame_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The line of each frame, and its offset."""
    offset = 0
    for line in file:
        if line.startswith(b'{"frame": '):
            yield offset, line
        offset += len(line)


def _parse(line: bytes) -> dict[str, Any]:
    return json.loads(line.rstrip(b",\n"))


def _entries_in_order(file: BinaryIO) -> Iterator[dict[str, Any]]:
    offsets = defaultdict(list)
    for offset, line in _frame_lines(file):
        offsets[_parse(line)["frame"]].append(offset)
    for frame in sorted(offsets):
        entry: dict[str, Any] = {}
        objects: dict[int, Any] = {}
        for offset in offsets[frame]:
            file.seek(offset)
            entry = _parse(file.readline())
            objects |= {obj["id"]: obj for obj in entry["objects"]}
        yield {**entry, "objects": list(objects.values())}
