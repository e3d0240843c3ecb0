"""What nobody should send: paths that lead elsewhere, senseless messages. `hostile_files.py` has files."""

from __future__ import annotations

from typing import Any

NAN, HUGE, DEEP = float("nan"), 10**30, "[" * 50_000

PATHS = (
    "..",
    "../",
    "../..",
    "../data/studio.db",
    "./../data",
    "images/../../data/studio.db",
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
    prompts: list[Any] = [{**good, "frame": frame} for frame in _FRAMES]
    prompts += [{**good, "object": obj} for obj in _OBJECTS]
    prompts += [{**good, "positive": clicks} for clicks in _CLICKS]
    prompts += [{"frame": 0, "object": 1, "box": box} for box in _BOXES]
    prompts += [{"frame": 0, "object": 1, "mask": mask} for mask in _MASKS]
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
    choices = [{"frame": 0, "object": 1, "rank": rank} for rank in (3, -1, "x", NAN)]
    choices.append({"frame": 7, "object": 1, "rank": 0})
    return [
        *(("POST", "/prompts", body) for body in prompts),
        *(("POST", "/propagation", body) for body in courses),
        *(("POST", "/objects", body) for body in looks),
        *(("PATCH", "/objects/1", body) for body in looks),
        *(("PUT", "/reviewed", body) for body in marks),
        *(("POST", "/exports", body) for body in wishes),
        *(("POST", "/candidates", body) for body in choices),
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
OTHER_MESSAGES: tuple[Message, ...] = (
    *(("POST", "/api/projects", {"name": name}) for name in ("", 7, None)),
    ("POST", "/api/projects", {"name": "a", "policy": "x"}),
    ("POST", "/api/projects", {"name": "a", "policy": "long"}),
    ("PATCH", "PROJECT", {"name": ""}),
    ("PATCH", "PROJECT", {"policy": "x"}),
    ("POST", "PROJECT/videos", {}),
    ("POST", "PROJECT/uploads", {"file": "a.mp4"}),
    *(
        ("POST", f"/api/projects/{project}/videos", {"path": "blots.mp4"})
        for project in ("x", "%27", "%2e%2e")
    ),
    ("DELETE", "/api/projects/x", None),
    *(("PUT", "/api/me", body) for body in ({}, {"name": ""}, {"name": 5})),
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

WEBSOCKET_MESSAGES = (
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
    '{"type": "look", "frame": 8}',  # the video has 8 frames
    '{"type": "look", "frame": 10000000}',
    '{"type": ["ping"]}',
    "x" * 20_000,
    b"",
    b"\x00\xff\xfe",
    b'{"type": "look", "frame": 0}',
)
