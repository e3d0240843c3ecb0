from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi", reason="the studio needs its extra: pip install 'masklet[studio]'")

from studio.small import Caller, make_studio


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    with Caller(make_studio(tmp_path_factory.mktemp("studio"))) as caller:
        yield caller
