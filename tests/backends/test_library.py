"""The kernels' cache: what is there is loaded only when it is whole and this user's own."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from masklet.backends.native import kernels, library
from masklet.backends.native.library import BuildError, build, check_ownership, find_intact

FAKE_COMPILER = """#!/bin/sh
echo called >> {log}
sleep {seconds}
while [ "$1" != -o ]; do shift; done
echo a library > "$2"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    return folder


def fake_compiler(tmp_path: Path, seconds: float = 0) -> tuple[str, Path]:
    """A compiler that writes down each call."""
    path, log = tmp_path / "g++", tmp_path / "log"
    path.write_text(FAKE_COMPILER.format(log=log, seconds=seconds))
    path.chmod(0o700)
    return str(path), log


def call_count(log: Path) -> int:
    return len(log.read_text().splitlines())


def test_a_whole_library_is_not_built_again(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compiler, log = fake_compiler(tmp_path)
    with caplog.at_level("INFO"):
        path = build(compiler, folder)
        assert [record.message.split(" once")[0] for record in caplog.records] == [
            "compiling the kernels for this CPU"
        ]
        assert build(compiler, folder) == path
    assert call_count(log) == 1 and len(caplog.records) == 1


@pytest.mark.parametrize("content", [b"", b"a lib", b"a librarx\n", b"a library\nand more"])
def test_a_damaged_library_is_built_again(tmp_path: Path, folder: Path, content: bytes) -> None:
    compiler, log = fake_compiler(tmp_path)
    path = build(compiler, folder)
    path.write_bytes(content)
    assert build(compiler, folder).read_bytes() == b"a library\n"
    assert call_count(log) == 2


def test_another_source_or_compiler_is_another_library(tmp_path: Path) -> None:
    assert library.source_digest("g++") != library.source_digest("clang++")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(BuildError, match="other users may write to"):
        build(fake_compiler(tmp_path)[0], folder)


def test_a_library_that_others_may_write_to_is_refused(tmp_path: Path, folder: Path) -> None:
    compiler, _ = fake_compiler(tmp_path)
    build(compiler, folder).chmod(0o702)
    with pytest.raises(BuildError, match="other users may write to"):
        build(compiler, folder)


def test_a_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(BuildError, match="belongs to another user"):
        check_ownership(folder)


def test_a_link_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(BuildError, match="symbolic link"):
        check_ownership(tmp_path / "link")


def test_a_new_folder_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        build(fake_compiler(tmp_path)[0], tmp_path / "new")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_a_compiler_that_hangs_is_stopped_with_all_that_it_started(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "COMPILER_SECONDS", 0.5)
    compiler, _ = fake_compiler(tmp_path, seconds=60)
    start = time.monotonic()
    with pytest.raises(BuildError, match=r"did not finish within 0\.5 seconds"):
        build(compiler, folder)
    assert time.monotonic() - start < 20
    assert not list(folder.glob("*.so"))


def test_a_compiler_that_fails_is_named(tmp_path: Path, folder: Path) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho no such flag >&2\nexit 1\n")
    compiler.chmod(0o700)
    with pytest.raises(BuildError, match="no such flag"):
        build(str(compiler), folder)


def test_processes_that_build_at_once_wait_for_the_first(tmp_path: Path, folder: Path) -> None:
    compiler, log = fake_compiler(tmp_path, seconds=0.5)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.starmap(build, [(compiler, folder)] * 2)
    assert paths[0] == paths[1]
    assert call_count(log) == 1
    assert find_intact(folder, f"kernels-{library.source_digest(compiler)}") == paths[0]


@pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}")
def test_both_languages_agree_on_sizes() -> None:
    kernels.check_layout(library.library())


@pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}")
def test_a_library_of_other_sizes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "LANES", 8)
    with pytest.raises(BuildError, match="disagree on sizes"):
        kernels.check_layout(library.library())
