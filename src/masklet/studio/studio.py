"""The parts of a running studio."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from sqlalchemy import delete, select

from masklet.caches import LruCache, OnceCache
from masklet.files import make_folder
from masklet.media import Image
from masklet.model import Sam2
from masklet.sessions.object_state import Span
from masklet.studio import schemas
from masklet.studio.errors import ApiError, not_found
from masklet.studio.exports import Exports
from masklet.studio.imports import Imports
from masklet.studio.inference.inference import Inference
from masklet.studio.inference.live import LiveVideos
from masklet.studio.inference.models import LoadModel, Models
from masklet.studio.inference.propagation import Propagations
from masklet.studio.inference.propagation_plan import PropagationPlan
from masklet.studio.inference.worker import PendingPrompts, Worker
from masklet.studio.messages import ChangedEvent, GoneEvent, Hub
from masklet.studio.security import People, Requester
from masklet.studio.settings import MIB, Settings
from masklet.studio.store.database import Database
from masklet.studio.store.object_history import EventRecord
from masklet.studio.store.project_files import ProjectFiles
from masklet.studio.store.storage import DataFolderLock, MediaPaths, Quota
from masklet.studio.store.tables import AuditEntry, Project, Video
from masklet.studio.store.uploads import Uploads
from masklet.studio.views import find_video, unfinished_plan, video_view

TASK_IMAGE_BYTES = 256 * MIB  # maximum size of the decoded images of Label Studio's tasks
TASK_IMAGES = 4  # number of them that are fetched and decoded concurrently
STEP_CLIENTS = 10_000  # steps of which it is known from which tab they came


class Studio:
    """The parts of the server. Routes turn requests into calls of these."""

    def __init__(
        self, settings: Settings, model: Sam2, model_name: str, load_model: LoadModel | None = None
    ) -> None:
        make_folder(settings.uploads)
        make_folder(settings.exports)
        make_folder(settings.spool)
        self.settings = settings
        self.limits = limits = settings.limits
        self.model_name = model_name
        self.model = model
        self._lock = DataFolderLock(settings.data)
        try:
            self.database = Database(settings.database_url, settings.backups)
        except BaseException:
            self._lock.close()
            raise
        self.quota = Quota(self.database, settings)
        self.paths = MediaPaths(settings.folder, settings.uploads)
        self.people = People(self.database)
        self.step_clients: LruCache[str, str] = LruCache(STEP_CLIENTS)  # by batch
        self.hub = Hub(limits.sockets)
        self.live = LiveVideos(self.database, self.paths, limits)
        self.models = Models(model, model_name, settings.models, load_model)
        self.inference = Inference(self.models, limits)
        self.worker = Worker(limits)
        self.pending = PendingPrompts()
        self.propagations = Propagations(
            self.inference,
            self.worker,
            self.live,
            self.hub,
            self.database,
            self.quota,
            limits.propagations,
        )
        self.files = ProjectFiles(self.propagations.share)
        self.imports = Imports(self.database, self.live, self.inference, self.worker, self.hub, self.quota)
        self.jpegs: LruCache[tuple[str, int, int, int, int | None], bytes] = LruCache(limits.jpegs, size=len)
        self.task_images: OnceCache[str, Image] = OnceCache(
            TASK_IMAGE_BYTES, size=lambda image: image.nbytes, makers=TASK_IMAGES
        )
        self.uploads = Uploads(self.database, self.paths, self.quota, settings)
        self.exports = Exports(
            self.database,
            self.live,
            self.hub,
            self.quota,
            settings.exports,
            limits,
            self.propagations.share,
        )

    def video(self, id: str) -> schemas.Video:
        """A video as the API shows it.

        Raises:
            ApiError: There is no such video.
        """
        propagation = self.propagations.get(id)
        with self.live.history(id).read() as (session, state):
            video = session.get(Video, id)
            if video is None:
                raise not_found(f"there is no video {id}.")
            return video_view(session, video, state, None if propagation is None else propagation.view())

    def publish_change(
        self,
        id: str,
        who: Requester,
        step: EventRecord,
        frames: list[Span],
        objects: list[int],
        how: Literal["done", "undone", "redone"] = "done",
    ) -> None:
        """Notify everyone who has a video open of a change.

        Args:
            id: Of the video.
            who: Who did it.
            step: The step.
            frames: Spans of frames whose masks changed.
            objects: Ids of objects that changed.
            how: Whether the step is new, was taken back, or was done again.
        """
        if who.client is not None and how == "done":
            self.step_clients[step.batch] = who.client
        event = ChangedEvent(
            head=self.live.history(id).state.head,
            do=step.do,
            title=step.title,
            how=how,
            person=who.name,
            client=who.client,
            frames=frames,
            objects=objects,
        )
        self.hub.publish(id, event)

    def audit(self, project: str, who: Requester, title: str, video: str = "") -> None:
        """Record an action in a project. Steps of videos are already recorded.

        Args:
            project: Its id.
            who: Who did it.
            title: The action, as shown to users.
            video: The name of the file that it is about.
        """
        with self.database.begin() as session:
            session.add(AuditEntry(project=project, person=who.id, title=title[:300], video=video[:255]))

    def unfinished(self, id: str, who: Requester) -> PropagationPlan | None:
        """The interrupted tracking that this person can resume, whoever stopped it."""
        with self.live.history(id).read() as (session, state):
            return unfinished_plan(find_video(session, id), state, who.id)

    def delete_video(self, id: str) -> None:
        """Delete a video with its masks and its upload.

        Raises:
            ApiError: There is no such video.
        """
        self.propagations.stop(id)
        with self.database.begin() as session:
            place = session.scalar(delete(Video).where(Video.id == id).returning(Video.place))
        if place is None:
            raise not_found(f"there is no video {id}.")
        self._remove(id, place)

    def delete_project(self, id: str) -> None:
        """Delete a project with all its videos.

        Raises:
            ApiError: There is no such project.
        """
        for video in self.videos_of(id):
            with suppress(ApiError):  # somebody else is deleting it
                self.delete_video(video)
        with self.database.begin() as session:
            # Videos that have just been added are deleted, too.
            late = session.execute(delete(Video).where(Video.project == id).returning(Video.id, Video.place))
            videos = [(video, place) for video, place in late]
            gone = session.scalar(delete(Project).where(Project.id == id).returning(Project.id))
        for video, place in videos:
            self._remove(video, place)
        if gone is None:
            raise not_found(f"there is no project {id}.")

    def videos_of(self, project: str) -> list[str]:
        """The ids of a project's videos.

        Raises:
            ApiError: There is no such project.
        """
        with self.database.begin() as session:
            if session.get(Project, project) is None:
                raise not_found(f"there is no project {project}.")
            return list(session.scalars(select(Video.id).where(Video.project == project)))

    def _remove(self, video: str, place: str) -> None:
        """Close a video that was deleted, and remove its upload."""
        self.live.drop(video)
        self.hub.publish(video, GoneEvent())
        if place.startswith("upload:"):
            with suppress(OSError):
                (self.settings.uploads / place.removeprefix("upload:")).unlink()

    def close(self) -> None:
        self.exports.close()
        self.worker.close()
        self.live.close()
        self.database.close()
        self._lock.close()
