"""What nobody should send: files that are damaged or lie, paths that lead elsewhere, senseless messages."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from studio.small import make_clip

NAN, HUGE, DEEP = float("nan"), 10**30, "[" * 50_000
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
    """A sound picture, to be damaged."""
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
        "a png said to be a video": ("a.mp4", png_of(100_000, 100_000, zlib.compress(b""))),
        "a gif that says 65535 x 65535": ("a.gif", gif),
        "a bmp that says 60000 x 60000": ("a.bmp", bmp + bytes(64)),
        "a jpeg that says 65500 x 65500": ("a.jpg", bytes(jpeg)),
        "raw video that says 100000 x 100000": ("a.y4m", b"YUV4MPEG2 W100000 H100000 F25:1\n" + frame),
        "raw video that says 16000 x 16000": ("a.y4m", b"YUV4MPEG2 W16000 H16000 F25:1 C420jpeg\n" + frame),
        "raw video of no size": ("a.y4m", b"YUV4MPEG2 W0 H0 F25:1\n" + frame),
        "raw video of less than no size": ("a.y4m", b"YUV4MPEG2 W-5 H-5 F25:1\n" + frame),
        "raw video that ends": ("a.y4m", b"YUV4MPEG2 W64 H48 F25:1\n" + frame + b"\x00" * 10),
        "a zip said to be a picture": ("a.png", b"PK\x03\x04" + bytes(100)),
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
        "a picture with a script": ("a.svg", svg.encode()),
        "a picture with a script said to be a png": ("a.png", svg.encode()),
        "a page": ("a.html", b"<script>alert(1)</script>"),
        "a program": ("a.exe", b"MZ" + bytes(100)),
        "an archive": ("a.zip", b"PK\x03\x04" + bytes(100)),
        "no suffix": ("video", whole("PNG")),
        "a hidden name": (".mp4", whole("PNG")),
        "a name of dots": ("...", whole("PNG")),
        "a suffix after a null": ("a.png\0.exe", whole("PNG")),
    }


def files(folder: Path) -> dict[str, File]:
    """Uploads none of which is a video or picture."""
    random = np.random.default_rng(1).bytes(4000)
    video = make_clip(folder / "whole.mp4").read_bytes()
    found: dict[str, File] = {}
    for suffix in SUFFIXES:
        found[f"nothing{suffix}"] = f"a{suffix}", b""
        found[f"text{suffix}"] = f"a{suffix}", b"no video at all\n" * 50
    for suffix, magic in MAGIC.items():
        found[f"noise that begins as {suffix}"] = f"a.{suffix}", magic + random
        found[f"only how {suffix} begins"] = f"a.{suffix}", magic
    for length in (1, 7, 12, 40, 200, len(video) // 2, len(video) - 100):
        found[f"{length} bytes of an mp4"] = "a.mp4", video[:length]
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp")):
        for share in (0.02, 0.5):
            found[f"{share:.0%} of a {suffix}"] = f"a.{suffix}", whole(kind)[: int(share * len(whole(kind)))]
    return found | bombs() | references()


PATHS = (
    "..",
    "../",
    "../..",
    "../data/studio.db",
    "./../data",
    "pictures/../../data/studio.db",
    "/",
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/environ",
    "~",
    "~root",
    "%2e%2e",
    "%2e%2e%2fdata%2fstudio.db",
    "..%2fdata",
    "%252e%252e%252fdata",
    "..\\data\\studio.db",
    "C:\\windows",
    "\\\\host\\share",
    "file:///etc/passwd",
    "http://127.0.0.1/a.mp4",
    "blots.mp4/../../data/studio.db",
    "blots.mp4/inside",
    "out",
    "out/studio.db",
    "passwd.mp4",
    ".hidden",
    ".hidden/a.mp4",
    "a\0.mp4",
    "\0",
    "a" * 5000,
    "a/" * 3000,
    "....//....//data",
    "..;/data",
    "\u2025/data",
    "con.mp4",
)

ADDRESSES = (
    "/../settings.py",
    "/..%2f..%2fsettings.py",
    "/%2e%2e/app.py",
    "/%2e%2e%2fapp.py",
    "/lib/%2e%2e/%2e%2e/app.py",
    "//etc/passwd",
    "/%00",
    "/.git/config",
    "/~root",
    "/api",
    "/api/nothing",
    "/api/folder?path=%00",
    "/api/projects/../../etc/passwd",
    "/api/projects/%2e%2e",
    "/api/projects/" + "a" * 5000,
    "/api/projects/%3Cscript%3E",
    "/api/projects/1%20OR%201=1",
    "/api/videos/none",
    "/api/videos/%27%3B%20DROP%20TABLE%20video",
    "/api/videos/none/masks",
    "/api/videos/none/history",
    "/api/videos/none/strips",
    "/api/videos/none/frames/0.jpg",
    "/api/videos/none/propagation/x",
    "/api/exports/none",
    "/api/exports/none/file",
    "/api/exports/%2e%2e%2f%2e%2e/file",
    "VIDEO/frames/-1.jpg",
    "VIDEO/frames/8.jpg",
    "VIDEO/frames/99999999999999999999.jpg",
    "VIDEO/frames/one.jpg",
    "VIDEO/frames/1.5.jpg",
    "VIDEO/frames/0.jpg?width=0",
    "VIDEO/frames/0.jpg?width=1000000",
    "VIDEO/frames/0.jpg?width=nan",
    "VIDEO/thumbnails/-1.jpg",
    "VIDEO/thumbnails/8.jpg",
    "VIDEO/masks?start=-1",
    "VIDEO/masks?start=x",
    "VIDEO/masks?stop=1e9",
    "VIDEO/masks?objects=a,b",
    "VIDEO/masks?objects=" + "1," * 2000,
    "VIDEO/strips?bins=0",
    "VIDEO/strips?bins=1000000000",
    "VIDEO/strips?start=8",
    "VIDEO/doubtful?skip=x",
    "VIDEO/history?limit=0",
    "VIDEO/prompts/0/99",
    "VIDEO/prompts/-1/1",
    "VIDEO/prompts/x/y",
)

_FRAMES: tuple[Any, ...] = (-1, 8, 10**9, HUGE, "x", None, 0.5, NAN, [], {})
_OBJECTS: tuple[Any, ...] = (0, -1, HUGE, "x", None, NAN, 1.5)
_CLICKS: tuple[Any, ...] = (
    "x",
    5,
    {},
    [5],
    [[1]],
    [[1, 2, 3]],
    [["a", "b"]],
    [[NAN, 1]],
    [[float("inf"), 1]],
    [[-5, 3]],
    [[64, 3]],
    [[1e308, 1]],
    [[1, 1]] * 1000,
    [[[1, 1]]],
    [None],
)
_BOXES: tuple[Any, ...] = (
    "x",
    [],
    [1, 2, 3],
    [1, 2, 3, 4, 5],
    [9, 9, 1, 1],
    [5, 5, 5, 5],
    [NAN] * 4,
    [900, 900, 990, 990],
    {"x": 1},
)
_MASKS: tuple[Any, ...] = (
    5,
    "x",
    {},
    {"size": [48, 64]},
    {"size": [1, 1], "counts": "1"},
    {"size": [48], "counts": "1"},
    {"size": [-48, -64], "counts": "1"},
    {"size": [48, 64], "counts": "~~~~"},
    {"size": [48, 64], "counts": "o"},
    {"size": [48, 64], "counts": ""},
    {"size": [48, 64], "counts": "1" * 100_000},
    {"size": [48, 64], "counts": "\u00e9"},
    {"size": [48, 64], "counts": []},
    {"size": [48, 64], "counts": [1, 2]},
    {"size": [48, 64], "counts": [-1, 3073]},
    {"size": [48, 64], "counts": [HUGE]},
    {"size": [48, 64], "counts": [3072, "x"]},
    {"size": [48, 64], "counts": [NAN]},
    {"size": [10**9, 10**9], "counts": [10**18]},
    {"size": [0, 0], "counts": []},
    {"size": [64, 48], "counts": [3072]},
)

Message = tuple[str, str, Any]  # method, address below the video's, body


def messages() -> list[Message]:
    """Requests about a video of 8 frames, 64 x 48 pixels, with one object and nothing being followed."""
    good = {"frame": 0, "object": 1, "positive": [[20, 24]]}
    prompts: list[Any] = [{**good, "frame": each} for each in _FRAMES]
    prompts += [{**good, "object": each} for each in _OBJECTS]
    prompts += [{**good, "positive": each} for each in _CLICKS]
    prompts += [{"frame": 0, "object": 1, "box": each} for each in _BOXES]
    prompts += [{"frame": 0, "object": 1, "mask": each} for each in _MASKS]
    prompts += [{}, [], 5, "x", None, {"frame": 0, "object": 1}, {"frame": 0}, {"object": 1}]
    courses: list[Any] = [
        {"direction": "up"},
        {"start": -1},
        {"start": 8},
        {"start": HUGE},
        {"start": "x"},
        {"stop": -2},
        {"start": 4, "stop": 2},
        {"objects": []},
        {"objects": [0]},
        {"objects": [99]},
        {"objects": "1"},
        {"scope": "some"},
        {"resume": "perhaps"},
        {"resume": True},
    ]
    looks = [
        {"name": ""},
        {"name": "  "},
        {"name": "\u0000"},
        {"name": 5},
        {"name": ["a"]},
        {"color": "red"},
        {"color": "#12345"},
        {"color": "#gggggg"},
        {"color": "url(x)"},
        {"color": 5},
    ]
    marks = [
        {"start": -1, "stop": 2, "reviewed": True},
        {"start": 4, "stop": 2, "reviewed": True},
        {"start": 0, "stop": 9, "reviewed": True},
        {"start": "x", "stop": 2, "reviewed": True},
        {"start": 0, "stop": 2, "reviewed": "perhaps"},
        {},
    ]
    wishes = [{"format": "exe"}, {"format": 5}, {}, {"format": "coco", "objects": [99]}, {"format": "../x"}]
    choices = [{"frame": 0, "object": 1, "rank": each} for each in (3, -1, "x", NAN)]
    choices.append({"frame": 7, "object": 1, "rank": 0})
    return [
        *(("POST", "/prompts", each) for each in prompts),
        *(("POST", "/propagation", each) for each in courses),
        *(("POST", "/objects", each) for each in looks),
        *(("PATCH", "/objects/1", each) for each in looks),
        *(("PUT", "/reviewed", each) for each in marks),
        *(("POST", "/exports", each) for each in wishes),
        *(("POST", "/candidates", each) for each in choices),
        ("DELETE", "/prompts/7/1", None),
        ("DELETE", "/prompts/0/99", None),
        ("DELETE", "/objects/99", None),
        ("PATCH", "/objects/x", {"name": "a"}),
        ("DELETE", "/propagation", None),
        ("PATCH", "", {"name": ""}),
        ("POST", "", {}),
        ("PUT", "/prompts", good),
    ]


# Of no video: method, address, body.
ELSEWHERE: tuple[Message, ...] = (
    *(("POST", "/api/projects", {"name": each}) for each in ("", 7, None)),
    ("POST", "/api/projects", {"name": "a", "policy": "x"}),
    ("POST", "/api/projects", {"name": "a", "policy": "long"}),
    ("PATCH", "PROJECT", {"name": ""}),
    ("PATCH", "PROJECT", {"policy": "x"}),
    ("POST", "PROJECT/videos", {}),
    ("POST", "PROJECT/uploads", {"file": "a.mp4"}),
    *(("POST", f"/api/projects/{each}/videos", {"path": "blots.mp4"}) for each in ("x", "%27", "%2e%2e")),
    ("DELETE", "/api/projects/x", None),
    *(("PUT", "/api/me", each) for each in ({}, {"name": ""}, {"name": 5})),
    ("POST", "/api/about", {}),
    ("POST", "/api/image", {}),
    ("DELETE", "/api/videos/none", None),
    ("POST", "/api/videos/none/prompts", {"frame": 0, "object": 1, "positive": [[1, 1]]}),
    ("POST", "/api/videos/none/undo", {}),
)


BODIES = (
    b"",
    b"{",
    b"null",
    b"\xff\xfe\x00",
    DEEP.encode(),
    b"{" * 1000,
    b'{"frame": 1' + b"0" * 5000 + b"}",
    b"0" * 9_000_000,
)

SAID = (
    "",
    "x",
    "{",
    "null",
    "5",
    "[]",
    DEEP,
    "{}",
    '{"type": 5}',
    '{"type": "dance"}',
    '{"type": "look"}',
    '{"type": "look", "frame": -1}',
    '{"type": "look", "frame": "x"}',
    '{"type": "look", "frame": null}',
    '{"type": "look", "frame": NaN}',
    '{"type": "look", "frame": 1e99}',
    '{"type": "look", "frame": ' + "9" * 300 + "}",
    '{"type": "look", "frame": [0]}',
    '{"type": "look", "frame": 0.5}',
    '{"type": ["ping"]}',
    "x" * 20_000,
    b"",
    b"\x00\xff\xfe",
    b'{"type": "look", "frame": 0}',
)
