"""Files that nobody should send: damaged, or other than they say."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image

from studio.small import make_clip

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".ts", ".png", ".jpg", ".gif", ".bmp", ".tif")
MAGIC = {
    "mp4": b"\x00\x00\x00\x20ftypisom",
    "mkv": b"\x1aE\xdf\xa3",
    "avi": b"RIFF\xff\xff\xff\xffAVI LIST",
    "ts": b"\x47",
    "flv": b"FLV\x01",
    "ogv": b"OggS",
    "wmv": b"0&\xb2u",
    "ivf": b"DKIF\x00\x00\x20\x00VP80",
    "mpg": b"\x00\x00\x01\xba",
    "h264": b"\x00\x00\x00\x01\x67",
    "png": b"\x89PNG\r\n\x1a\n",
    "jpg": b"\xff\xd8\xff\xe0",
    "gif": b"GIF89a",
    "bmp": b"BM",
    "tif": b"II*\x00",
    "webp": b"RIFF\xff\xff\xff\xffWEBPVP8 ",
}

File = tuple[str, bytes]  # name, content


def png_of(width: int, height: int, data: bytes, *, depth: int = 8, kind: int = 0) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def whole(kind: str) -> bytes:
    """A sound image, to be damaged."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(noise).save(file, format=kind)
    return file.getvalue()


def bombs() -> dict[str, File]:
    """Small files that say, or are, more than memory holds."""
    zeros = zlib.compress(bytes(20_000 * 2_500 + 20_000))
    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x00\x00\x00,"
    gif += struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\x00\x02\x01\x00\x00;"
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 1000, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    jpeg = bytearray(whole("JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    frame = b"FRAME\n"
    return {
        "a png that says 100000 x 100000": ("a.png", png_of(100_000, 100_000, zlib.compress(b""))),
        "a png that says 2**31 - 1": ("a.png", png_of(2**31 - 1, 2**31 - 1, zlib.compress(b""))),
        "a png of 400 megapixels of nothing": ("a.png", png_of(20_000, 20_000, zeros, depth=1)),
        "a png of no size": ("a.png", png_of(0, 0, zlib.compress(b""))),
        "a png named like a video": ("a.mp4", png_of(100_000, 100_000, zlib.compress(b""))),
        "a gif that says 65535 x 65535": ("a.gif", gif),
        "a bmp that says 60000 x 60000": ("a.bmp", bmp + bytes(64)),
        "a jpeg that says 65500 x 65500": ("a.jpg", bytes(jpeg)),
        "raw video that says 100000 x 100000": ("a.y4m", b"YUV4MPEG2 W100000 H100000 F25:1\n" + frame),
        "raw video that says 16000 x 16000": ("a.y4m", b"YUV4MPEG2 W16000 H16000 F25:1 C420jpeg\n" + frame),
        "raw video of no size": ("a.y4m", b"YUV4MPEG2 W0 H0 F25:1\n" + frame),
        "raw video of less than no size": ("a.y4m", b"YUV4MPEG2 W-5 H-5 F25:1\n" + frame),
        "raw video that ends": ("a.y4m", b"YUV4MPEG2 W64 H48 F25:1\n" + frame + b"\x00" * 10),
        "a zip named like an image": ("a.png", b"PK\x03\x04" + bytes(100)),
    }


def references() -> dict[str, File]:
    """Files that name other files and addresses, which a decoder might open."""
    listed = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    concat = "ffconcat version 1.0\nfile /etc/passwd\n"
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    session = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    return {
        "a playlist": ("a.mp4", listed.encode()),
        "a playlist by its name": ("a.m3u8", listed.encode()),
        "a list of files": ("a.mp4", concat.encode()),
        "a list of files as a transport stream": ("a.ts", concat.encode()),
        "a stream's description": ("a.mp4", session.encode()),
        "an image with a script": ("a.svg", svg.encode()),
        "an image with a script named like a png": ("a.png", svg.encode()),
        "a page": ("a.html", b"<script>alert(1)</script>"),
        "a program": ("a.exe", b"MZ" + bytes(100)),
        "an archive": ("a.zip", b"PK\x03\x04" + bytes(100)),
        "no suffix": ("video", whole("PNG")),
        "a hidden name": (".mp4", whole("PNG")),
        "a name of dots": ("...", whole("PNG")),
        "a suffix after a null": ("a.png\0.exe", whole("PNG")),
    }


def files(folder: Path) -> dict[str, File]:
    """Uploads none of which is a video or image."""
    random = np.random.default_rng(1).bytes(4000)
    video = make_clip(folder / "whole.mp4").read_bytes()
    files_by_name: dict[str, File] = {}
    for suffix in SUFFIXES:
        files_by_name[f"nothing{suffix}"] = f"a{suffix}", b""
        files_by_name[f"text{suffix}"] = f"a{suffix}", b"no video at all\n" * 50
    for suffix, magic in MAGIC.items():
        files_by_name[f"noise that begins as {suffix}"] = f"a.{suffix}", magic + random
        files_by_name[f"only how {suffix} begins"] = f"a.{suffix}", magic
    for length in (1, 7, 12, 40, 200, len(video) // 2, len(video) - 100):
        files_by_name[f"{length} bytes of an mp4"] = "a.mp4", video[:length]
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp")):
        for share in (0.02, 0.5):
            files_by_name[f"{share:.0%} of a {suffix}"] = (
                f"a.{suffix}",
                whole(kind)[: int(share * len(whole(kind)))],
            )
    return files_by_name | bombs() | references()
