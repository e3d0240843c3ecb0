"""Session files: what was written is read back; a damaged one is refused in a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masklet import MaskletError, Prompt
from masklet.sessions.events import Prompted, SavedSession, Script

SESSION = SavedSession("clip.mp4", (48, 64), None, 16, Script([Prompted(0, 1, Prompt(positive=[(3, 4)]))]))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    SESSION.write(tmp_path / "session.json")
    assert SavedSession.read(tmp_path / "session.json") == SESSION


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    SESSION.write(tmp_path / "session.json")
    text = (tmp_path / "session.json").read_text()
    (tmp_path / "session.json").write_text("\ufeff" + text, encoding="utf-8")
    assert SavedSession.read(tmp_path / "session.json") == SESSION


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(field=st.sampled_from(sorted({"masklet", *SavedSession.__dataclass_fields__})), value=JUNK)
def test_a_field_of_another_kind_is_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: Any
) -> None:
    path = tmp_path_factory.mktemp("saved") / "session.json"
    SESSION.write(path)
    content = {**json.loads(path.read_text()), field: value}
    path.write_text(json.dumps(content))
    try:
        session = SavedSession.read(path)
    except MaskletError:
        return
    assert isinstance(session.size[0], int) and isinstance(session.script, Script)


@given(at=st.integers(0, 200), junk=st.binary(max_size=4))
def test_changed_bytes_are_a_session_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, at: int, junk: bytes
) -> None:
    path = tmp_path_factory.mktemp("saved") / "session.json"
    SESSION.write(path)
    content = path.read_bytes()
    path.write_bytes(content[:at] + junk + content[at + 1 :])
    try:
        SavedSession.read(path)
    except MaskletError:
        return
