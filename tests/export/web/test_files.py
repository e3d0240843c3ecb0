"""What `masklet export web` writes, without a browser: files that belong together, and errors."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from masklet.errors import MaskletError
from masklet.export.web import SHARED, write_page
from masklet.export.web.runtime import BUILDS, write_runtime


def test_everything_that_the_page_loads_is_in_the_folder(tmp_path: Path) -> None:
    write_page(tmp_path, None)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    for path in sorted(files):
        if not path.endswith((".js", ".html")):
            continue
        text = re.sub(r"/\*.*?\*/", "", (tmp_path / path).read_text(encoding="utf-8"), flags=re.S)
        for name in re.findall(r"""(?:from |href=|src=)"(\.{0,2}/?[\w./-]+\.(?:js|css|svg))\"""", text):
            target = (tmp_path / path).parent.joinpath(name).resolve().relative_to(tmp_path.resolve())
            assert target.as_posix() in files, f"{path} loads {name}"


def test_no_shared_file_hides_one_of_the_page(tmp_path: Path) -> None:
    own = Path(write_page.__code__.co_filename).parent / "page"
    assert not {path.relative_to(own).as_posix() for path in own.rglob("*.*")} & set(SHARED)


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    write_page(tmp_path, None)
    for path in tmp_path.rglob("*.*"):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://(?!localhost)\w", text), path.name


def test_an_example_is_named_in_the_page(tmp_path: Path) -> None:
    (tmp_path / "clip.MP4").write_bytes(b"video")
    write_page(tmp_path / "site", tmp_path / "clip.MP4")
    assert 'data-example="example.mp4"' in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "site" / "example.mp4").read_bytes() == b"video"


def package(path: Path, *, without: str | None = None) -> Path:
    names = {name for build in BUILDS.values() for name in build.files} - {without}
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return path


def test_a_package_from_elsewhere_serves_where_there_is_no_network(tmp_path: Path) -> None:
    builds = write_runtime(tmp_path / "out", package(tmp_path / "onnxruntime-web.tgz"))
    for build in builds.values():
        for part in ("script", "loader", "binary"):
            assert (tmp_path / "out" / str(build[part])).is_file()
        assert (tmp_path / "out" / str(build["binary"])).stat().st_size == build["bytes"]
    assert "MIT License" in (tmp_path / "out" / "LICENSE.txt").read_text(encoding="utf-8")


def test_a_package_without_a_file_is_refused(tmp_path: Path) -> None:
    path = package(tmp_path / "other.tgz", without="ort.wasm.min.mjs")
    with pytest.raises(MaskletError, match=r"other\.tgz is not the npm package onnxruntime-web"):
        write_runtime(tmp_path / "out", path)


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("masklet.export.web.runtime.ADDRESS", "http://127.0.0.1:9/onnxruntime-web.tgz")
    with pytest.raises(MaskletError, match=r"npm cannot be reached.*--onnxruntime-web"):
        write_runtime(tmp_path / "out")


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("masklet.export.web.runtime.ADDRESS", package(tmp_path / "forged.tgz").as_uri())
    with pytest.raises(MaskletError, match="SHA-512 differs"):
        write_runtime(tmp_path / "out")
    assert not list(tmp_path.glob("masklet/*"))


def test_halved_weights_give_the_same_numbers() -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    from masklet.export.onnx import halve_weights

    random = np.random.default_rng(0)
    exact = random.normal(size=(16, 16)).astype(np.float16).astype(np.float32)
    finer = random.normal(size=(16, 16)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "exact"], ["y"]),
            helper.make_node("MatMul", ["y", "finer"], ["z"]),
        ],
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 16])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 16])],
        [numpy_helper.from_array(exact, "exact"), numpy_helper.from_array(finer, "finer")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    halved = halve_weights(model.SerializeToString())
    kinds = {weight.name: weight.data_type for weight in onnx.load_from_string(halved).graph.initializer}
    assert kinds == {"exact.half": TensorProto.FLOAT16, "finer": TensorProto.FLOAT}
    x = random.normal(size=(2, 16)).astype(np.float32)
    answers = [
        runtime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for content in (model.SerializeToString(), halved)
    ]
    # The runtime may sum the two in another order; rounding to half would be off by 1e-3.
    np.testing.assert_allclose(*answers, rtol=0, atol=1e-5)
