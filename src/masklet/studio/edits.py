"""Edits of existing masks: holes, islands, edges, smoothing over time, components. Each is one step of undo.

An edit changes masks on a range of frames, except reviewed frames. The model is needed only if objects must
be tracked from a mask: from a copied mask, and from the first mask of a split component.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import cv2
import numpy as np
import torch
from jaxtyping import Bool
from sqlalchemy import select

from masklet import rle
from masklet.boxes import tight_box
from masklet.masks import match_mask
from masklet.postprocess import drop_islands, fill_holes
from masklet.studio.errors import ApiError, limit_exceeded
from masklet.studio.requests import NewEdit
from masklet.studio.settings import Limits
from masklet.studio.store.database import new_id
from masklet.studio.store.object_history import EventRecord, first_color
from masklet.studio.store.row_store import ResultCache, ResultTensors
from masklet.studio.store.tables import Result
from masklet.studio.store.video_history import Change, NewResult, VideoHistory, holds_at, results

Mask = Bool[np.ndarray, "H W"]

# Fraction of a mask: the default size of the largest hole or island, and of the smallest component.
SHARE = 0.01
MAX_FRAMES = 5_000  # maximum number of frames per edit
MAX_COPIES = 100
MAX_RADIUS = 100  # pixels
MAX_NEIGHBOURS = 10  # frames to either side
COMMIT_SECONDS = 0.25  # maximum work per transaction, so that other people's steps are not delayed
EDITED_LOGIT = 1.0  # the low-res logit of cells that an edit changed
VERBS = {
    "fill": "fill holes of",
    "drop": "remove islands of",
    "grow": "grow",
    "shrink": "shrink",
    "smooth": "smooth",
    "copy": "copy",
    "merge": "merge",
    "split": "split",
}


@dataclass
class EditOutcome:
    """The result of an edit.

    Attributes:
        batch: Of its steps; they are undone together.
        frames: Frames with a changed mask.
        reviewed: Frames that were not changed because they are reviewed.
        objects: Ids of objects that changed or are new.
        prompts: Masks that the model must take as prompts: frame, object id and mask.
        step: The last step that was recorded.
    """

    batch: str
    frames: set[int] = field(default_factory=set)
    reviewed: set[int] = field(default_factory=set)
    objects: set[int] = field(default_factory=set)
    prompts: list[tuple[int, int, Mask]] = field(default_factory=list)
    step: EventRecord | None = None


class MaskEditor:
    """Edits the masks of one video for one person."""

    def __init__(
        self, history: VideoHistory, cache: ResultCache, limits: Limits, size: tuple[int, int], person: str
    ) -> None:
        self._history = history
        self._cache = cache
        self._limits = limits
        self._size = size
        self._person = person

    def apply(self, edit: NewEdit) -> EditOutcome:
        """Do an edit.

        Args:
            edit: The operation, the objects and the frames.

        Returns:
            The change. The model still has to compute the masks in its `prompts`.

        Raises:
            ApiError: The edit does not fit the video, or is larger than the limits.
        """
        if edit.stop <= edit.start and edit.operation != "merge":
            raise ApiError(
                422, "invalid", "stop must be larger than start: it is the frame after the last one."
            )
        outcome = EditOutcome(new_id())
        edits = self._of_one_object(edit)
        # All are checked before the first one starts.
        spans = [self._open_frames(one, outcome) for one in edits]
        for one, frames in zip(edits, spans, strict=True):
            outcome.step = None  # each object has its own steps, which are undone together
            match one.operation:
                case "copy":
                    self._copy(one, outcome)
                case "merge":
                    self._merge(one, frames, outcome)
                case "split":
                    self._split(one, frames, outcome)
                case "smooth":
                    self._smooth(one, frames, outcome)
                case _:
                    self._edit_masks(one, frames, outcome)
        if not outcome.frames and not outcome.prompts:
            raise ApiError(409, "nothing", _why_nothing_changed(edit, outcome, has_masks=any(spans)))
        return outcome

    def _of_one_object(self, edit: NewEdit) -> list[NewEdit]:
        """An edit of several objects as edits of one; merges have one other object each.

        Raises:
            ApiError: There is no such object, or a merge has no other object.
        """
        for id in (edit.object, *edit.others):
            self._history.state.object(id)
        if edit.operation != "merge":
            ids = dict.fromkeys([edit.object, *edit.others])
            return [edit.model_copy(update={"object": id, "others": []}) for id in ids]
        if not edit.others:
            raise ApiError(422, "invalid", "a merge needs `others`: the objects to merge into this one.")
        if edit.object in edit.others:
            raise ApiError(422, "invalid", "an object cannot be merged with itself. Remove it from `others`.")
        return [edit.model_copy(update={"others": [id]}) for id in dict.fromkeys(edit.others)]

    def _open_frames(self, edit: NewEdit, outcome: EditOutcome) -> list[int]:
        """The frames with masks of the object (for a merge, of either object) that are not reviewed."""
        with self._history.read() as (session, state):
            where = holds_at(self._history.video, state.head), Result.object.in_([edit.object, *edit.others])
            query = select(Result.frame).where(*where).distinct().order_by(Result.frame)
            if edit.operation != "merge":
                query = query.where(Result.frame >= edit.start, Result.frame < edit.stop)
            frames = list(session.scalars(query))
        if len(frames) > MAX_FRAMES:
            raise limit_exceeded(f"an edit can change at most {MAX_FRAMES} frames. Choose a shorter range.")
        is_reviewed = _frame_test(state.reviewed)
        reviewed = {frame for frame in frames if is_reviewed(frame)}
        if reviewed and edit.operation == "merge":
            raise ApiError(
                409,
                "busy",
                f"{len(reviewed)} frames are reviewed and keep their masks. Remove the marks first.",
            )
        if edit.operation != "copy":  # a copy also writes frames without masks
            outcome.reviewed |= reviewed
        return [frame for frame in frames if frame not in reviewed]

    def _edit_masks(self, edit: NewEdit, frames: Sequence[int], outcome: EditOutcome) -> None:
        def change_mask(mask: Mask) -> Mask:
            return edit_mask(mask, edit.operation, edit.amount)

        for chunk in self._chunks(frames):
            with self._history.change(self._person) as change:
                for row in self._rows(change, edit.object, chunk):
                    self._replace(change, edit, row, change_mask(self._decode(row)), outcome)

    def _smooth(self, edit: NewEdit, frames: Sequence[int], outcome: EditOutcome) -> None:
        """Each new mask is computed from the old ones, so the original of a smoothed mask is kept."""
        reach = min(MAX_NEIGHBOURS, max(1, int(edit.amount or 2)))
        before: dict[int, Mask] = {}
        for frame in frames:
            near = [at for at in range(frame - reach, frame + reach + 1) if at not in before]
            with self._history.change(self._person) as change:
                before |= {row.frame: self._decode(row) for row in self._rows(change, edit.object, near)}
                for old in [at for at in before if at < frame - reach]:
                    del before[old]
                for row in self._rows(change, edit.object, [frame]):
                    self._replace(change, edit, row, smooth_mask(before, frame, reach), outcome)

    def _copy(self, edit: NewEdit, outcome: EditOutcome) -> None:
        """The mask of the first frame for the frames after it, also for those without a mask."""
        if edit.stop - edit.start - 1 > MAX_COPIES:
            raise limit_exceeded(
                f"a mask can be copied to at most {MAX_COPIES} frames at once. Track it instead."
            )
        with self._history.read() as (session, state):
            rows = results(
                session, self._history.video, state.head, edit.start, edit.start + 1, [edit.object]
            )
        if not rows:
            return
        is_reviewed = _frame_test(state.reviewed)
        mask = self._decode(rows[0])
        targets = {frame for frame in range(edit.start + 1, edit.stop) if not is_reviewed(frame)}
        outcome.reviewed |= set(range(edit.start + 1, edit.stop)) - targets
        outcome.prompts += [(frame, edit.object, mask) for frame in sorted(targets)]
        outcome.frames |= targets
        outcome.objects.add(edit.object)

    def _merge(self, edit: NewEdit, frames: Sequence[int], outcome: EditOutcome) -> None:
        """The other object becomes part of this one, and is deleted."""
        (other,) = [self._history.state.object(id) for id in edit.others]
        for chunk in self._chunks(frames):
            with self._history.change(self._person) as change:
                other_rows = {row.frame: row for row in self._rows(change, other.id, chunk)}
                rows = {row.frame: row for row in self._rows(change, edit.object, chunk)}
                for frame, row in other_rows.items():
                    mask = self._decode(row)
                    if frame in rows:
                        row, mask = rows[frame], mask | self._decode(rows[frame])
                    self._replace(change, edit, row, mask, outcome)
        with self._history.change(self._person) as change:
            is_prompted = other.id in change.state.session.objects
            do, fields = (
                ("remove", {"id": other.id}) if is_prompted else ("object", {"id": other.id, "gone": True})
            )
            step = change.add(do, fields, f"merge {other.name}", batch=outcome.batch)
            change.end(step.number, Result.object == other.id)
        outcome.step, outcome.objects = step, outcome.objects | {other.id}
        outcome.frames |= set(frames)

    def _split(self, edit: NewEdit, frames: Sequence[int], outcome: EditOutcome) -> None:
        """Pieces become separate objects; the object keeps its largest component on the first frame."""
        previous: dict[int, Mask] = {}
        parent = self._history.state.object(edit.object)
        for frame in frames:
            with self._history.change(self._person) as change:
                (row,) = self._rows(change, edit.object, [frame])
                components = split_components(self._decode(row), edit.amount)
                matched = match_components(
                    components, previous or {edit.object: components[0]}, count(change.state.next_id)
                )
                if set(matched) == {edit.object}:
                    previous |= matched
                    continue
                for id, mask in matched.items():
                    if id not in change.state.objects:
                        if len(change.state.objects) >= self._limits.objects:
                            raise limit_exceeded(
                                f"a video can have at most {self._limits.objects} objects. Remove islands "
                                "first."
                            )
                        part = f"{parent.name} part {len(outcome.objects | {edit.object}) + 1}"
                        fields = {"id": id, "name": part, "color": first_color(id), "label": parent.label}
                        outcome.step = change.add(
                            "object", fields, f"split {parent.name}", batch=outcome.batch
                        )
                        outcome.prompts.append((frame, id, mask))
                        outcome.objects.add(id)
                    elif (frame, id) not in [prompt[:2] for prompt in outcome.prompts]:
                        self._replace(change, edit, row, mask, outcome, id=id)
                # The object's mask without the components of new objects, even if it becomes empty.
                if edit.object not in matched:
                    self._replace(change, edit, row, np.zeros_like(components[0]), outcome)
                previous |= matched
                outcome.frames.add(frame)

    def _chunks(self, frames: Sequence[int]) -> Iterable[list[int]]:
        """The frames in groups, each as long as may be worked on in one transaction."""
        size, position = 1, 0
        while position < len(frames):
            began = time.monotonic()
            yield list(frames[position : position + size])
            position += size
            took = time.monotonic() - began
            size = max(1, min(256, int(size * COMMIT_SECONDS / max(took, 1e-3))))

    def _rows(self, change: Change, id: int, frames: Sequence[int]) -> list[Result]:
        where = holds_at(change.video, change.state.head), Result.object == id, Result.frame.in_(frames)
        return list(change.database.scalars(select(Result).where(*where).order_by(Result.frame)))

    def _decode(self, row: Result) -> Mask:
        return rle.decode({"size": list(self._size), "counts": row.counts})

    def _replace(
        self,
        change: Change,
        edit: NewEdit,
        row: Result,
        mask: Mask,
        outcome: EditOutcome,
        *,
        id: int | None = None,
    ) -> None:
        """Replace a row's mask by a new one, and keep the row's memory."""
        id = edit.object if id is None else id
        counts = rle.encode(mask)["counts"]
        if counts == row.counts and id == row.object:
            return
        if outcome.step is None or change.state.head != outcome.step.number:
            name = change.state.object(edit.object).name
            fields = {"id": edit.object, **edit.model_dump(exclude={"object"}, exclude_none=True)}
            outcome.step = change.add("edit", fields, f"{VERBS[edit.operation]} {name}", batch=outcome.batch)
        tensors = self._cache.get(change.database, [row.id])[row.id]
        edited = replace(
            tensors, answer=replace(tensors.answer, logits=_logits(tensors, mask)), is_exact=True
        )
        box = tight_box(mask)
        new = NewResult(
            object=id,
            frame=row.frame,
            prompted=row.prompted and id == row.object,
            anchor=row.anchor and id == row.object,
            counts=counts,
            box=None if box is None else [float(side) for side in box],
            iou=row.iou,
            score=row.score,
            confidence=row.confidence,
        )
        self._cache.put(change.put(outcome.step.number, new, edited.to_bytes()), edited)
        outcome.frames.add(row.frame)
        outcome.objects.add(id)


def _why_nothing_changed(edit: NewEdit, outcome: EditOutcome, *, has_masks: bool) -> str:
    last = edit.stop - 1
    where = f"frame {edit.start}" if last == edit.start else f"frames {edit.start} to {last}"
    if edit.operation == "copy" and not outcome.reviewed:
        return f"there is no mask on frame {edit.start} to copy. Click on the object there first."
    if not has_masks or edit.operation == "copy":
        why = "Reviewed frames keep their masks" if outcome.reviewed else "Track the object there first"
        return f"no mask changed on {where}. {why}."
    most = "1 % of the mask" if edit.amount is None else f"{int(edit.amount)} pixels"
    match edit.operation:
        case "fill":
            return f"no mask on {where} has a hole of up to {most}. Use a larger size to fill larger ones."
        case "drop":
            return (
                f"no mask on {where} has an island of up to {most}. Use a larger size to remove larger ones."
            )
        case "split":
            return f"each mask on {where} is one piece, except for specks of up to {most}."
    return f"the masks on {where} do not change. Use a larger number, or choose other frames."


def edit_mask(mask: Mask, operation: str, amount: float | None) -> Mask:
    """A mask after an edit that needs only this mask.

    Args:
        mask: bool (H, W).
        operation: fill, drop, grow or shrink.
        amount: Pixels: the area for fill and drop, the radius for grow and shrink; by default a small one.

    Example:
        >>> ring = np.pad(np.pad(np.zeros((1, 1), bool), 1, constant_values=True), 1)
        >>> int(edit_mask(ring, "fill", 1).sum()), int(edit_mask(ring, "grow", 1).sum())
        (9, 21)
    """
    area = int(amount) if amount is not None else max(1, round(SHARE * int(mask.sum())))
    if operation == "fill":
        return _in_window(mask, 1, lambda part: fill_holes(part, area))
    if operation == "drop":
        return _in_window(mask, 0, lambda part: drop_islands(part, area))
    radius = min(MAX_RADIUS, max(1, int(amount or 1)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    # OpenCV does not erode at the frame's edge: an object continues beyond it.
    change = cv2.dilate if operation == "grow" else cv2.erode
    return _in_window(mask, radius + 1, lambda part: change(part.astype(np.uint8), kernel).astype(bool))


def smooth_mask(masks: Mapping[int, Mask], frame: int, reach: int) -> Mask:
    """A frame's mask, averaged with its neighbours', which are shifted to a common centre.

    Args:
        masks: bool (H, W) by frame.
        frame: One of these frames.
        reach: Frames to either side.
    """
    mask = masks[frame]
    near = {at: other for at, other in masks.items() if abs(at - frame) <= reach and other.any()}
    if not mask.any() or len(near) < 2:
        return mask
    center = _center(mask)
    total, weights = np.zeros(mask.shape, dtype=np.float32), 0.0
    for at, other in near.items():
        shift = np.round(np.subtract(center, _center(other))).astype(int)
        weight = 1.0 - abs(at - frame) / (reach + 1)
        total += weight * _moved(other, int(shift[0]), int(shift[1]))
        weights += weight
    return total > weights / 2


def split_components(mask: Mask, amount: float | None) -> list[Mask]:
    """The components of a mask, the largest first.

    Args:
        mask: bool (H, W).
        amount: Components with fewer pixels stay with the largest; by default a small part of the mask.
    """
    number, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    least = int(amount) if amount is not None else max(1, round(SHARE * int(mask.sum())))
    order = sorted(range(1, number), key=lambda component: -areas[component - 1])
    large = order[:1] + [component for component in order[1:] if areas[component - 1] >= least]
    components = [labels == component for component in large]
    if not components:
        return [mask]
    small = [component for component in order if component not in large]
    if small:
        components[0] = components[0] | np.isin(labels, small)
    return components


def match_components(
    components: Sequence[Mask], previous: Mapping[int, Mask], new_ids: Iterable[int]
) -> dict[int, Mask]:
    """Assign components to objects: to the one whose last mask it overlaps most, otherwise to a new one.

    Args:
        components: bool (H, W) each.
        previous: The last masks by object.
        new_ids: For components that overlap none of them.

    Returns:
        The components by object.
    """
    shares = [
        (int((component & mask).sum()), number, id)
        for number, component in enumerate(components)
        for id, mask in previous.items()
    ]
    matched: dict[int, Mask] = {}
    taken: set[int] = set()
    for share, number, id in sorted(shares, key=lambda entry: -entry[0]):
        if share and number not in taken and id not in matched:
            matched[id] = components[number]
            taken.add(number)
    ids = iter(new_ids)
    for number, component in enumerate(components):
        if number not in taken:
            absent = [id for id in previous if id not in matched]  # it moved further than its size
            matched[absent[0] if absent else next(ids)] = component
    return matched


def _logits(tensors: ResultTensors, mask: Mask) -> torch.Tensor:
    """The low-res logits, changed where the edit changed the mask, so that clicks start from that mask."""
    logits = tensors.answer.logits
    height, width = logits.shape[-2:]
    cells = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0.5
    inside = torch.from_numpy(cells).to(logits.device).expand(logits.shape)
    return match_mask(logits, inside, EDITED_LOGIT)


def _in_window(mask: Mask, margin: int, change: Callable[[Mask], Mask]) -> Mask:
    """A change of a mask that needs only its box and a margin."""
    box = tight_box(mask)
    if box is None:
        return mask
    x0, y0, x1, y1 = (int(side) for side in box)
    rows = slice(max(0, y0 - margin), y1 + margin)
    columns = slice(max(0, x0 - margin), x1 + margin)
    changed = mask.copy()
    changed[rows, columns] = change(mask[rows, columns])
    return changed


def _center(mask: Mask) -> tuple[float, float]:
    """The row and column of the centre of the largest component."""
    _, _, stats, centers = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    x, y = centers[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
    return float(y), float(x)


def _moved(mask: Mask, down: int, right: int) -> Mask:
    """A mask shifted by whole pixels; pixels outside the frame are lost."""
    height, width = mask.shape
    moved = np.zeros_like(mask)
    source = mask[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    moved[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = source
    return moved


def _frame_test(spans: Sequence[tuple[int, int]]) -> Callable[[int], bool]:
    return lambda frame: any(start <= frame < stop for start, stop in spans)
