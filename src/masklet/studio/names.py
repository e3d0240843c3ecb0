"""Ids that are made up, and names that people give."""

from __future__ import annotations

import re
import secrets
import string
import unicodedata

from masklet.studio.errors import Refusal

_LETTERS = string.ascii_lowercase + string.digits
COLOR = re.compile(r"#[0-9a-fA-F]{6}")


def new_id() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(12))


def tidy_name(name: str, length: int = 100) -> str:
    """A name as it is kept: one line, no control characters, not too long.

    >>> tidy_name("  a\\n dog ")
    'a dog'
    """
    visible = "".join(each if unicodedata.category(each)[0] != "C" else " " for each in name)
    tidy = " ".join(visible.split())[:length].rstrip()
    if not tidy:
        raise Refusal(422, "invalid", "a name needs at least one letter.")
    return tidy
