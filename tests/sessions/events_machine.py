"""Random events of a session, for hypothesis: what a person may do next, whatever was done before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from masklet.errors import PromptError
from masklet.sessions.object_state import ObjectState
from masklet.sessions.video import VideoSession
from masklet.types import Prompt

LENGTH = 7
frame_numbers = st.integers(0, LENGTH - 1)
ids = st.integers(1, 3)

prompts = st.tuples(
    st.sampled_from(["positive", "negative", "box", "mask"]), st.integers(0, 40), st.integers(0, 40)
)


def make_prompt(kind: str, x: int, y: int) -> Prompt:
    if kind == "positive":
        return Prompt(positive=[(x, y)])
    if kind == "negative":
        return Prompt(negative=[(x, y)])
    if kind == "box":
        return Prompt(box=(x, y / 2, x + 20, y / 2 + 20))
    mask = np.zeros((48, 64), dtype=bool)
    mask[y // 2 : y // 2 + 16, x : x + 16] = True
    return Prompt(mask=mask)


some_ids = st.none() | st.sets(ids, min_size=1)
actions = st.one_of(
    st.tuples(st.just("prompt"), frame_numbers, ids, prompts),
    st.tuples(st.just("prompt"), frame_numbers, ids, prompts),
    st.tuples(st.just("clear"), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.just("remove"), st.integers(0, 5)),
    st.tuples(
        st.just("propagate"),
        frame_numbers,
        st.integers(1, 4),
        st.booleans(),
        st.none() | st.sets(ids, min_size=1),
    ),
    st.tuples(st.just("propagate"), frame_numbers, st.integers(1, 4), st.booleans(), st.none()),
    st.tuples(st.just("continue"), st.integers(1, 3)),
    st.tuples(st.just("review"), frame_numbers, st.integers(1, 3), st.booleans()),
    st.tuples(st.just("undo")),
    st.tuples(st.just("redo")),
)
histories = st.lists(actions, min_size=4, max_size=14)


def prompted(objects: dict[int, ObjectState]) -> list[tuple[int, int]]:
    return [(frame, id) for id, obj in sorted(objects.items()) for frame in sorted(obj.prompts)]


def resolve(session: VideoSession, action: tuple) -> Callable[[VideoSession], object] | None:
    """What to do with a session, where the action makes sense there."""
    state = session.state
    match action:
        case ("prompt", frame, id, prompt):
            return lambda session: session.prompt(frame, id, make_prompt(*prompt))
        case ("clear", number, _):
            pairs = prompted(dict(state.objects))
            if pairs:
                frame, id = pairs[number % len(pairs)]
                return lambda session: session.clear(frame, id)
        case ("remove", number) if state.objects:
            id = sorted(state.objects)[number % len(state.objects)]
            return lambda session: session.remove(id)
        case ("propagate", start, count, reverse, some):
            objects = None if some is None else sorted(some & state.objects.keys())
            if state.objects and objects != []:
                stop = start - count if reverse else start + count
                return lambda session: list(session.propagate(start, stop, reverse=reverse, objects=objects))
        case ("continue", count):
            positions = [obj.position for obj in state.objects.values() if obj.position is not None]
            for at, reverse in positions[:1]:
                start = at - 1 if reverse else at + 1
                if 0 <= start < LENGTH:
                    stop = start - count if reverse else start + count
                    return lambda session: list(session.propagate(start, stop, reverse=reverse))
        case ("review", start, count, reviewed):
            return lambda session: session.review(start, min(start + count, LENGTH), reviewed=reviewed)
        case ("undo",) if session.script.events:
            return _if_possible(VideoSession.undo)
        case ("redo",):
            return _if_possible(VideoSession.redo)
    return None


def _if_possible(change: Callable[[VideoSession], None]) -> Callable[[VideoSession], object]:
    def run(session: VideoSession) -> object:
        try:
            change(session)
        except PromptError:
            return False
        return True

    return run
