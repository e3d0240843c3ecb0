"""The calls for a video: metadata, frames, history, undo, and exports."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse

from masklet.media.readers.microscopy import PixelSize
from masklet.studio import schemas
from masklet.studio.errors import ApiError
from masklet.studio.inference.decoder import MAX_JPEG_SIDE, THUMBNAIL_HEIGHT
from masklet.studio.messages import ChangedEvent
from masklet.studio.problems import find_problems
from masklet.studio.requests import Frame, NewExport, Review, SeenVideo, VideoChange
from masklet.studio.routes import RequesterDep, StrictRoute, StudioDep
from masklet.studio.routes.seen_steps import check_seen_step
from masklet.studio.schemas import clean_name
from masklet.studio.store.object_history import EventRecord
from masklet.studio.store.tables import Video
from masklet.studio.store.video_history import person_names
from masklet.studio.studio import Studio
from masklet.studio.views import doubtful_view, find_video, history_view, mask_page, strips_view

router = APIRouter(route_class=StrictRoute, prefix="/videos/{video}")
exports_router = APIRouter(route_class=StrictRoute, tags=["exports"])

IMMUTABLE = {"cache-control": "private, max-age=31536000, immutable"}
PAGE_FRAMES = 256
ChannelNumber = Annotated[int | None, Query(ge=0)]
SeenStep = Annotated[str | None, Query(max_length=64)]
MAX_BINS = 4096
MAX_TIMES = 1024


@router.get("", tags=["videos"])
def video(studio: StudioDep, video: str) -> schemas.Video:
    """Everything that a page needs to draw a video, except masks."""
    return studio.video(video)


@router.patch("", tags=["videos"])
def change(studio: StudioDep, requester: RequesterDep, video: str, body: VideoChange) -> schemas.Video:
    """Change a file's name, state, people, channel or size of pixels.

    With another channel, existing masks are kept, and frames are encoded again.
    """
    name = None if body.name is None else clean_name(body.name, 220)
    if "channel" in body.model_fields_set:
        _change_channel(studio, requester, video, body.channel)
    if body.pixel_size:
        PixelSize.parse(body.pixel_size)
    with studio.database.begin() as session:
        row = find_video(session, video)
        if body.seen is not None:
            _check_seen(row, body, body.seen)
        is_renamed = name is not None and name != row.name
        row.name = row.name if name is None else name
        if body.state is not None:
            row.review = None if body.state == "auto" else body.state
        for role in ("assignee", "reviewer"):
            person = getattr(body, role)
            if person is not None:
                setattr(row, role, clean_name(person) if person.strip() else "")
        if body.pixel_size is not None:
            row.pixel_size = body.pixel_size.strip() or None
        project, file = row.project, row.name
    fields = sorted(body.model_fields_set - {"seen"})
    changes = [_change_words(field, getattr(body, field)) for field in fields]
    studio.audit(project, requester, ", ".join(changes) or "change nothing", file)
    if is_renamed or body.pixel_size is not None:
        studio.live.reopen(video)  # its exports have the new name and size
    if body.model_fields_set - {"seen", "channel"}:
        _publish_setting(studio, requester, video, "video", ", ".join(changes))
    return studio.video(video)


def _check_seen(row: Video, body: VideoChange, seen: SeenVideo) -> None:
    """Refuse to replace values that others have set since a person saw them."""
    for field in ("name", "assignee", "reviewer"):
        now, wanted, shown = getattr(row, field), getattr(body, field), getattr(seen, field)
        if wanted is not None and shown is not None and now not in (shown, wanted.strip()):
            raise ApiError(
                409,
                "changed",
                f"someone else set the {field} to {now or 'nobody'}: nothing was changed.",
            )


def _change_words(field: str, value: object) -> str:
    """A change as the project's history tells it.

    >>> _change_words("assignee", ""), _change_words("channel", 0), _change_words("channel", None)
    ('assignee nobody', 'channel 0', 'all channels')
    """
    if field == "channel":
        return "all channels" if value is None else f"channel {value}"
    if field == "pixel_size":
        return f"pixel size {value}" if value else "pixel size of the file"
    return f"{field} {value or 'nobody'}"


def _change_channel(studio: Studio, requester: RequesterDep, video: str, channel: int | None) -> None:
    if studio.propagations.get(video) is not None:
        raise ApiError(
            409, "busy", "this video is being tracked. Stop tracking before you choose another channel."
        )
    count = len(channels(studio, video).channels)
    if channel is not None and not count:
        raise ApiError(422, "invalid", "channel: this file has no channels. Leave it out.")
    if channel is not None and channel >= count:
        raise ApiError(422, "invalid", f"channel must be 0 to {count - 1}. Got {channel}.")
    with studio.database.begin() as session:
        find_video(session, video).channel = channel
    studio.live.reopen(video)
    title = "show all channels" if channel is None else f"show channel {channel}"
    _publish_setting(studio, requester, video, "channel", title)


def _publish_setting(studio: Studio, requester: RequesterDep, video: str, do: str, title: str) -> None:
    """Tell all who have a video open that something about it changed that is no step."""
    event = ChangedEvent(
        head=studio.live.history(video).state.head,
        do=do,
        title=title,
        person=requester.name,
        client=requester.client,
        frames=[],
        objects=[],
    )
    studio.hub.publish(video, event)


@router.get("/channels", tags=["videos"])
def channels(studio: StudioDep, video: str) -> schemas.Channels:
    """The axes of a TIFF's pages: channels, slices and time points."""
    with studio.database.begin() as session:
        row = find_video(session, video)
        is_tiff = row.place.lower().endswith((".tif", ".tiff"))
    axes, size = None, None
    if row.kind == "pictures" or is_tiff:
        with studio.live.using(video) as live:
            pages = live.decoder.stack()
        axes, size = pages["axes"], pages["pixel_size"]
    if axes is None:
        return schemas.Channels(channels=[], depth=None, time=None, seconds=[], pixel_size=None)
    names = axes["channels"] if len(axes["channels"]) > 1 else []
    words = None if size is None else str(PixelSize(*size))
    return schemas.Channels(
        channels=names,
        depth=axes["depth"],
        time=axes["time"],
        seconds=axes["seconds"],
        pixel_size=words,
    )


@router.get("/times", tags=["videos"])
def times(studio: StudioDep, video: str, start: Frame = 0, stop: Frame | None = None) -> schemas.FrameTimes:
    """The times of frames, at most 1024 frames at once."""
    with studio.live.using(video) as live:
        frames = len(live.frames)
        end = min(frames, start + MAX_TIMES, frames if stop is None else stop)
        _check_range(start, end, frames)
        seconds = live.decoder.times(start, end)
    return schemas.FrameTimes(seconds=[round(second, 4) for second in seconds])


@router.delete("", status_code=204, tags=["videos"])
def delete(studio: StudioDep, video: str) -> None:
    studio.delete_video(video)


@router.get("/frames/{frame}.jpg", response_class=Response, tags=["videos"])
def frame(
    studio: StudioDep,
    video: str,
    frame: Frame,
    width: Annotated[int | None, Query(ge=16, le=MAX_JPEG_SIDE)] = None,
    channel: ChannelNumber = None,
) -> Response:
    """A frame as JPEG, never larger than the source. It never changes, and can be cached forever.

    If a channel was selected, send its number, so that caches do not mix channels.
    """
    return _jpeg(studio, video, frame, width or MAX_JPEG_SIDE, MAX_JPEG_SIDE, channel)


@router.get("/thumbnails/{frame}.jpg", response_class=Response, tags=["videos"])
def thumbnail(studio: StudioDep, video: str, frame: Frame, channel: ChannelNumber = None) -> Response:
    """A frame as JPEG, 72 pixels high."""
    return _jpeg(studio, video, frame, 4 * THUMBNAIL_HEIGHT, THUMBNAIL_HEIGHT, channel)


def _jpeg(studio: Studio, video: str, frame: int, width: int, height: int, channel: int | None) -> Response:
    """An image of the shown channel, with a cache header if the request names that channel."""
    with studio.database.begin() as session:
        shown = find_video(session, video).channel
    key = (video, frame, width, height, shown)
    jpeg, is_current = studio.jpegs.get(key), True
    if jpeg is None:
        with studio.live.using(video) as live:
            jpeg = live.decoder.jpeg(frame, width, height)
            is_current = live.channel == shown
        if is_current:  # otherwise somebody has selected another channel
            studio.jpegs[key] = jpeg
    headers = IMMUTABLE if is_current and shown == channel else {"cache-control": "no-store"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)


@router.get("/masks", tags=["masks"])
def masks(
    studio: StudioDep, video: str, start: Frame = 0, stop: Frame | None = None, objects: str | None = None
) -> schemas.MaskPage:
    """The masks of frames, at most 256 frames at once. `objects=1,2` restricts it to some."""
    ids = None if objects is None else _parse_numbers(objects)
    with studio.live.history(video).read() as (session, state):
        return mask_page(session, video, state, start, stop, ids, PAGE_FRAMES)


@router.post("/undo", tags=["undo and redo"])
def undo(studio: StudioDep, requester: RequesterDep, video: str, step: SeenStep = None) -> schemas.Video:
    """Go back to before the last step. A propagation is stopped first.

    Everything is a step: prompts, candidates, clearings, each propagation as one, objects added, named,
    coloured, hidden and deleted, review marks. Nothing is computed again: the earlier masks are restored at
    once.

    Send the video's `undo_step` as `step`, empty for null, so that no step is undone that you have not seen.
    The answer is then status 409 if somebody else, or another tab, has made or undone a step, or is tracking.
    """
    return _move(studio, requester, video, "undone", step)


@router.post("/redo", tags=["undo and redo"])
def redo(studio: StudioDep, requester: RequesterDep, video: str, step: SeenStep = None) -> schemas.Video:
    """Redo the last undo. A new step after an undo ends redo. `step` is the `redo_step`, as for undo."""
    return _move(studio, requester, video, "redone", step)


def _move(
    studio: Studio, requester: RequesterDep, video: str, how: Literal["undone", "redone"], step: str | None
) -> schemas.Video:
    history = studio.live.history(video)
    if step is None:
        studio.propagations.stop(video)
    with history.lock:
        if step is not None:
            check_seen_step(studio, requester, video, how, step)
        record = history.undo(requester.id) if how == "undone" else history.redo(requester.id)
    return _publish_move(studio, requester, video, how, record)


def _publish_move(
    studio: Studio, requester: RequesterDep, video: str, how: Literal["undone", "redone"], step: EventRecord
) -> schemas.Video:
    view = studio.video(video)
    verb = "undo" if how == "undone" else "redo"
    studio.audit(view.project, requester, f"{verb} {step.title}", view.name)
    studio.publish_change(video, requester, step, [(0, view.frames)], [obj.id for obj in view.objects], how)
    return view


@router.get("/history", tags=["undo and redo"])
def history(
    studio: StudioDep, video: str, limit: Annotated[int, Query(ge=1, le=10_000)] = 100
) -> schemas.History:
    """The steps, newest first, and their authors."""
    with studio.live.history(video).read() as (session, state):
        names = person_names(session, {step.person for step in (*state.records, *state.redo)})
        return history_view(state, names, studio.step_clients.get, limit)


@router.get("/strips", tags=["confidence and review"])
def strips(
    studio: StudioDep,
    video: str,
    start: Frame = 0,
    stop: Frame | None = None,
    bins: Annotated[int, Query(ge=1, le=MAX_BINS)] = 1200,
) -> schemas.Strips:
    """The model's confidence in each object along the video.

    With no more frames than `bins`, one bin is one frame.
    """
    with studio.live.history(video).read() as (session, state):
        frames = find_video(session, video).frames
        end = frames if stop is None else min(stop, frames)
        _check_range(start, end, frames)
        return strips_view(session, video, state, start, end, bins)


@router.get("/doubtful", tags=["confidence and review"])
def doubtful(studio: StudioDep, video: str, skip: str = "") -> schemas.DoubtfulFrame | None:
    """The least certain frame that is neither prompted nor reviewed; null if there is none.

    `skip=41,87` leaves out the neighbourhood (up to 12 frames) of frames that were already checked.
    """
    frames = _parse_numbers(skip)
    with studio.live.history(video).read() as (session, state):
        return doubtful_view(session, video, state, frames)


@router.get("/problems", tags=["confidence and review"])
def problems(studio: StudioDep, video: str) -> schemas.ProblemList:
    """Frames to look at: objects that are lost, that jump, that overlap, or that the model doubts.

    Prompted and reviewed frames are left out.
    """
    with studio.live.history(video).read() as (session, state):
        row = find_video(session, video)
        return schemas.ProblemList(problems=find_problems(session, row, state))


@router.put("/reviewed", tags=["confidence and review"])
def review(studio: StudioDep, requester: RequesterDep, video: str, body: Review) -> schemas.Video:
    """Mark frames as reviewed, or remove the mark."""
    with studio.live.history(video).change(requester.id) as change:
        _check_range(body.start, body.stop, find_video(change.database, video).frames)
        one = body.stop == body.start + 1
        where = f"frame {body.start}" if one else f"frames {body.start} to {body.stop - 1}"
        title = f"mark {where} as reviewed" if body.reviewed else f"remove the review mark from {where}"
        step = change.add("review", body.model_dump(), title)
    studio.publish_change(video, requester, step, [], [])
    return studio.video(video)


@router.post("/exports", status_code=202, tags=["exports"])
def add_export(studio: StudioDep, video: str, body: NewExport) -> schemas.Export:
    """Write a file of the current masks. Finished files are kept for a day.

    `notes` of the finished export say which frames have no masks, which objects are left out because they are
    hidden, and whether the sound is in the file.
    """
    return studio.exports.start(video, body)


@exports_router.get("/exports/{export}")
def export(studio: StudioDep, export: str) -> schemas.Export:
    return studio.exports.view(studio.exports.get(export))


@exports_router.get("/exports/{export}/file", response_class=FileResponse)
def export_file(studio: StudioDep, export: str) -> FileResponse:
    """The file, as a download."""
    path = studio.exports.file(export)
    return FileResponse(path, filename=path.name, media_type="application/octet-stream")


def _check_range(start: int, stop: int, frames: int) -> None:
    if not 0 <= start < stop <= frames:
        raise ApiError(422, "invalid", f"start and stop must be from 0 to {frames}, with start first.")


def _parse_numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > 1000 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ApiError(422, "invalid", "numbers must be separated by commas, such as 1,2,3.")
    return [int(part[:9]) for part in parts]
