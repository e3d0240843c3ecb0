"""Memory policies by name. `docs/policies.md` compares them.

The names are available without importing torch, for command lines and their help.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from masklet.errors import MaskletError

if TYPE_CHECKING:
    from masklet.tracking.policies.recency import MemoryPolicy

_CLASSES = {
    "recency": "recency.Recency",
    "gated": "gated.Gated",
    "samurai": "samurai.Samurai",
    "dam4sam": "dam4sam.Dam4Sam",
    "sam2long": "sam2long.Sam2Long",
}
_ALIASES = {"long": "sam2long"}  # names of earlier versions

POLICIES = tuple(_CLASSES)


def find_policy(policy: str | Callable[[], MemoryPolicy]) -> Callable[[], MemoryPolicy]:
    """Find the factory of a policy.

    Args:
        policy: A name, or a callable that creates a `MemoryPolicy`, which is returned as it is.

    Raises:
        MaskletError: There is no policy with this name.

    Example:
        >>> find_policy("recency")().latency, find_policy("sam2long")().resumable
        (0, False)
    """
    if callable(policy):
        return policy
    place = _CLASSES.get(_ALIASES.get(policy, policy)) if isinstance(policy, str) else None
    if place is None:
        near = difflib.get_close_matches(str(policy).lower(), POLICIES, cutoff=0.5)
        suggestion = f" Did you mean {' or '.join(near)}?" if near else ""
        raise MaskletError(
            f"policy must be one of {', '.join(POLICIES)}, or a callable that returns a MemoryPolicy. Got "
            f"{policy!r}.{suggestion}"
        )
    module, name = place.split(".")
    make: Callable[[], MemoryPolicy] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return make


if TYPE_CHECKING:
    Policy = str | Callable[[], MemoryPolicy]
else:
    Policy = str | Callable  # importing the class here would import torch
