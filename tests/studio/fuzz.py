"""Requests made from the studio's OpenAPI description: right, nearly right, and wrong on purpose."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from masklet import rle
from toy_models import clip

Schema = Mapping[str, Any]

TEXTS = (
    "",
    " ",
    "a",
    "object 1",
    "x" * 5000,
    "\u0000",
    "a\u0000b",
    "\ud800",  # half of a pair: no UTF-8 can hold it
    "\ufeffa",
    "\u202egpj.exe",
    "\U0001f9a7" * 80,
    "e\u0301" * 60,
    "\u0130\u1e9e\u00df",
    "<script>alert(1)</script>",
    "'; DROP TABLE videos; --",
    "%s%n{0}${x}",
    "a/b\\c:d*e?f",
    "..",
    "../../secret",
    "http://[",
    "http://[::1]:99999999/a.png",
    "//[",
    "data:image/png;base64,AAAA",
    "\r\n\t",
    "NaN",
    "null",
    "1e999",
    "blots.mp4",
    "one.png",
    "#12345g",
)
NUMBERS = (0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**30, 0.5, -0.0, 1e308, -1e308, 5e-324, 3, 255, 256)
SPECIAL = (float("nan"), float("inf"), float("-inf"))
WRONG: tuple[Any, ...] = (None, True, [], {}, "x", 7, 0.5, [[]], {"a": 1}, [None], *SPECIAL)
NAMES = (
    "a.png",
    "b.mp4",
    "no suffix",
    "..",
    "%2e%2e.png",
    "a\u0000.png",
    "\U0001f9a7" * 70 + ".png",
    "con.png",
    "c.json",
    "d.xml",
    "e.txt",
    "f.zip",
    ".png",
    'q"uote.png',
    "",
)
SIZE = (48, 64)
LENGTH = 8


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    address: str
    body: bytes | None
    kind: str = "application/json"


class Generator:
    """Makes requests for the operations of an OpenAPI description.

    Args:
        description: What `/api/openapi.json` holds.
        ids: Ids to use, by the name of the path's or query's parameter; also of things that are gone.
    """

    def __init__(
        self, description: Mapping[str, Any], ids: Mapping[str, list[str]], dice: random.Random
    ) -> None:
        self._schemas = description["components"]["schemas"]
        self._ids = ids
        self._dice = dice
        self.operations = [
            (method.upper(), path, operation)
            for path, operations in description["paths"].items()
            for method, operation in operations.items()
        ]
        self._known: dict[str, Callable[[], Any]] = {
            "object": lambda: dice.choice([1, 1, 2, 3, 9]),
            "frame": lambda: dice.choice([*range(LENGTH), LENGTH, LENGTH - 1]),
            "start": lambda: dice.randrange(LENGTH),
            "stop": lambda: dice.randrange(LENGTH + 2),
            "counts": self._counts,
            "size": lambda: list(SIZE),
            "path": lambda: dice.choice(["blots.mp4", "one.png", "", "sub", "gone.mp4"]),
            "label": lambda: dice.choice(["cat", "", "dog", "gone"]),
            "label_config": lambda: dice.choice([LABEL_CONFIG, "<View/>", "<a" * 50]),
            "format": lambda: dice.choice(
                ["coco", "yolo", "cvat-images", "script", "png", "overlay", "mp4", "x"]
            ),
            "policy": lambda: dice.choice(["recency", "samurai", "sam2long"]),
            "model": lambda: dice.choice(["toy", "nano", "x"]),
            "operation": lambda: dice.choice(
                ["fill", "drop", "grow", "shrink", "smooth", "copy", "merge", "split"]
            ),
            "others": lambda: [dice.choice([1, 2, 3])],
        }

    def call(self, method: str, path: str, operation: Mapping[str, Any]) -> Call:
        """A request for an operation."""
        query = []
        for parameter in operation.get("parameters", ()):
            text = self._parameter(parameter)
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", quote(text, safe="", errors="surrogatepass"))
            elif self._dice.random() < 0.6:
                query += [f"{parameter['name']}={quote(text, errors='surrogatepass')}"] * self._dice.choice(
                    [1, 1, 1, 2]
                )
        address = f"{path}?{'&'.join(query)}" if query else path
        content = operation.get("requestBody", {}).get("content", {})
        if "multipart/form-data" in content:
            return Call(method, address, *self._form(content["multipart/form-data"]["schema"]))
        body = None
        if content:
            body = self._json(content["application/json"]["schema"])
        return Call(method, address, body)

    def websocket_message(self) -> str | bytes:
        """A message of the right shape, mostly with a wrong value."""
        roll = self._dice.random()
        frame = self._dice.choice([*range(LENGTH), LENGTH, 10_000_000, 10_000_001, *NUMBERS, *WRONG, *TEXTS])
        message: dict[str, Any] = {"type": self._dice.choice(["look", "look", "ping", "x", None])}
        if roll < 0.8:
            message["frame"] = frame
        if roll < 0.1:
            message[self._text()] = self._dice.choice(WRONG)
        text = json.dumps(message)
        return text if roll < 0.95 else text.encode()[: self._dice.randrange(len(text))]

    def _parameter(self, parameter: Mapping[str, Any]) -> str:
        name, roll = parameter["name"], self._dice.random()
        if name == "id" and parameter.get("schema", {}).get("type") == "integer":
            name = "object"
        if roll < 0.85 and name in self._ids and self._ids[name]:
            return self._dice.choice(self._ids[name])
        if roll < 0.7:
            value = self._value(parameter["schema"], name)
            return value if isinstance(value, str) else json.dumps(value)
        if roll < 0.85:
            return str(self._dice.choice([*NUMBERS, *SPECIAL]))
        return self._text().encode("utf-8", "replace").decode()

    def _json(self, schema: Schema) -> bytes:
        roll = self._dice.random()
        if roll < 0.04:
            return self._dice.choice([b"", b"{", b"[" * 3000, b"\xff", b"nul", b'{"a":1,}', b"1" * 5000])
        value = self._dice.choice(WRONG) if roll < 0.07 else self._value(schema, "")
        text = json.dumps(value)
        if roll > 0.96 and text.startswith("{") and len(text) > 2:  # the first field twice
            key = next(iter(json.loads(text)))
            text = f"{{{json.dumps(key)}: {json.dumps(self._dice.choice(WRONG))}, {text[1:]}"
        return text.encode()

    def _value(self, schema: Schema, name: str, depth: int = 0) -> Any:
        """A value that a schema allows, or one near it."""
        dice, roll = self._dice, self._dice.random()
        if roll < 0.06:
            return dice.choice(WRONG)
        if name in self._known and roll < 0.75:
            return self._known[name]()
        if "$ref" in schema:
            return self._value(self._schemas[schema["$ref"].rpartition("/")[2]], name, depth)
        if "anyOf" in schema:
            return self._value(dice.choice(schema["anyOf"]), name, depth)
        if "enum" in schema:
            return dice.choice(schema["enum"]) if roll < 0.9 else self._text()
        if "const" in schema:
            return schema["const"]
        return self._of_type(schema, depth)

    def _of_type(self, schema: Schema, depth: int) -> Any:
        dice = self._dice
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer":
                return self._number(schema) if dice.random() < 0.2 else dice.randrange(0, 12)
            case "number":
                return self._number(schema) if dice.random() < 0.2 else round(dice.uniform(0, 60), 3)
            case "boolean":
                return dice.random() < 0.5
            case "null":
                return None
            case "string":
                return self._string(schema)
        return dice.choice([*WRONG, self._text(), {"schema": self._text()}, {"image": self._text()}])

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        dice, required = self._dice, schema.get("required", ())
        made = {
            name: self._value(some, name, depth + 1)
            for name, some in schema.get("properties", {}).items()
            if dice.random() < (0.97 if name in required else 0.5)
        }
        extra = schema.get("additionalProperties")
        if extra:
            for name in dice.sample(("schema", "image", "data", self._text(), self._text()), 2):
                made[name] = self._value(extra if isinstance(extra, Mapping) else {}, name, depth + 1)
        if dice.random() < 0.05:
            made[self._text()] = dice.choice(WRONG)
        return made

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self._value(item, "", depth + 1) for item in schema["prefixItems"]]
        count = self._dice.choice([0, 1, 1, 1, 2, 3, 300 if depth < 2 else 4])
        return [self._value(schema.get("items", {}), "", depth + 1) for _ in range(count)]

    def _number(self, schema: Schema) -> Any:
        edges = [schema[name] for name in ("minimum", "maximum") if name in schema]
        near = [edge + by for edge in edges for by in (-1, 0, 1)]
        return self._dice.choice([*NUMBERS, *SPECIAL, *near, *near])

    def _string(self, schema: Schema) -> str:
        dice, pattern = self._dice, schema.get("pattern", "")
        if "fA-F]{6}" in pattern and dice.random() < 0.8:
            return f"#{dice.randrange(2**24):06x}"
        if schema.get("maxLength") and dice.random() < 0.1:
            return "a" * (schema["maxLength"] + dice.choice([0, 1]))
        return self._text()

    def _text(self) -> str:
        dice = self._dice
        if dice.random() < 0.4:
            return dice.choice(TEXTS)
        letters = string.ascii_letters + string.digits + " ./_-\u00e9\u4e2d\U0001f600"
        return "".join(dice.choices(letters, k=dice.randrange(1, 12)))

    def _counts(self) -> Any:
        mask = clip(1, SIZE)[0][..., 0] > self._dice.randrange(40, 220)
        code = str(rle.encode(mask)["counts"])
        at = self._dice.randrange(len(code))
        return self._dice.choice([code, code, code, code[:at], code[at:], code * 3, [0, 3072], [-1, 3073]])

    def _form(self, schema: Schema) -> tuple[bytes, str]:
        dice = self._dice
        names = list(schema["properties"])
        chosen = [name for name in names for _ in range(dice.choice([0, 1, 1, 1, 1, 2]))]
        parts = [self._part(name, schema["properties"][name]) for name in chosen]
        edge = b"----edge"
        body = b"".join(b"--" + edge + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + edge + b"--\r\n"
        if dice.random() < 0.05:
            body = body[: dice.randrange(len(body))]
        kinds = ["multipart/form-data; boundary=----edge"] * 20
        return body, dice.choice(
            [*kinds, "multipart/form-data", "text/plain", "multipart/form-data; boundary="]
        )

    def _part(self, name: str, schema: Schema) -> bytes:
        dice = self._dice
        if schema.get("format") != "binary":
            texts = ['{"positive": [[9, 9]]}', "[]", *self._ids.get("video", ()), self._text()]
            text = dice.choice(texts).encode("utf-8", "replace")
            return f'Content-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + text
        file = dice.choice(NAMES).encode("utf-8", "replace")
        head = f'Content-Disposition: form-data; name="{name}"; filename="'.encode() + file + b'"\r\n\r\n'
        return head + self._file()

    def _file(self) -> bytes:
        dice = self._dice
        annotations = {
            "images": [{"id": 1, "file_name": dice.choice(["one.png", "blots.mp4", self._text()])}],
            "annotations": [
                {
                    "id": 1,
                    "image_id": dice.choice([1, 2, None, "1"]),
                    "category_id": dice.choice([1, 2, None, "x"]),
                    "bbox": dice.choice([[1, 2, 30, 20], [1, 2], [float("nan")] * 4, "x", [0, 0, -1, 1e308]]),
                    "segmentation": dice.choice(
                        [
                            [[1, 1, 30, 1, 30, 30]],
                            [[1]],
                            {"size": list(SIZE), "counts": self._counts()},
                            5,
                            [],
                        ]
                    ),
                    "iscrowd": dice.choice([0, 1, None, "x"]),
                }
            ],
            "categories": dice.choice([[{"id": 1, "name": self._text()}], [], None, [5], [{"id": 1}]]),
        }
        xml = (
            "<annotations><version>1.1</version><image id='0' name='one.png' width='64' height='48'>"
            f"<box label='{dice.choice(['a', '&lt;', ''])}' xtl='{dice.choice(['1', 'x', '1e999', '-5'])}' "
            "ytl='1' xbr='20' ybr='20'/><mask label='a' rle='0, 1, x' left='0' top='0' width='9' height='9'/>"
            "</image></annotations>"
        )
        return dice.choice(
            [
                PNG,
                PNG[: dice.randrange(1, len(PNG))],
                b"",
                json.dumps(annotations).encode(),
                json.dumps(dice.choice(WRONG)).encode(),
                xml.encode(),
                dice.choice(
                    ["0 0.5 0.5 0.2 0.2\n", "0 0.1 0.1 0.5\n", "x 1 2\n", "0 nan nan 1 1\n"]
                ).encode(),
                dice.randbytes(200),
                b"PK\x03\x04" + dice.randbytes(60),
            ]
        )


LABEL_CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image">'
    '<Label value="cat"/></BrushLabels></View>'
)


def _png() -> bytes:
    from io import BytesIO

    import PIL.Image

    file = BytesIO()
    PIL.Image.fromarray(clip(1, SIZE)[0]).save(file, "PNG")
    return file.getvalue()


PNG = _png()
