"""Each detail that docs/parity.md names is done, and leaving it out would be noticed."""

from __future__ import annotations

import pytest

from masklet.config import Revision
from parity import original
from parity.details import DETAILS, Detail
from parity.scenarios import LENGTH, Ours, compare
from parity.trio import REVISIONS, trio_of
from parity.weights import clip


def noticed(detail: Detail, revision: Revision) -> bool:
    trio, frames = trio_of(revision, detail.scenario), clip(LENGTH)
    ours, theirs = Ours(trio.ours, frames), original.Video(trio.original, frames)
    with detail.otherwise():
        return any(not agreement.good for _, agreement, _ in compare(detail.scenario, ours, theirs))


@pytest.mark.parametrize("detail", DETAILS, ids=lambda detail: detail.name)
def test_leaving_a_detail_out_is_noticed(detail: Detail) -> None:
    """In one of the revisions: some details are the newer one's, some need masks that one network makes."""
    assert any(noticed(detail, revision) for revision in REVISIONS)
