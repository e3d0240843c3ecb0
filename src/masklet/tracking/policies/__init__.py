"""Memory rules by name. Each is a small file; `docs/policies.md` says which is best at what."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from masklet.errors import MaskletError
from masklet.tracking.bank import MemoryPolicy, Recency
from masklet.tracking.policies.dam4sam import Dam4Sam
from masklet.tracking.policies.gated import Gated
from masklet.tracking.policies.sam2long import Long
from masklet.tracking.policies.samurai import Samurai

Policy = str | Callable[[], MemoryPolicy]

POLICIES: dict[str, Callable[[], MemoryPolicy]] = {
    "recency": Recency,
    "gated": Gated,
    "samurai": Samurai,
    "dam4sam": Dam4Sam,
    "long": Long,
}


def find_policy(policy: Policy) -> Callable[[], MemoryPolicy]:
    """What makes the policy of each object: by its name, or what was given, if it can be called."""
    if callable(policy):
        return policy
    if policy in POLICIES:
        return POLICIES[policy]
    near = difflib.get_close_matches(str(policy).lower(), POLICIES, cutoff=0.5)
    meant = f" Did you mean {' or '.join(near)}?" if near else ""
    raise MaskletError(
        f"policy must be one of {', '.join(POLICIES)}, or make a MemoryPolicy when called. "
        f"Got {policy!r}.{meant}"
    )
