"""The WebSocket: everything that happens to a video, sent to all who have it open."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import TypeAdapter, ValidationError

from masklet.studio.errors import ApiError, as_api_error, public_message
from masklet.studio.inference.worker import Priority
from masklet.studio.messages import ErrorEvent, HelloEvent, PongEvent, ReadyEvent, Subscriber
from masklet.studio.requests import ClientEvent, LookEvent, PingEvent, parse_json
from masklet.studio.routes import get_studio
from masklet.studio.security import Requester
from masklet.studio.studio import Studio
from masklet.studio.views import find_video

router = APIRouter()

CLOSED_BEHIND = 4008
CLOSED_BUSY = 4029  # too many tabs; may be tried again
CLOSED_GONE = 4004
MAX_MESSAGE = 4096  # characters
MAX_REASON = 123  # bytes that a WebSocket's close frame has room for

_CLIENT_EVENT: TypeAdapter[ClientEvent] = TypeAdapter(ClientEvent)


@router.websocket("/videos/{video}/events")
async def events(socket: WebSocket, video: str) -> None:
    studio = get_studio(socket)
    await socket.accept()
    try:
        requester = await asyncio.to_thread(studio.people.identify, socket)
        history = await asyncio.to_thread(studio.live.history, video)
        length = await asyncio.to_thread(_length, studio, video)
        subscriber = Subscriber(requester.id, requester.name)
        studio.hub.subscribe(video, subscriber)
    except Exception as error:
        expected = as_api_error(error)
        if expected is None:
            raise
        await socket.close(CLOSED_GONE if expected.status == 404 else CLOSED_BUSY, close_reason(expected))
        return
    propagation = studio.propagations.get(video)
    hello = HelloEvent(
        head=history.state.head,
        people=studio.hub.people(video),
        propagation=None if propagation is None else propagation.view(),
        client=requester.client,
    )
    try:
        await socket.send_text(hello.model_dump_json())
        await _serve(socket, studio, video, length, requester, subscriber)
    except (WebSocketDisconnect, RuntimeError):
        pass  # the tab was closed
    finally:
        studio.hub.unsubscribe(video, subscriber)


def close_reason(error: ApiError) -> str:
    """An error's sentence, cut so that it fits into a close frame.

    >>> close_reason(ApiError(404, "missing", "there is no video é."))
    'There is no video é.'
    >>> len(close_reason(ApiError(404, "missing", "é" * 99)))
    61
    """
    return public_message(error).encode("utf-8", "replace")[:MAX_REASON].decode("utf-8", "ignore")


def _length(studio: Studio, video: str) -> int:
    """How many frames a video has."""
    with studio.database.begin() as session:
        return find_video(session, video).frames


async def _serve(
    socket: WebSocket,
    studio: Studio,
    video: str,
    length: int,
    requester: Requester,
    subscriber: Subscriber,
) -> None:
    """Send and receive until either ends; the other is then cancelled."""
    tasks = [
        asyncio.create_task(_send(socket, subscriber)),
        asyncio.create_task(_receive(socket, studio, video, length, requester, subscriber)),
    ]
    for task in tasks:
        task.add_done_callback(_retrieve_exception)  # also of the task that is not awaited
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


def _retrieve_exception(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()


async def _send(socket: WebSocket, subscriber: Subscriber) -> None:
    while (message := await subscriber.messages.get()) is not None:
        await socket.send_text(message)
    await socket.close(CLOSED_BEHIND, "the page missed events; fetch the video again")


async def _receive(
    socket: WebSocket,
    studio: Studio,
    video: str,
    length: int,
    requester: Requester,
    subscriber: Subscriber,
) -> None:
    while True:
        match _parse(await _receive_text(socket)):
            case PingEvent():
                await subscriber.messages.put(PongEvent().model_dump_json())
            case LookEvent(frame=frame) if frame < length:
                _encode(studio, video, requester, subscriber, frame)
            case _:
                message = f"Send look with a frame, 0 to {length - 1}, or ping."
                await subscriber.messages.put(ErrorEvent(error="invalid", message=message).model_dump_json())


async def _receive_text(socket: WebSocket) -> str:
    """The next message. Bytes, which no client should send, count as an empty one."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    return message.get("text") or ""


def _parse(text: str) -> ClientEvent | None:
    if len(text) > MAX_MESSAGE:
        return None
    try:
        return _CLIENT_EVENT.validate_python(parse_json(text), strict=True)
    except (ApiError, ValidationError):
        return None


def _encode(studio: Studio, video: str, requester: Requester, subscriber: Subscriber, frame: int) -> None:
    """Encode a frame ahead of a click, unless the person moves on before it is their turn."""
    studio.hub.show_frame(video, subscriber, frame)

    def encode() -> None:
        if subscriber.frame_in_view != frame:
            return
        with studio.live.using(video) as live:
            studio.inference.encode(live, frame)
        studio.hub.publish(video, ReadyEvent(frame=frame))

    try:
        studio.worker.call(requester.id, Priority.encode, encode)
    except ApiError:
        return  # the queue is full; the click will encode the frame
