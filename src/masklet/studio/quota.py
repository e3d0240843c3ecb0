"""How much the studio keeps in all: uploads, exports, and what people made."""

from __future__ import annotations

import shutil
import time

from masklet.studio.database import Database
from masklet.studio.errors import too_much
from masklet.studio.settings import GIB, Settings

STALE = 5.0  # seconds after which it is measured anew


class Quota:
    """Measures the data folder and the database, and refuses what would let them grow too large."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._message: str | None = None
        self._measured = -STALE

    def check(self) -> None:
        """Raise a Refusal where nothing more may be kept."""
        if time.monotonic() - self._measured > STALE:
            self._message, self._measured = self._measure(), time.monotonic()
        if self._message is not None:
            raise too_much(self._message)

    def _measure(self) -> str | None:
        most, spare = self._settings.limits.data_bytes, self._settings.limits.spare_bytes
        kept = (self._settings.uploads, self._settings.exports)
        used = sum(each.stat().st_size for folder in kept for each in folder.rglob("*") if each.is_file())
        used += self._database.size()
        if used >= most:
            return (
                f"the studio keeps {used / GIB:.1f} GiB, and may keep up to {most / GIB:.1f} GiB. "
                "Delete videos that are done."
            )
        if shutil.disk_usage(self._settings.data).free < spare:
            return f"the server's disk has less than {spare / GIB:.1f} GiB left. Make room there first."
        return None
