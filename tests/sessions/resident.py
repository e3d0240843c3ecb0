"""What a process holds, less what the allocator merely keeps at hand: pages that it gives back when asked.

How many those are depends on chance, and is megabytes; what is told apart here are kilobytes a frame.
"""

from __future__ import annotations

import ctypes
import gc

import psutil


def resident() -> int:
    """Resident bytes of this process."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # of glibc alone
        libc.malloc_trim(0)
    return psutil.Process().memory_info().rss
