"""Propagations: begun, told of frame by frame, stopped, and gone on with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

from masklet.studio import schemas
from masklet.studio.errors import ApiError, failure_message
from masklet.studio.hub import Hub
from masklet.studio.inference.engine import Engine
from masklet.studio.inference.live import LiveVideos
from masklet.studio.inference.propagation_plan import PropagationPlan
from masklet.studio.inference.worker import Job, Priority, Worker
from masklet.studio.messages import FrameEvent, PropagationEvent
from masklet.studio.store.database import Database
from masklet.studio.store.storage import Quota
from masklet.studio.views import frame_masks

STOP_PATIENCE = 120  # seconds


@dataclass
class Following:
    """One propagation.

    began : when its first frame was begun, on the monotonic clock
    doubt : it stops at the first mask with a confidence below this; None to go on whatever comes
    """

    video: str
    plan: PropagationPlan
    name: str
    state: str = "waiting"
    message: str | None = None
    began: float = 0.0
    first: int = field(init=False)
    job: Job | None = None
    doubt: float | None = None

    def __post_init__(self) -> None:
        self.first = self.plan.done

    def view(self) -> schemas.Propagation:
        plan = self.plan
        here = plan.done - self.first
        took = time.monotonic() - self.began
        fps = here / took if here and took else None
        left = plan.left
        return schemas.Propagation(
            state=self.state,  # type: ignore[arg-type]
            direction=plan.direction,  # type: ignore[arg-type]
            frame=plan.leg.frame,
            done=plan.done,
            total=plan.total,
            seconds_left=None if fps is None else round(left / fps, 1),
            fps=None if fps is None else round(fps, 2),
            objects=plan.leg.objects,
            person=self.name,
            message=self.message,
        )


class Followings:
    """What is being followed; one propagation a video."""

    def __init__(
        self,
        engine: Engine,
        worker: Worker,
        live: LiveVideos,
        hub: Hub,
        database: Database,
        quota: Quota,
        most: int,
    ) -> None:
        self._engine = engine
        self._worker = worker
        self._live = live
        self._hub = hub
        self._database = database
        self._quota = quota
        self._most = most
        self._running: dict[str, Following] = {}
        self._lock = Lock()

    def get(self, video: str) -> Following | None:
        return self._running.get(video)

    def start(self, video: str, plan: PropagationPlan, name: str, doubt: float | None = None) -> Following:
        following = Following(video, plan, name, doubt=doubt)
        self._quota.check()
        with self._lock:
            if video in self._running:
                raise ApiError(409, "busy", "this video is being followed already. Stop that first.")
            if len(self._running) >= self._most:
                raise ApiError(
                    429, "queue", f"{self._most} videos are being followed. Try again later.", retry=10
                )
            self._running[video] = following
        try:
            job = Job(self._slices(following))
            following.job = self._worker.add(plan.person, Priority.propagate, job)
        except ApiError:
            del self._running[video]
            raise
        self._tell(following)
        return following

    def stop(self, video: str) -> Following | None:
        """Stop what runs; what was followed stays, and can be gone on with. None where nothing ran."""
        following = self._running.get(video)
        if following is None or following.job is None:
            return None
        following.job.stop()
        following.job.done.exception(STOP_PATIENCE)
        if following.state == "waiting":  # its turn had not come: it does not know that it was stopped
            following.state = "stopped"
            self._running.pop(video, None)
            self._tell(following)
        return following

    def _slices(self, following: Following) -> Iterator[None]:
        try:
            yield from self._frames(following)
            following.state = "finished" if following.message is None else "stopped"
        except GeneratorExit:
            following.state = "stopped"
            raise
        except Exception as error:
            following.state, following.message = "failed", failure_message(error, "a propagation")
        finally:
            self._running.pop(following.video, None)
            self._tell(following)

    def _frames(self, following: Following) -> Iterator[None]:
        following.state, following.began = "running", time.monotonic()
        plan = following.plan
        while True:
            leg = plan.leg
            with self._live.using(following.video) as live:
                for ids in self._engine.follow(live, plan):
                    frame = leg.frame + (1 if leg.reverse else -1)
                    self._tell_frame(following, frame, ids)
                    self._quota.check()
                    following.message = self._find_doubt(following, frame, ids)
                    if following.message is not None:
                        return
                    yield
            if len(plan.legs) == 1:
                break
            plan.legs.pop(0)

    def _find_doubt(self, following: Following, frame: int, ids: list[int]) -> str | None:
        """Why to stop behind a frame: a sentence on its least certain mask. None to go on."""
        if following.doubt is None or not ids:
            return None
        with self._live.ledger(following.video).read() as (session, state):
            masks = frame_masks(session, following.video, state, frame, ids)
            worst = min(masks, key=lambda mask: mask.confidence, default=None)
            if worst is None or worst.confidence >= following.doubt:
                return None
            name = state.object(worst.object).name
        return f"{name} is doubtful ({worst.confidence:.2f}) on frame {frame}."

    def _tell(self, following: Following) -> None:
        self._hub.publish(following.video, PropagationEvent(propagation=following.view()))

    def _tell_frame(self, following: Following, frame: int, ids: list[int]) -> None:
        video = following.video
        if not self._hub.has_subscribers(video):
            return
        with self._live.ledger(video).read() as (session, state):
            masks = frame_masks(session, video, state, frame, ids)
        event = FrameEvent(frame=frame, masks=masks, propagation=following.view())
        self._hub.publish(video, event)
