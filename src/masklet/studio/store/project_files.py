"""The files of a project as a list of work: their states, people and counts, in the order of their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from masklet.caches import LruCache
from masklet.studio.schemas import FileState, VideoSummary
from masklet.studio.store.object_history import history_of, objects_of
from masklet.studio.store.tables import Comment, Step, Video
from masklet.studio.store.video_history import record_of

CACHED_FACTS = 10_000  # files
DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts names in natural order: numbers by value, letters without regard to case.

    >>> sorted(["a10.png", "A2.png", "a1.png"], key=natural_key)
    ['a1.png', 'A2.png', 'a10.png']
    """
    parts = DIGITS.split(name.casefold())
    return tuple((int(part) if part.isdecimal() else -1, part) for part in parts)


@dataclass(frozen=True)
class FileFacts:
    """A summary of a file's steps."""

    objects: int
    reviewed: int


class ProjectFiles:
    """Reads lists of files, and caches the summary of each file until its next step.

    Args:
        tracking: The progress of a video's tracking; None if nothing is tracked.
    """

    def __init__(self, tracking: Callable[[str], float | None]) -> None:
        self._tracking = tracking
        self._facts: LruCache[tuple[str, int, datetime | None], FileFacts] = LruCache(CACHED_FACTS)

    def summaries(self, session: Session, videos: Sequence[Video]) -> list[VideoSummary]:
        """The files in the form of the API."""
        ids = [video.id for video in videos]
        if not ids:
            return []
        at_head = and_(Step.video == Video.id, Step.number == Video.head)
        project = videos[0].project
        rows = session.execute(
            select(Step.video, Step.at).join(Video, at_head).where(Video.project == project)
        )
        times = {video: at for video, at in rows}
        open_comments = select(Comment.video, func.count()).where(Comment.resolved.is_(False))
        of_project = open_comments.join(Video, Video.id == Comment.video).where(Video.project == project)
        comments = {id: count for id, count in session.execute(of_project.group_by(Comment.video))}
        return [
            self._summary(session, video, times.get(video.id), comments.get(video.id, 0)) for video in videos
        ]

    def _summary(self, session: Session, video: Video, at: datetime | None, comments: int) -> VideoSummary:
        facts = self._find_facts(session, video, at)
        return VideoSummary(
            id=video.id,
            name=video.name,
            width=video.width,
            height=video.height,
            frames=video.frames,
            fps=video.fps,
            kind=video.kind,
            created=timestamp(video.created),
            objects=facts.objects,
            reviewed=facts.reviewed,
            state=file_state(video, facts.reviewed),
            assignee=video.assignee,
            reviewer=video.reviewer,
            tracking=self._tracking(video.id),
            channel=video.channel,
            comments=comments,
        )

    def _find_facts(self, session: Session, video: Video, at: datetime | None) -> FileFacts:
        key = (video.id, video.head, at)
        facts = self._facts.get(key)
        if facts is None:
            steps = select(Step).where(Step.video == video.id, Step.number <= video.head)
            records = [record_of(row) for row in session.scalars(steps.order_by(Step.number))]
            reviewed = sum(stop - start for start, stop in history_of(records).state.reviewed)
            facts = FileFacts(len(objects_of(records)), reviewed)
            self._facts[key] = facts
        return facts


def file_state(video: Video, reviewed: int) -> FileState:
    """New without a step, reviewed if all frames are reviewed, unless a person has set a state."""
    if video.review is not None:
        return video.review  # type: ignore[return-value]
    if reviewed >= video.frames:
        return "reviewed"
    return "working" if video.head else "new"


def filter_files(
    files: Iterable[VideoSummary], search: str, state: FileState | None, assignee: str | None
) -> list[VideoSummary]:
    """The files whose names have all words of a search, in a state, of a person.

    Args:
        files: Of a project.
        search: Words, whatever their case; empty for all files.
        state: None for every state.
        assignee: A person's name; None for everybody.
    """
    words = search.casefold().split()
    return [
        file
        for file in files
        if all(word in file.name.casefold() for word in words)
        and (state is None or file.state == state)
        and (assignee is None or file.assignee == assignee)
    ]


def count_states(files: Iterable[VideoSummary]) -> dict[str, int]:
    counts = Counter(file.state for file in files)
    return {state: counts[state] for state in ("new", "working", "reviewed")}


def find_project_videos(session: Session, project: str) -> list[Video]:
    """A project's files in the order of their names."""
    videos = session.scalars(select(Video).where(Video.project == project)).all()
    return sorted(videos, key=lambda video: (natural_key(video.name), video.id))


def timestamp(time: datetime) -> str:
    """ISO 8601 with the zone, which SQLite does not store: all times are UTC."""
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).isoformat()
