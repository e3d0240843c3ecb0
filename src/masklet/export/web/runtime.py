"""onnxruntime-web, which runs the graphs in a browser: fetched from npm once, checked and cached."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from masklet.errors import MaskletError
from masklet.files import StrPath, atomic_write, cache_folder

VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
ADDRESS = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
TIMEOUT = 60  # seconds without an answer

Provider = Literal["wasm", "webgpu"]


@dataclass(frozen=True)
class Build:
    """One build of onnxruntime-web.

    Attributes:
        script: The API.
        loader: The script that starts the binary, also in threads.
        binary: WebAssembly.
    """

    script: str
    loader: str
    binary: str

    @property
    def files(self) -> tuple[str, str, str]:
        return self.script, self.loader, self.binary


BUILDS: Mapping[Provider, Build] = {
    "wasm": Build("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": Build(
        "ort.webgpu.min.mjs",
        "ort-wasm-simd-threaded.asyncify.mjs",
        "ort-wasm-simd-threaded.asyncify.wasm",
    ),
}
LICENSE = """onnxruntime-web is distributed under the MIT License.

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction, including
without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the
following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO
EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER
IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR
THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def write_runtime(folder: StrPath, package: StrPath | None = None) -> dict[Provider, dict[str, object]]:
    """Write both builds into a folder, the binaries compressed.

    Args:
        folder: Where the files are written.
        package: onnxruntime-web as npm has it: the .tgz, or the unpacked folder. None fetches the pinned
            version, or takes it from the cache.

    Returns:
        By provider, the files of its build, and the bytes of its compressed binary.

    Raises:
        MaskletError: The package cannot be fetched, is damaged, or has other files.
    """
    files = _cached() if package is None else _read_package(Path(package))
    folder, written = Path(folder), {}
    for provider, build in BUILDS.items():
        packed = gzip.compress(files[build.binary], compresslevel=6, mtime=0)
        binary = f"{build.binary}.gz"
        for name, content in (
            (build.script, files[build.script]),
            (build.loader, files[build.loader]),
            (binary, packed),
        ):
            _write(folder / name, content)
        written[provider] = {
            "script": build.script,
            "loader": build.loader,
            "binary": binary,
            "bytes": len(packed),
        }
    _write(folder / "LICENSE.txt", LICENSE.encode())
    return written


def _cached() -> dict[str, bytes]:
    """The pinned version, from the cache or from npm."""
    path = cache_folder() / f"onnxruntime-web-{VERSION}.tgz"
    if not path.is_file() or not _is_pinned(path.read_bytes()):
        package = _fetch()
        with atomic_write(path, MaskletError) as part:
            part.write_bytes(package)
    return _read_package(path)


def _fetch() -> bytes:
    try:
        with urllib.request.urlopen(ADDRESS, timeout=TIMEOUT) as answer:
            package: bytes = answer.read()
    except OSError as error:
        raise MaskletError(
            f"onnxruntime-web {VERSION} is not in the cache, and npm cannot be reached: {error}. Connect to "
            f"the network once, or download it elsewhere with 'npm pack onnxruntime-web@{VERSION}' and pass "
            f"the file: --onnxruntime-web onnxruntime-web-{VERSION}.tgz."
        ) from error
    if not _is_pinned(package):
        raise MaskletError(
            f"{ADDRESS} answered with a file that is not onnxruntime-web {VERSION}: its SHA-512 differs. "
            "Check for a proxy, try again, or pass the package with --onnxruntime-web."
        )
    return package


def _is_pinned(package: bytes) -> bool:
    return hashlib.sha512(package).digest() == base64.b64decode(SHA512)


def _read_package(path: Path) -> dict[str, bytes]:
    """The files of both builds, from a package as npm has it."""
    names = {name for build in BUILDS.values() for name in build.files}
    try:
        if path.is_dir():
            return {name: (path / "dist" / name).read_bytes() for name in names}
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
            return {name: _member(archive, f"package/dist/{name}") for name in names}
    except (OSError, tarfile.TarError, KeyError) as error:
        raise MaskletError(
            f"{path} is not the npm package onnxruntime-web {VERSION}, packed or unpacked: {error}."
        ) from error


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is not a file")
    return file.read()


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path, MaskletError) as part:
        part.write_bytes(content)
