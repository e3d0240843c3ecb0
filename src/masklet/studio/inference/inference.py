"""Inference on a video: prompts and tracking, both by `VideoSession`.

A session is opened on the rows of the database, and stores its results there. There is no other state. All of
it runs on the worker's thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from masklet import rle
from masklet.auto.generator import generate_segments
from masklet.auto.grid import Grid
from masklet.auto.segments import Segments
from masklet.errors import PromptError
from masklet.model import Sam2
from masklet.sessions.events import Cleared
from masklet.sessions.image import ImageSession
from masklet.sessions.video import VideoSession
from masklet.studio.errors import ApiError, limit_exceeded, not_found
from masklet.studio.inference.live import Live, OfferedCandidates, OfferedMask
from masklet.studio.inference.models import Models
from masklet.studio.inference.propagation_plan import PropagationPlan
from masklet.studio.schemas import Candidate
from masklet.studio.settings import Limits
from masklet.studio.store.object_history import chosen_candidates
from masklet.studio.store.row_store import ChosenCandidate, ResultCache, RowStore
from masklet.studio.store.video_history import Change, State
from masklet.tracking.policies import POLICIES, find_policy
from masklet.types import FrameFeatures, ImageCandidates, Masks, Prompt

# Loose thresholds, since a person chooses among the masks.
EVERYTHING = Grid(points_per_side=16, pred_iou_thresh=0.4, stability_score_thresh=0.5)
RESUMABLE = tuple(name for name in POLICIES if find_policy(name)().resumable)


@dataclass(frozen=True)
class PromptAnswer:
    """The object of a prompt, and the candidates of a single click."""

    object: int
    candidates: list[Candidate]


class Inference:
    """The studio's use of the model: encode, answer prompts, track.

    Args:
        models: Finds the model of a video.
        limits: Bounds objects and caches.
    """

    def __init__(self, models: Models, limits: Limits) -> None:
        self._models = models
        self._limits = limits
        self.cache = ResultCache(limits.rows, models.default.device)

    def encode(self, live: Live, frame: int) -> None:
        """Encode a frame, so that prompts on it are answered at once."""
        self._features(live, frame)

    def prompt(
        self,
        live: Live,
        person: str,
        frame: int,
        id: int,
        prompt: Prompt,
        *,
        offer: bool = False,
        label: str | None = None,
        batch: str | None = None,
        new: bool = False,
    ) -> PromptAnswer:
        """Answer a prompt, and store the answer.

        Args:
            live: The video.
            person: The id of who gives the prompt.
            frame: The frame.
            id: The object.
            prompt: It is added to the object's prompts on the frame.
            offer: Whether the person may choose another candidate afterwards.
            label: The class of the object, if this prompt creates it; both are undone together.
            batch: The batch of events that are undone together; by default only this event.
            new: Whether it is for a new object, which gets the next number where `id` is one's already.

        Raises:
            ApiError: The video has as many objects as it may have.
            PromptError: The prompt does not fit the frame.
        """
        with live.history.change(person) as change:
            objects = change.state.objects
            if new and id in objects:
                id = change.state.next_id
            if id not in objects and len(objects) >= self._limits.objects:
                raise limit_exceeded(
                    f"a video can have at most {self._limits.objects} objects. Delete one first, or select "
                    "one to correct it."
                )
            if label is not None and id not in objects:
                batch = change.add_object(id, {"label": label}, batch=batch).batch
            session = self.session(live, self.store(live, change, batch=batch))
            answer = session.answer(frame, id, prompt)
            prompts = change.state.session.objects[id].prompts[frame]
        if not offer or prompts.clicks != 1 or prompts.box or prompts.mask is not None:
            live.offered.pop(person, None)
            return PromptAnswer(id, [])
        masks = answer.candidates
        quality = zip(
            masks.iou.tolist(), masks.score.tolist(), masks.boxes.tolist(), masks.rle(), strict=True
        )
        live.offer(
            person,
            OfferedCandidates(
                frame,
                id,
                prompts,
                tuple(
                    OfferedMask(iou, score, mask["counts"], (x0, y0, x1, y1) if x1 > x0 else None)
                    for iou, score, (x0, y0, x1, y1), mask in quality
                ),
            ),
        )
        candidates = [
            Candidate(
                rank=rank,
                iou=round(mask.iou, 4),
                counts=mask.counts,
                box=mask.box,
                chosen=rank == answer.chosen,
            )
            for rank, mask in enumerate(live.offered[person].masks)
        ]
        return PromptAnswer(id, candidates)

    def preview(self, live: Live, frame: int, prompt: Prompt) -> ImageCandidates:
        """The answer to a prompt for a new object; nothing is stored.

        Args:
            live: The video.
            frame: The frame.
            prompt: Clicks, a box or a mask, in pixels of the frame.
        """
        model, features = self._model(live), self._features(live, frame)
        session = ImageSession(model, live.frames[frame], zoom=False, features=features)
        return session.segment(prompt)

    def prepare_click(self, live: Live, frame: int, prompt: Prompt) -> Iterator[None]:
        """Compute the answer to a click for a new object, so that the click is answered at once.

        Yields:
            Before each window is encoded: others may go first there.
        """
        session = VideoSession(self._model(live), live.frames, features=live.features)
        yield from session.preview_steps(frame, prompt)

    def segment_everything(self, live: Live, frame: int) -> Segments:
        """The masks of everything on a frame; nothing is kept."""
        model, features = self._model(live), self._features(live, frame)
        return generate_segments(model, live.frames[frame], EVERYTHING, features=features)

    def choose(self, live: Live, person: str, frame: int, id: int, rank: int) -> None:
        """Select another candidate of a person's last click: its mask becomes the answer.

        Args:
            live: The video.
            person: The id of who clicked.
            frame: The frame of the click.
            id: The object.
            rank: Of the candidate, from 0, the best one.

        Raises:
            ApiError: The person's last click was elsewhere, or has no such candidate.
        """
        offered = live.offered.get(person)
        if (
            offered is None
            or (offered.frame, offered.object) != (frame, id)
            or not 0 <= rank < len(offered.masks)
        ):
            raise not_found(f"object {id} has no candidate {rank} on frame {frame}: click once, then choose.")
        chosen, click = offered.masks[rank], offered.click
        mask = rle.decode({"size": list(live.frames.size), "counts": chosen.counts})
        candidate = ChosenCandidate(
            chosen.iou, chosen.score, tuple(click.positive), tuple(click.negative), rank
        )
        with live.history.change(person) as change:
            if not _is_of_click(change.state, offered):
                raise not_found(f"object {id} was changed on frame {frame} since you clicked. Click again.")
            store = self.store(live, change)
            store.candidate = candidate
            self.session(live, store).answer(frame, id, Prompt(mask=mask))

    def clear(self, live: Live, person: str, frame: int, id: int) -> None:
        """Remove an object's prompts on a frame.

        Raises:
            ApiError: The object has no prompt there.
        """
        with live.history.change(person) as change:
            obj = change.state.session.objects.get(id)
            if obj is None or frame not in obj.prompts:
                raise not_found(f"object {id} has no prompt on frame {frame}.")
            store = self.store(live, change)
            store.advance(store.history.after(Cleared(frame, id)))
            store.end(id, frame if id in change.state.session.objects else None)
            live.offered.pop(person, None)

    def propagate(self, live: Live, plan: PropagationPlan) -> Iterator[list[int]]:
        """Track the first leg of a plan, frame by frame.

        A prompt by another person in between is used from the next frame on.

        Args:
            live: The video.
            plan: Its first leg advances with each frame.

        Yields:
            The ids that got new masks on a frame.
        """
        leg, head = plan.leg, -1
        step = -1 if leg.reverse else 1
        session: VideoSession | None = None
        store: RowStore | None = None
        masks_of_frames: Iterator[Masks] = iter(())
        while leg.left:
            with live.history.change(plan.person) as change:
                if session is None or store is None or change.state.head != head:
                    store = self.store(live, change, batch=leg.batch)
                    session = self.session(live, store)
                    ids = self._select_ids(session, leg.objects)
                    masks_of_frames = session.propagate(leg.frame, leg.stop, reverse=leg.reverse, objects=ids)
                store.change = change
                masks = next(masks_of_frames)
                state = change.state.session
                new = [id for id in masks.ids if not state.objects[id].is_fixed(masks.frame)]
                leg.frame += step
                change.leave_unfinished(plan.to_json())
            head = live.history.state.head
            yield new

    def segment_image(self, image: object, prompts: list[Prompt]) -> list[ImageCandidates]:
        """Masks for prompts on an image; nothing is kept.

        Args:
            image: uint8 (H, W, 3), or what `ImageSession` takes.
            prompts: Each is answered by itself.
        """
        session = ImageSession(self._models.default, image)
        return [session.segment(prompt) for prompt in prompts]

    def store(self, live: Live, change: Change, *, batch: str | None = None) -> RowStore:
        return RowStore(self._model(live), self.cache, change, live.frames.size, batch)

    def session(self, live: Live, store: RowStore) -> VideoSession:
        """A session at the video's current state."""
        model = self._model(live)
        return VideoSession(model, live.frames, policy=live.policy, features=live.features, store=store)

    def _model(self, live: Live) -> Sam2:
        return self._models.get(live.model)

    def _features(self, live: Live, frame: int) -> FrameFeatures:
        return VideoSession(self._model(live), live.frames, features=live.features).features(frame)

    @staticmethod
    def _select_ids(session: VideoSession, objects: list[int] | None) -> list[int] | None:
        """The objects that still exist; None for all."""
        if objects is None and session.ids:
            return None
        ids = [id for id in objects or () if id in session.ids]
        if not ids and objects:
            raise PromptError(f"object {objects[0]} has no prompt yet. Click on it first.")
        if not ids:
            raise ApiError(409, "nothing", "there is no object left to track.")
        return ids


def _is_of_click(state: State, offered: OfferedCandidates) -> bool:
    """Whether an object's prompt is still the click that candidates were offered for, or one of them."""
    obj = state.session.objects.get(offered.object)
    prompt = None if obj is None else obj.prompts.get(offered.frame)
    if prompt is None or not prompt.is_mask_only:
        return prompt == offered.click
    chosen = chosen_candidates(state.records).get((offered.frame, offered.object))
    if chosen is None:
        return False
    return Prompt(positive=chosen["positive"], negative=chosen["negative"]) == offered.click
