"""The WebSocket: everything that happens to a video, told to all who look at it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from masklet.errors import MaskletError
from masklet.studio.errors import Refusal
from masklet.studio.hub import Watcher
from masklet.studio.people import Who
from masklet.studio.routes.common import FAR, studio_of
from masklet.studio.studio import Studio
from masklet.studio.worker import Line

router = APIRouter()

BEHIND = 4008
GONE = 4004
LONGEST = 4096  # characters of a message


@router.websocket("/videos/{video}/events")
async def events(socket: WebSocket, video: str) -> None:
    studio = studio_of(socket)
    await socket.accept()
    who = await asyncio.to_thread(studio.people.of, socket)
    watcher = Watcher(who.id, who.name)
    try:
        ledger = await asyncio.to_thread(studio.live.ledger, video)
        studio.hub.join(video, watcher)
    except MaskletError as error:
        await socket.close(GONE, str(error)[:120])
        return
    following = studio.followings.get(video)
    hello = {
        "type": "hello",
        "head": ledger.state.head,
        "people": studio.hub.people(video),
        "propagation": following and following.view(),
        "client": who.client,
    }
    try:
        await socket.send_json(hello)
        telling = asyncio.create_task(_tell(socket, watcher))
        hearing = asyncio.create_task(_hear(socket, studio, video, who, watcher))
        done, left = await asyncio.wait({telling, hearing}, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        for task in done:
            task.result()
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        studio.hub.leave(video, watcher)


async def _tell(socket: WebSocket, watcher: Watcher) -> None:
    while True:
        message = await watcher.messages.get()
        if message is None:
            await socket.close(BEHIND, "the page fell behind; fetch the video again")
            return
        await socket.send_text(json.dumps(message))


async def _hear(socket: WebSocket, studio: Studio, video: str, who: Who, watcher: Watcher) -> None:
    while True:
        message = _parsed(await _heard(socket))
        match message:
            case {"type": "ping"}:
                await watcher.messages.put({"type": "pong"})
            case {"type": "look", "frame": int(frame)} if 0 <= frame <= FAR:
                _look(studio, video, who, watcher, frame)
            case _:
                said = {"type": "error", "error": "invalid", "message": "send look with a frame, or ping."}
                await watcher.messages.put(said)


async def _heard(socket: WebSocket) -> str:
    """The next message; bytes, which nobody should send, are an empty one."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    return message.get("text") or ""


def _parsed(text: str) -> Any:
    if len(text) > LONGEST:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _look(studio: Studio, video: str, who: Who, watcher: Watcher, frame: int) -> None:
    """Have a frame encoded; whoever moved on meanwhile does not wait for it."""
    watcher.looking = frame

    def look() -> None:
        if watcher.looking != frame:
            return
        with studio.live.using(video) as live:
            studio.engine.look(live, frame)
        studio.hub.tell(video, {"type": "ready", "frame": frame})

    try:
        studio.worker.call(who.id, Line.look, look)
    except Refusal:
        return  # only a kindness; the click will do it
