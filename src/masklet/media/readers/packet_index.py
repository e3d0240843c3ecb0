"""A video's index, read from packets: when frames are shown, and where decoding can start."""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

import av
from av.packet import Packet


class PacketIndex:
    """Presentation times (pts) of a video's frames and keyframes, in order; read only as far as needed.

    exact : False where packets carry no usable times, as in a raw H.264 file; then nothing here is right
    """

    def __init__(self, packets: Iterator[Packet]) -> None:
        self.exact = True
        self._packets = packets
        self._shown = array("q")
        self._keys = array("q")
        self._pending: list[int] = []  # read, but a frame shown earlier may still follow

    def shown(self, frame: int) -> int | None:
        """The pts of a frame, or None behind the last."""
        while len(self._shown) <= frame and self._read_packet():
            pass
        return self._shown[frame] if frame < len(self._shown) else None

    def frame_at(self, pts: int) -> int:
        """The frame on show at a time; -1 before the first."""
        while (not self._shown or self._shown[-1] <= pts) and self._read_packet():
            pass
        return bisect_right(self._shown, pts) - 1

    def frame_of(self, pts: int | None) -> int | None:
        """The frame that is first shown at exactly this time."""
        if pts is None:
            return None
        frame = self.frame_at(pts)
        return frame if frame >= 0 and self._shown[frame] == pts else None

    def keys_before(self, pts: int) -> list[int]:
        """The last few keyframes from which a frame can be decoded, the nearest first."""
        self.frame_at(pts)
        end = bisect_right(self._keys, pts)
        return list(reversed(self._keys[max(0, end - 3) : end]))

    def count(self) -> int:
        while self._read_packet():
            pass
        return len(self._shown)

    def _read_packet(self) -> bool:
        """Read one packet; False at the end."""
        try:
            packet = next(self._packets, None)
        except av.FFmpegError:  # a file that breaks off: what was read is what there is
            packet = None
        if packet is None:
            while self._pending:
                self._add_first_pending()
            self._packets = iter(())
            return False
        if not packet.size or packet.is_discard:  # no picture, or cut away by the container's edit list
            return True
        if packet.pts is None:
            self.exact = False
            return True
        heapq.heappush(self._pending, packet.pts)
        if packet.is_keyframe:
            self._keys.insert(bisect_left(self._keys, packet.pts), packet.pts)
        # Nothing that follows is shown before its own decoding time.
        while packet.dts is not None and self._pending and self._pending[0] <= packet.dts:
            self._add_first_pending()
        return True

    def _add_first_pending(self) -> None:
        pts = heapq.heappop(self._pending)
        if self._shown and pts <= self._shown[-1]:
            self.exact = False  # two frames at one time, or times that run backwards
            return
        self._shown.append(pts)
