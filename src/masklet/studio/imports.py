"""Annotations of other tools in a project: masks and outlines become masks, boxes become box prompts.

A file is read when it is sent. Its annotations are then passed to the model one at a time; users' clicks have
priority. Skipped entries are reported with a reason. All additions of one file to a video are one step of
undo.
"""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, groupby
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from masklet.errors import MaskletError, MediaError
from masklet.media.annotations import read_annotations
from masklet.media.annotations.types import MAX_NAME, Annotation, AnnotationFile, SkippedEntry
from masklet.prompts import Prompt, check_prompt
from masklet.sessions.object_state import join_spans
from masklet.sessions.saved import SavedSession
from masklet.studio import project_schemas
from masklet.studio.errors import ApiError, failure_message, not_found, public_message
from masklet.studio.inference.inference import Inference
from masklet.studio.inference.live import Live, LiveVideos
from masklet.studio.inference.worker import Job, Priority, Worker
from masklet.studio.messages import ChangedEvent, Hub
from masklet.studio.schemas import Class, JobState, clean_name
from masklet.studio.security import Requester
from masklet.studio.store.database import Database, new_id
from masklet.studio.store.object_history import first_color
from masklet.studio.store.project_files import find_project_videos
from masklet.studio.store.storage import Quota
from masklet.studio.store.tables import Project, Video

MAX_IMPORTS = 4  # maximum number of concurrent imports
KEPT_IMPORTS = 100  # number of imports whose results are kept
NAMED_ENTRIES = 1_000  # maximum number of listed skipped entries; all are counted
MAX_CLASSES = 200
MAX_ATTRIBUTES = 20  # per class
MAX_CHOICES = 100  # per attribute
MAX_IMAGES = 20_000  # maximum number of file names that are searched in a folder
STUDIO_PREFIX = re.compile(r"^[0-9a-f]{8}-")  # Label Studio's prefix of the names of uploads
EXPORTED_FRAME = re.compile(r"^(.+)_(\d{6,})$")  # names of a video's frames in masklet's exports of projects
LAST_NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True)
class ScriptShape:
    """A prompt of masklet's own script."""

    prompt: Prompt

    def to_prompt(self, size: tuple[int, int]) -> Prompt:
        return self.prompt


@dataclass
class ImportJob:
    """One import, from its file to its end. `skipped` also counts unlisted entries."""

    id: str
    project: str
    format: str
    who: Requester
    total: int
    state: JobState = "waiting"
    done: int = 0
    masks: int = 0
    boxes: int = 0
    videos: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    entries: list[SkippedEntry] = field(default_factory=list)
    skipped: int = 0
    notes: list[str] = field(default_factory=list)
    message: str | None = None
    job: Job | None = None

    def skip(self, entry: SkippedEntry) -> None:
        self.skipped += 1
        if len(self.entries) < NAMED_ENTRIES:
            self.entries.append(entry)

    def view(self) -> project_schemas.Import:
        return project_schemas.Import(
            id=self.id,
            project=self.project,
            format=self.format,
            state=self.state,
            done=self.done,
            total=self.total,
            masks=self.masks,
            boxes=self.boxes,
            videos=self.videos,
            classes=self.classes,
            skipped=[
                project_schemas.SkippedEntry(
                    file=entry.file,
                    entry=entry.entry,
                    reason=public_message(MediaError(f"{entry.reason.rstrip('.')}.")),
                )
                for entry in self.entries
            ],
            skipped_count=self.skipped,
            notes=self.notes,
            message=self.message,
        )


@dataclass(frozen=True)
class PlacedAnnotation:
    """An annotation and the frame of the project that it belongs to."""

    annotation: Annotation
    video: Video
    frame: int


class Imports:
    """Reads annotation files, and adds their annotations to a project's videos."""

    def __init__(
        self,
        database: Database,
        live: LiveVideos,
        inference: Inference,
        worker: Worker,
        hub: Hub,
        quota: Quota,
    ) -> None:
        self._database, self._live, self._inference = database, live, inference
        self._worker, self._hub, self._quota = worker, hub, quota
        self._jobs: OrderedDict[str, ImportJob] = OrderedDict()
        self._lock = Lock()

    def start(self, project: str, who: Requester, path: Path, name: str, video: str | None) -> ImportJob:
        """Read a file, and start to add its annotations.

        Args:
            project: Its id.
            who: Who imports.
            path: The file.
            name: What people call it.
            video: The id of the video for annotations without a file name; None to guess.

        Raises:
            MediaError: It is no annotation file.
        """
        self._quota.check()
        files = read_import(path, clean_name(name, 220))
        with self._database.begin() as session:
            row = session.get(Project, project)
            if row is None:
                raise not_found(f"there is no project {project[:100]}.")
            videos = find_project_videos(session, project)
        if not videos:
            raise ApiError(
                409, "nothing", "the project has no images or videos yet. Add them first, then import."
            )
        if video is not None and video not in {row.id for row in videos}:
            raise not_found(f"the project has no video {video[:100]}.")
        formats = list(dict.fromkeys(file.format for file in files if file.format))
        annotations = [annotation for file in files for annotation in file.annotations]
        job = ImportJob(new_id(), project, ", ".join(formats), who, len(annotations))
        for file in files:
            job.notes += file.notes
            for entry in file.skipped:
                job.skip(entry)
        if any(isinstance(annotation.shape, ScriptShape) for annotation in annotations):
            job.notes.append("Only the script's prompts are imported: track to get the other masks.")
        with self._lock:
            if sum(other.state in ("waiting", "running") for other in self._jobs.values()) >= MAX_IMPORTS:
                raise ApiError(429, "queue", f"{MAX_IMPORTS} imports are running. Try again later.", retry=10)
            self._jobs[job.id] = job
            while len(self._jobs) > KEPT_IMPORTS:
                self._jobs.popitem(last=False)
        try:
            slices = self._slices(job, files, FileMatcher(videos, self._live, video))
            job.job = self._worker.add(who.id, Priority.propagate, Job(slices))
        except ApiError:
            del self._jobs[job.id]
            raise
        return job

    def get(self, project: str, id: str) -> ImportJob:
        job = self._jobs.get(id)
        if job is None or job.project != project:
            raise not_found(f"there is no import {id[:40]}. Imports are forgotten when the server stops.")
        return job

    def _slices(
        self, job: ImportJob, files: Sequence[AnnotationFile], matcher: FileMatcher
    ) -> Iterator[None]:
        try:
            job.state = "running"
            placed = []
            for file in files:
                for annotation in file.annotations:
                    try:
                        video, frame = matcher.find(annotation.source, annotation.frame, file.title)
                    except MaskletError as error:
                        self._skip(job, annotation, error)
                        continue
                    placed.append(PlacedAnnotation(annotation, video, frame))
                yield
            job.notes += matcher.notes.values()
            self._make_classes(job, files, {entry.annotation.label for entry in placed})
            placed.sort(key=lambda entry: (entry.video.id, entry.frame))
            for id, entries in groupby(placed, key=lambda entry: entry.video.id):
                yield from self._add_to_video(job, id, list(entries))
            job.state = "finished"
        except GeneratorExit:
            job.state, job.message = "failed", "The server was stopped before the import was finished."
            raise
        except Exception as error:
            job.state, job.message = "failed", failure_message(error, "an import")

    def _add_to_video(self, job: ImportJob, id: str, entries: Sequence[PlacedAnnotation]) -> Iterator[None]:
        """Add the annotations of one video, frame by frame; all of them are one step of undo."""
        batch, ids = new_id(), _object_keys(entries)
        objects: dict[str, int] = {}  # ids by key
        frames: list[int] = []
        reviewed = 0
        for entry, key in zip(entries, ids, strict=True):
            try:
                self._quota.check()
                with self._live.using(id) as live:
                    self._add(job, live, entry, key, objects, batch)
                    spans = live.history.state.reviewed
                frames.append(entry.frame)
                reviewed += any(start <= entry.frame < stop for start, stop in spans)
            except MaskletError as error:
                self._skip(job, entry.annotation, error)
            yield
        if reviewed:
            words = "1 annotation is" if reviewed == 1 else f"{reviewed} annotations are"
            job.notes.append(f"{words} on reviewed frames of {entries[0].video.name}: check these again.")
        if frames:
            job.videos.append(id)
            self._publish(job, id, frames, sorted(objects.values()))

    def _add(
        self,
        job: ImportJob,
        live: Live,
        entry: PlacedAnnotation,
        key: str,
        objects: dict[str, int],
        batch: str,
    ) -> None:
        """Pass one annotation to the model, as a prompt for its object."""
        annotation, person = entry.annotation, job.who.id
        prompt = check_prompt(annotation.shape.to_prompt(live.frames.size), live.frames.size)
        id = objects.get(key)
        if id is None:
            id = live.history.state.next_id
        is_new = key not in objects
        id = self._inference.prompt(live, person, entry.frame, id, prompt, batch=batch, new=is_new).object
        if is_new:
            with live.history.change(person) as change:
                fields: dict[str, object] = {"id": id}
                name = _class_name(annotation.label)
                if annotation.attributes:
                    fields["attributes"] = dict(annotation.attributes)
                if name:
                    color = self._color(job.project, name) or first_color(id)
                    fields |= {
                        "name": change.free_name(name)[:100],
                        "label": name,
                        "color": color,
                    }
                change.add("object", fields, f"import from {annotation.file}", batch=batch)
            objects[key] = id
        if prompt.mask is None:
            job.boxes += 1
        else:
            job.masks += 1
        job.done += 1

    def _skip(self, job: ImportJob, annotation: Annotation, reason: MaskletError) -> None:
        job.skip(SkippedEntry(annotation.file, annotation.entry, str(reason)))
        job.done += 1

    def _color(self, project: str, name: str) -> str | None:
        with self._database.begin() as session:
            row = session.get(Project, project)
            classes = [] if row is None else row.classes or []
        return next((str(entry["color"]) for entry in classes if entry["name"] == name), None)

    def _make_classes(self, job: ImportJob, files: Sequence[AnnotationFile], used: Iterable[str]) -> None:
        """Add classes of the file that the project does not have: those that its annotations use."""
        colors: dict[str, str | None] = {}
        for file in files:
            for label, color in file.labels.items():
                colors[label] = colors.get(label) or color
        given = set(used)
        names = [name for label in colors if label in given and (name := _class_name(label))]
        choices = {_class_name(label): more for file in files for label, more in file.choices.items()}
        with self._database.begin() as session:
            row = session.get(Project, job.project)
            if row is None:
                raise not_found("the project has been deleted.")
            classes = list(row.classes or ())
            existing = {entry["name"] for entry in classes}
            for name in dict.fromkeys(names):
                if name in existing:
                    continue
                if len(classes) >= MAX_CLASSES:
                    job.notes.append(
                        f"A project can have at most {MAX_CLASSES} classes. Further ones are only names of "
                        "objects."
                    )
                    break
                color = (colors.get(name) or first_color(len(classes) + 1)).lower()
                classes.append(Class(name=name, color=color).model_dump())
                job.classes.append(name)
            row.classes = [_with_attributes(entry, choices.get(entry["name"], {})) for entry in classes]

    def _publish(self, job: ImportJob, video: str, frames: Iterable[int], objects: list[int]) -> None:
        state = self._live.history(video).state
        event = ChangedEvent(
            head=state.head,
            do="prompt",
            title=state.records[-1].title,
            person=job.who.name,
            client=None,
            frames=list(join_spans((frame, frame + 1) for frame in frames)),
            objects=objects,
        )
        self._hub.publish(video, event)


class FileMatcher:
    """Finds the video of a project, and the frame, that an annotation belongs to."""

    def __init__(self, videos: Sequence[Video], live: LiveVideos, chosen: str | None) -> None:
        self._live = live
        self._videos = videos
        self._by_name = _by_key(videos, lambda video: _comparable(video.name))
        self._by_stem = _by_key(videos, lambda video: _comparable(PurePosixPath(video.name).stem))
        self._chosen = next((video for video in videos if video.id == chosen), None)
        self._images: dict[str, dict[str, int]] = {}  # frames by file name, of folders of images
        self.notes: dict[str, str] = {}  # by video, on frames that were identified only by a number in a name

    def find(self, source: str, frame: int | None, title: str = "") -> tuple[Video, int]:
        """The video and frame of an annotation.

        Args:
            source: The file's name, as the annotation file has it.
            frame: The frame, if it has one.
            title: The video's name in the annotation file.

        Raises:
            MediaError: No file of the project, or more than one, matches.
        """
        path = PurePosixPath(source.replace("\\", "/").split("?")[0])
        name = _comparable(path.name)
        for candidate in (name, STUDIO_PREFIX.sub("", name)):
            video = self._unique(self._by_name, candidate) or self._unique(
                self._by_stem, PurePosixPath(candidate).stem
            )
            if video is not None:
                return self._checked(video, 0 if frame is None or video.kind == "picture" else frame)
        exported = EXPORTED_FRAME.match(PurePosixPath(name).stem)
        if exported is not None:
            video = self._unique(self._by_stem, exported[1])
            if video is not None:
                return self._checked(video, int(exported[2]))
        number = LAST_NUMBER.search(PurePosixPath(name).stem)
        for video in self._fallbacks(path, title):
            place = self._in_video(video, name, frame, None if number is None else int(number[1][:12]))
            if place is not None:
                return self._checked(video, place)
        missing = f"called {path.name[:100]}" if name else "for this annotation: it has no file name"
        raise MediaError(f"the project has no file {missing}")

    def _fallbacks(self, path: PurePosixPath, title: str) -> Iterator[Video]:
        """Possible videos if the file's name is not in the project."""
        if self._chosen is not None:
            yield self._chosen
            return
        for word in (path.parent.name, title):
            key = _comparable(word)
            video = self._unique(self._by_name, key) or self._unique(self._by_stem, PurePosixPath(key).stem)
            if word and video is not None:
                yield video
        yield from (video for video in self._videos if video.kind == "pictures")
        if len(self._videos) == 1:
            yield self._videos[0]

    def _in_video(self, video: Video, name: str, frame: int | None, number: int | None) -> int | None:
        if video.kind == "pictures" and name:
            if video.id not in self._images:
                self._images[video.id] = self._read_names(video)
            return self._images[video.id].get(name)
        if video.kind == "picture":
            return 0 if not name or self._chosen is not None else None
        if frame is None and number is not None:
            note = (
                f"The numbers in file names are used as frames of {video.name}, from 0: {name} is "
                f"frame {number}."
            )
            self.notes.setdefault(video.id, note)
        return frame if frame is not None else number

    def _read_names(self, video: Video) -> dict[str, int]:
        with self._live.using(video.id) as live:
            frames = range(min(video.frames, MAX_IMAGES))
            return {_comparable(live.frames.file_name(frame)): frame for frame in frames}

    @staticmethod
    def _unique(videos: Mapping[str, list[Video]], key: str) -> Video | None:
        matching = videos.get(key, [])
        if len(matching) > 1:
            raise MediaError(f"the project has {len(matching)} files with the name {matching[0].name}")
        return matching[0] if matching else None

    @staticmethod
    def _checked(video: Video, frame: int) -> tuple[Video, int]:
        if not 0 <= frame < video.frames:
            raise MediaError(f"{video.name} has no frame {frame}: it has {video.frames}")
        return video, frame


def read_import(path: Path, name: str) -> list[AnnotationFile]:
    """The annotations of a file, also of masklet's own script.

    Args:
        path: The file.
        name: What people call it.

    Raises:
        MediaError: It is damaged, or has an unknown format.
    """
    with path.open("rb") as opened:
        start = opened.read(200).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not (start.startswith(b"{") and b'"masklet"' in start):
        return read_annotations(path, name)
    try:
        saved = SavedSession.read(path)
    except MaskletError as error:
        raise MediaError(str(error).replace(str(path), name)) from None
    file = AnnotationFile(name, "masklet script", title=PurePosixPath(saved.video or "").name)
    if saved.channel is not None:
        file.notes.append(
            f"{name} was made on channel {saved.channel}: select this channel next to the file's name."
        )
    for frame, prompts in saved.script.items():
        for id, prompt in prompts.items():
            file.add(f"object {id}, frame {frame}", "", frame, f"object {id}", "", ScriptShape(prompt))
    return [file]


def _comparable(name: str) -> str:
    """Normalise a file's name, which file systems may store in other case and Unicode forms."""
    return unicodedata.normalize("NFC", name).casefold()


def _with_attributes(entry: Mapping[str, Any], more: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A class with the attributes of a file that it does not have."""
    own = list(entry.get("attributes") or ())
    new = [name for name in more if name not in {attribute["name"] for attribute in own}]
    own += [{"name": name, "values": list(more[name])[:MAX_CHOICES]} for name in new if len(name) <= MAX_NAME]
    return {**entry, "attributes": own[:MAX_ATTRIBUTES]}


def _class_name(label: str) -> str:
    """A class name as stored in a project; empty if the label has no readable text."""
    try:
        return clean_name(label)
    except ApiError:
        return ""


def _object_keys(entries: Sequence[PlacedAnnotation]) -> list[str]:
    """The key that identifies an object in a video. A second shape on a frame is another object."""
    keys: list[str] = []
    seen: set[tuple[int, str]] = set()
    for number, entry in enumerate(entries):
        annotation = entry.annotation
        key = f"entry {number}" if annotation.object is None else f"{annotation.file}: {annotation.object}"
        key = next(
            candidate
            for place in count()
            if (entry.frame, candidate := key if not place else f"{key}, {place}") not in seen
        )
        seen.add((entry.frame, key))
        keys.append(key)
    return keys


def _by_key(videos: Iterable[Video], key: Callable[[Video], str]) -> dict[str, list[Video]]:
    groups: dict[str, list[Video]] = {}
    for video in videos:
        groups.setdefault(key(video), []).append(video)
    return groups
