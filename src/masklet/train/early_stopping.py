"""Steps whose gradient is not finite: a run passes them over, and gives up after many in a row."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from masklet.errors import MaskletError

log = logging.getLogger(__name__)

LIMIT = 50  # steps in a row, after which there is no hope


class Patience:
    """Counts the steps in a row that had no finite gradient."""

    def __init__(self) -> None:
        self.failed = 0

    def trusts(self, norm: float, loss: float, step: int, origins: Sequence[str] = ()) -> bool:
        """Whether the optimiser may take a step.

        norm : of the gradient
        origins : what the step learned from
        """
        if math.isfinite(norm):
            self.failed = 0
            return True
        self.failed += 1
        learned = f", from {', '.join(origins)}" if origins else ""
        log.warning("step %d has no finite gradient and is passed over (loss %s%s)", step, loss, learned)
        return False

    def check(self, step: int) -> None:
        """Raise MaskletError when there is no hope."""
        if self.failed >= LIMIT:
            raise MaskletError(
                f"{LIMIT} steps in a row, to step {step}, had no finite gradient. The checkpoint "
                "holds finite weights: lower the learning rate, or use precision 'no', and go on from it."
            )
