"""The sound of a video: cut out of a source, and put into an exported video."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from masklet.errors import MediaError

MAX_SOUND_BYTES = 512 * 2**20
MP4_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus"})


def copy_sound(path: Path, start: float, stop: float) -> bytes | None:
    """Copy the first audio stream from one second of a file to another, without encoding it again.

    Returns:
        A Matroska file of the stream, whose times count from `start`. None where there is no sound.
    """
    buffer = BytesIO()
    packets = 0
    with av.open(str(path)) as source:
        if not source.streams.audio:
            return None
        stream = source.streams.audio[0]
        with av.open(buffer, "w", format="matroska") as copy:
            output = copy.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.pts is None or packet.time_base is None:
                    continue
                seconds = packet.pts * packet.time_base
                if not start <= seconds < stop:
                    continue
                _shift(packet, Fraction(start).limit_denominator(10**6))
                packet.stream = output
                copy.mux(packet)
                packets += 1
                if buffer.tell() > MAX_SOUND_BYTES:
                    raise MediaError(f"the sound of {path.name} is longer than can be copied.")
    return buffer.getvalue() if packets else None


def add_sound(video: Path, sound: bytes) -> bool:
    """Put a sound, as `copy_sound` made it, beside the pictures of an MP4 file.

    Returns:
        False where MP4 cannot hold a sound of this kind. The file is then left as it was.
    """
    part = video.with_name(f"{video.stem}.sound{video.suffix}")
    try:
        with av.open(str(video)) as pictures, av.open(BytesIO(sound), "r") as audio:
            codec = audio.streams.audio[0].codec.canonical_name
            if not codec.startswith("pcm_") and codec not in MP4_CODECS:
                return False
            with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as output:
                shown = output.add_stream_from_template(pictures.streams.video[0])
                if codec.startswith("pcm_"):
                    heard = output.add_stream("aac", rate=audio.streams.audio[0].rate)
                    sounds = _encode(audio, heard)
                else:
                    heard = output.add_stream_from_template(audio.streams.audio[0])
                    sounds = _packets(audio, audio.streams.audio[0])
                frames = _packets(pictures, pictures.streams.video[0])
                merged = heapq.merge(
                    ((_seconds(packet), 0, packet) for packet in frames),
                    ((_seconds(packet), 1, packet) for packet in sounds),
                    key=lambda entry: entry[:2],
                )
                for _, index, packet in merged:
                    packet.stream = (shown, heard)[index]
                    output.mux(packet)
        part.replace(video)
    finally:
        part.unlink(missing_ok=True)
    return True


def _packets(container: InputContainer, stream: av.VideoStream | AudioStream) -> Iterator[Packet]:
    return (packet for packet in container.demux(stream) if packet.dts is not None)


def _encode(container: InputContainer, output: AudioStream) -> Iterator[Packet]:
    for frame in container.decode(audio=0):
        yield from output.encode(frame)
    yield from output.encode(None)


def _seconds(packet: Packet) -> float:
    assert packet.dts is not None and packet.time_base is not None
    return float(packet.dts * packet.time_base)


def _shift(packet: Packet, seconds: Fraction) -> None:
    """Let a packet's times count from a second of its stream."""
    assert packet.time_base is not None
    ticks = int(seconds / packet.time_base)
    if packet.pts is not None:
        packet.pts -= ticks
    if packet.dts is not None:
        packet.dts -= ticks
