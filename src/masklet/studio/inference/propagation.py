"""Propagations: started, published frame by frame, stopped and resumed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

from masklet.studio import schemas
from masklet.studio.errors import ApiError, failure_message
from masklet.studio.inference.inference import Inference
from masklet.studio.inference.live import LiveVideos
from masklet.studio.inference.propagation_plan import PropagationPlan
from masklet.studio.inference.worker import Job, Priority, Worker
from masklet.studio.messages import FrameEvent, Hub, PropagationEvent
from masklet.studio.store.database import Database
from masklet.studio.store.storage import Quota
from masklet.studio.views import frame_masks

STOP_SECONDS = 120  # seconds


@dataclass
class RunningPropagation:
    """One propagation.

    Attributes:
        began: The time of its first frame's start, on the monotonic clock.
        doubt: It stops if an object's confidence falls below this; None to never stop.
        doubtful: Objects that were below on the frame before.
    """

    video: str
    plan: PropagationPlan
    name: str
    state: schemas.PropagationState = "waiting"
    message: str | None = None
    began: float = 0.0
    first: int = field(init=False)
    job: Job | None = None
    doubt: float | None = None
    doubtful: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.first = self.plan.done

    def view(self) -> schemas.Propagation:
        plan = self.plan
        here = plan.done - self.first
        took = time.monotonic() - self.began
        fps = here / took if here and took else None
        left = plan.left
        return schemas.Propagation(
            state=self.state,
            direction=plan.direction,
            frame=plan.leg.frame,
            done=plan.done,
            total=plan.total,
            seconds_left=None if fps is None else round(left / fps, 1),
            fps=None if fps is None else round(fps, 2),
            objects=plan.leg.objects,
            person=self.name,
            message=self.message,
        )


class Propagations:
    """The running propagations; at most one per video."""

    def __init__(
        self,
        inference: Inference,
        worker: Worker,
        live: LiveVideos,
        hub: Hub,
        database: Database,
        quota: Quota,
        most: int,
    ) -> None:
        self._inference = inference
        self._worker = worker
        self._live = live
        self._hub = hub
        self._database = database
        self._quota = quota
        self._most = most
        self._running: dict[str, RunningPropagation] = {}
        self._lock = Lock()

    def get(self, video: str) -> RunningPropagation | None:
        return self._running.get(video)

    def share(self, video: str) -> float | None:
        """The progress of tracking in a video; None if nothing is tracked."""
        propagation = self._running.get(video)
        if propagation is None:
            return None
        return round(propagation.plan.done / max(propagation.plan.total, 1), 3)

    def start(
        self, video: str, plan: PropagationPlan, name: str, doubt: float | None = None
    ) -> RunningPropagation:
        """Start to track a video by a plan.

        Args:
            video: Its id.
            plan: What to track.
            name: Who started it, as others read it.
            doubt: The confidence below which tracking stops; by default none.

        Raises:
            ApiError: The video is being tracked, too many are, or the quota is used up.
        """
        propagation = RunningPropagation(video, plan, name, doubt=doubt)
        self._quota.check()
        with self._lock:
            if video in self._running:
                raise ApiError(409, "busy", "this video is already being tracked. Stop that first.")
            if len(self._running) >= self._most:
                raise ApiError(
                    429, "queue", f"{self._most} videos are being tracked. Try again later.", retry=10
                )
            self._running[video] = propagation
        try:
            job = Job(self._slices(propagation))
            propagation.job = self._worker.add(plan.person, Priority.propagate, job)
        except ApiError:
            del self._running[video]
            raise
        self._publish(propagation)
        return propagation

    def stop(self, video: str) -> RunningPropagation | None:
        """Stop the running propagation. Its results are kept, and it can be resumed. None if nothing ran."""
        propagation = self._running.get(video)
        if propagation is None or propagation.job is None:
            return None
        propagation.job.stop()
        propagation.job.done.exception(STOP_SECONDS)
        if propagation.state == "waiting":  # its turn had not come: it does not know that it was stopped
            propagation.state = "stopped"
            self._running.pop(video, None)
            self._publish(propagation)
        return propagation

    def _slices(self, propagation: RunningPropagation) -> Iterator[None]:
        try:
            yield from self._frames(propagation)
            propagation.state = "finished" if propagation.message is None else "stopped"
        except GeneratorExit:
            propagation.state = "stopped"
            raise
        except Exception as error:
            propagation.state, propagation.message = "failed", failure_message(error, "a propagation")
        finally:
            self._running.pop(propagation.video, None)
            self._publish(propagation)

    def _frames(self, propagation: RunningPropagation) -> Iterator[None]:
        propagation.state, propagation.began = "running", time.monotonic()
        plan = propagation.plan
        if plan.done:  # if it was stopped before, users know of the doubtful mask
            leg = plan.leg
            self._find_doubt(propagation, leg.frame + (1 if leg.reverse else -1), None)
        while True:
            leg = plan.leg
            with self._live.using(propagation.video) as live:
                for ids in self._inference.propagate(live, plan):
                    frame = leg.frame + (1 if leg.reverse else -1)
                    self._publish_frame(propagation, frame, ids)
                    self._quota.check()
                    propagation.message = self._find_doubt(propagation, frame, ids)
                    if propagation.message is not None:
                        return
                    yield
            if len(plan.legs) == 1:
                break
            plan.legs.pop(0)

    def _find_doubt(self, propagation: RunningPropagation, frame: int, ids: list[int] | None) -> str | None:
        """The reason to stop after a frame: a sentence on the least certain mask that became doubtful there.

        Args:
            propagation: The running propagation.
            frame: The frame.
            ids: The objects that were tracked on it; None for all.

        Returns:
            None to continue.
        """
        if propagation.doubt is None or ids == []:
            return None
        with self._live.history(propagation.video).read() as (session, state):
            masks = frame_masks(session, propagation.video, state, frame, ids)
        doubtful = {mask.object: mask for mask in masks if mask.confidence < propagation.doubt}
        new = [mask for id, mask in doubtful.items() if id not in propagation.doubtful and not mask.prompted]
        propagation.doubtful = set(doubtful)
        worst = min(new, key=lambda mask: mask.confidence, default=None)
        if worst is None:
            return None
        is_lost = worst.box is None or worst.score <= 0
        words = "lost" if is_lost else f"doubtful ({worst.confidence:.2f})"
        return f"Tracking stopped: {state.object(worst.object).name} is {words} on frame {frame}."

    def _publish(self, propagation: RunningPropagation) -> None:
        self._hub.publish(propagation.video, PropagationEvent(propagation=propagation.view()))

    def _publish_frame(self, propagation: RunningPropagation, frame: int, ids: list[int]) -> None:
        video = propagation.video
        if not self._hub.has_subscribers(video):
            return
        with self._live.history(video).read() as (session, state):
            masks = frame_masks(session, video, state, frame, ids)
        event = FrameEvent(frame=frame, masks=masks, propagation=propagation.view())
        self._hub.publish(video, event)
