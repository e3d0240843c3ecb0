"""What callers hand to sessions as a model."""

from __future__ import annotations

from masklet.errors import MaskletError
from masklet.model import Sam2


def check_model(model: object) -> Sam2:
    """A network.

    Raises:
        MaskletError: It is something else, such as a path.
    """
    if not isinstance(model, Sam2):
        raise MaskletError(
            f"model must be a network, as masklet.load(...) returns it. Got {type(model).__name__}."
        )
    return model
