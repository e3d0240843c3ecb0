"""How sure the model is along a video, and where a person should look next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from masklet.studio.ledger import State, standing
from masklet.studio.object_history import Span, past_of
from masklet.studio.tables import Result

NEIGHBOURS = 12  # frames around one that was looked at


def strips(session: Session, video: str, state: State, start: int, stop: int, bins: int) -> dict[str, Any]:
    """Lowest confidence and share of absence of each object, over `bins` stretches of the frames."""
    length = stop - start
    bins = max(1, min(bins, length))
    # The last bin whose first frame, start + floor(bin * length / bins), is not behind this one.
    place = ((Result.frame - start + 1) * bins - 1) // length
    rows = session.execute(
        select(
            Result.object,
            place.label("bin"),
            func.min(Result.confidence),
            func.avg(case((Result.score <= 0, 1.0), else_=0.0)),
        )
        .where(standing(video, state.head), Result.frame >= start, Result.frame < stop)
        .group_by(Result.object, "bin")
    )
    confidence: dict[int, list[float | None]] = {id: [None] * bins for id in state.things}
    absent: dict[int, list[float]] = {id: [0.0] * bins for id in state.things}
    for id, at, lowest, share in rows:
        if id in confidence:
            confidence[id][at], absent[id][at] = lowest, round(float(share), 3)
    pasts = {id: past_of(state.steps, id) for id in state.things}
    return {
        "start": start,
        "stop": stop,
        "bins": bins,
        "objects": [
            {
                "object": id,
                "confidence": confidence[id],
                "absent": absent[id],
                "prompted": sorted(past.prompted) if past is not None else [],
            }
            for id, past in pasts.items()
        ],
        "reviewed": _shares(state.reviewed, start, stop, bins),
    }


def doubtful(session: Session, video: str, state: State, skip: Iterable[int]) -> dict[str, Any] | None:
    """The least certain place that nobody reviewed, prompted or looked at yet."""
    which = [standing(video, state.head), Result.prompted.is_(False), Result.object.in_(state.things)]
    which += [~Result.frame.between(begin, end - 1) for begin, end in state.reviewed]
    which += [~Result.frame.between(at - NEIGHBOURS, at + NEIGHBOURS) for at in skip]
    row = session.scalars(
        select(Result).where(*which).order_by(Result.confidence, Result.frame).limit(1)
    ).first()
    return None if row is None else {"frame": row.frame, "object": row.object, "confidence": row.confidence}


def _shares(spans: list[Span], start: int, stop: int, bins: int) -> list[float]:
    marked = np.zeros(stop - start)
    for begin, end in spans:
        marked[max(0, begin - start) : max(0, end - start)] = 1
    edges = np.arange(bins) * (stop - start) // bins
    sizes = np.diff(np.append(edges, stop - start))
    return [round(float(share), 3) for share in np.add.reduceat(marked, edges) / sizes]
