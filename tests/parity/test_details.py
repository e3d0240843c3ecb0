"""Each detail that docs/parity.md names is done, and leaving it out would be noticed."""

from __future__ import annotations

from itertools import islice

import pytest

from parity import original
from parity.details import DETAILS, Detail
from parity.scenarios import LENGTH, Ours, compare
from parity.trio import REVISIONS, Trio, stable_trios
from parity.weights import clip

NETWORKS = 3  # of each revision that are tried: with some weights a detail hardly matters


def noticed(detail: Detail, trio: Trio) -> bool:
    frames = clip(LENGTH)
    ours, theirs = Ours(trio.ours, frames), original.Video(trio.original, frames)
    with detail.otherwise():
        return any(not agreement.good for _, agreement, _ in compare(detail.scenario, ours, theirs))


@pytest.mark.parametrize("detail", DETAILS, ids=lambda detail: detail.name)
def test_leaving_a_detail_out_is_noticed(detail: Detail) -> None:
    """In one of the revisions: some details are the newer one's, some need masks that one network makes."""
    trios = (
        trio for revision in REVISIONS for trio in islice(stable_trios(revision, detail.scenario), NETWORKS)
    )
    assert any(noticed(detail, trio) for trio in trios)
