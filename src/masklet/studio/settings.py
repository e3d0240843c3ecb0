"""The settings of a studio, and the limits that protect the server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

GIB = 2**30
MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """The limits listed in docs/limits.md.

    Attributes:
        data_bytes: Uploads, exports and the database together.
        spare_bytes: Bytes that the data folder's disk must keep free.
        pixels: Of one frame.
        videos: In all projects together.
        queue: Prompts and images that wait for the model.
        live: Videos whose decoder and features are in memory; the least recently used is closed first.
        idle: Seconds after which an unused video is closed.
        features: Bytes of encoded frames, of all live videos together.
        decode_seconds: For one answer of a decoder.
        decode_bytes: Memory of a decoder in addition to that at its start.
    """

    upload_bytes: int = 4 * GIB
    image_bytes: int = 64 * MIB
    body_bytes: int = 8 * MIB
    data_bytes: int = 200 * GIB
    spare_bytes: int = GIB // 2
    pixels: int = 8192 * 4320
    frames: int = 500_000
    objects: int = 256
    videos: int = 1_000
    points: int = 200
    queue: int = 64
    person_queue: int = 16
    propagations: int = 8
    exports: int = 8
    uploads: int = 4
    sockets: int = 200
    live: int = 32
    idle: float = 600.0
    features: int = GIB // 2
    rows: int = 64 * MIB
    jpegs: int = 64 * MIB
    decode_seconds: float = 30.0
    decode_bytes: int = GIB
    export_days: float = 1.0


@dataclass(frozen=True)
class Settings:
    """The settings of a studio.

    Attributes:
        folder: The folder of videos to choose from; None for uploads only.
        data: Uploads, the database and caches.
        database: SQLAlchemy's URL; by default SQLite in the data folder.
        token: The token that every call must send; None only on loopback.
        hosts: Names under which browsers may call the server, besides its address.
        models: A folder of checkpoints that projects may use.
    """

    data: Path
    folder: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    database: str | None = None
    token: str | None = None
    hosts: tuple[str, ...] = ()
    models: Path | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data / 'studio.db'}"

    @property
    def uploads(self) -> Path:
        return self.data / "uploads"

    @property
    def exports(self) -> Path:
        return self.data / "exports"

    @property
    def spool(self) -> Path:
        """The folder for incoming files. Emptied at the start."""
        return self.data / "spool"

    @property
    def backups(self) -> Path:
        return self.data / "backups"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
