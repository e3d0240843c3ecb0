"""The graphs compute the verbs for any number of objects and memories, in ONNX Runtime and OpenVINO."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import masklet
from masklet.errors import CheckpointError, OptionError
from masklet.export.graphs import describe_graphs, round_to_bfloat16
from masklet.model import Sam2
from masklet.onnx import Network, track
from masklet.onnx.network import MANIFEST, VERBS, Manifest
from masklet.prompts import Prompt
from toy_models import clip

SOURCE = Path(masklet.__file__).parents[1]
SIZES = [
    {"frames": 1, "objects": 1, "memories": 1, "pointers": 1, "points": 1},
    {"frames": 2, "objects": 3, "memories": 7, "pointers": 16, "points": 4},
    {"frames": 1, "objects": 2, "memories": 22, "pointers": 31, "points": 2},
]
# The difference that rounding may make, as a part of the largest number. With fewer bits, of one in 10,000
# numbers twice that.
TOLERANCE = {"fp32": 1e-5, "fp16": 0.04, "int8": 0.07}


def sample(name: str, shape: list[int], side: int, generator: torch.Generator) -> torch.Tensor:
    """Values as a client sends them."""
    match name:
        case "rows":
            return torch.randint(0, 7, shape, dtype=torch.int32, generator=generator)
        case "labels":
            return torch.randint(-1, 4, shape, dtype=torch.int32, generator=generator)
        case "image":
            return torch.rand(shape, generator=generator) * 255
        case "points":
            return torch.rand(shape, generator=generator) * side
        case "mask" | "has_hint" | "prompted":
            return (torch.rand(shape, generator=generator) > 0.5).float()
    return torch.randn(shape, generator=generator)


def samples(network: Sam2, verb: str, sizes: dict[str, int]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        name: [sizes[size] if isinstance(size, str) else size for size in shape]
        for name, shape in describe_graphs(network)[verb].inputs.items()
    }
    side = network.config.image_size
    return {name: sample(name, shape, side, generator) for name, shape in shapes.items()}


def expected(network: Sam2, verb: str, inputs: dict[str, torch.Tensor]) -> list[np.ndarray]:
    with torch.inference_mode():
        outputs = describe_graphs(network)[verb].module(network).eval()(*inputs.values())
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("verb", VERBS)
def test_a_graph_computes_its_verb(network: Sam2, exported: Path, verb: str, precision: str) -> None:
    manifest = Manifest.read(exported / precision)
    session = onnxruntime.InferenceSession(str(manifest.path(exported / precision, verb)))
    graph = manifest.graphs[verb]
    for mine, theirs in ((graph.inputs, session.get_inputs()), (graph.outputs, session.get_outputs())):
        assert [spec.name for spec in mine] == [item.name for item in theirs]
        assert [list(spec.shape) for spec in mine] == [item.shape for item in theirs]
        kinds = {"tensor(float)": "float32", "tensor(int32)": "int32"}
        assert [spec.dtype for spec in mine] == [kinds[item.type] for item in theirs]
    for sizes in SIZES:
        inputs = samples(network, verb, sizes)
        outputs = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        answers = list(zip(outputs, expected(network, verb, inputs), strict=True))
        if verb == "decode" and precision != "fp32":  # rounding may decide whether a single mask is stable
            answers = [(output[:, 1:], right[:, 1:]) for output, right in answers[:2]] + answers[2:]
        for output, right in answers:
            tolerance = TOLERANCE[precision] * np.abs(right).max()
            outliers = 1 if precision == "fp32" else 2
            np.testing.assert_allclose(output, right, rtol=0, atol=outliers * tolerance)
            assert np.quantile(np.abs(output - right), 0.9999) <= tolerance


def test_the_wrapped_verbs_are_the_network_s(network: Sam2) -> None:
    """What the graphs add to the modules is what `Sam2` does around them."""
    inputs = samples(network, "decode", SIZES[1])
    context, middle, fine = inputs["context"], inputs["middle"], inputs["fine"]
    features = masklet.FrameFeatures(context[:1], middle, fine)
    for hint in (None, inputs["hint"]):
        graph = expected(network, "decode", {**inputs, "has_hint": torch.full((3,), float(hint is not None))})
        for candidates, rows in ((3, slice(1, 4)), (1, slice(0, 1))):
            with torch.inference_mode():
                decoded = network.decode(
                    features, context, inputs["points"], inputs["labels"].long(), hint, candidates=candidates
                )
            for mine, theirs in zip(graph[:3], (decoded.logits, decoded.iou, decoded.pointer), strict=True):
                np.testing.assert_allclose(mine[:, rows], theirs.numpy(), rtol=0, atol=1e-5)


def test_rounding_is_that_of_bfloat16() -> None:
    numbers = torch.randn(10_000) * 10.0 ** torch.randint(-6, 6, (10_000,))
    assert torch.equal(round_to_bfloat16(numbers), numbers.to(torch.bfloat16).float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_memories_are_rounded_as_the_network_s_are(
    toy: Sam2, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy, "memory_dtype", dtype)
    (tokens,) = expected(toy, "memorize", samples(toy, "memorize", SIZES[1]))
    is_rounded = torch.equal(torch.from_numpy(tokens).bfloat16().float(), torch.from_numpy(tokens))
    assert is_rounded == (dtype == torch.bfloat16)
    tracker = masklet.Tracker(toy, zoom=False)
    tracker.step(clip(1)[0], {1: Prompt(positive=[(20, 20)])})
    assert [memory.tokens.dtype for memory in tracker._objects[1].bank.prompted.values()] == [dtype]


@pytest.mark.parametrize(
    ("folder", "dtype"), [("fp32", "float32"), ("fp16", "float16"), ("int8", "float32"), ("toy", "bfloat16")]
)
def test_the_manifest_says_what_memories_are_rounded_to(
    network: Sam2, toy: Sam2, exported: Path, folder: str, dtype: str
) -> None:
    manifest = Manifest.read(exported / folder)
    assert manifest.memory_dtype == dtype
    tokens = memorize(toy if folder == "toy" else network, exported / folder)
    coarsest = next(
        name
        for name in ("bfloat16", "float16", "float32")
        if torch.equal(tokens.to(getattr(torch, name)).float(), tokens)
    )
    assert coarsest == dtype


def test_in_float16_memories_are_not_rounded_to_bfloat16(toy: Sam2, exported: Path) -> None:
    assert Manifest.read(exported / "toy-fp16").memory_dtype == "float16"
    tokens, rounded = memorize(toy, exported / "toy-fp16"), memorize(toy, exported / "toy")
    torch.testing.assert_close(tokens, rounded, rtol=0.02, atol=0.02)
    assert not torch.equal(tokens.bfloat16().float(), tokens)


def memorize(network: Sam2, folder: Path) -> torch.Tensor:
    """The tokens that an export of a network makes."""
    inputs = samples(network, "memorize", SIZES[0])
    session = onnxruntime.InferenceSession(str(Manifest.read(folder).path(folder, "memorize")))
    (tokens,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return torch.from_numpy(tokens)


def test_variants_are_smaller(exported: Path) -> None:
    sizes = {
        precision: sum(graph.bytes for graph in Manifest.read(exported / precision).graphs.values())
        for precision in TOLERANCE
    }
    assert sizes["fp32"] > 1.4 * sizes["fp16"] and sizes["fp32"] > 1.4 * sizes["int8"]


def test_files_name_nothing_of_this_machine(exported: Path) -> None:
    for path in exported.rglob("*.onnx"):
        content = path.read_bytes()
        assert str(SOURCE).encode() not in content and b"site-packages" not in content


def test_openvino_reads_the_same_graphs(network: Sam2, exported: Path) -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    for verb in VERBS:
        compiled = core.compile_model(
            str(exported / "fp32" / f"{verb}.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        inputs = samples(network, verb, SIZES[1])
        outputs = compiled({name: value.numpy() for name, value in inputs.items()})
        for output, right in zip(outputs.values(), expected(network, verb, inputs), strict=True):
            np.testing.assert_allclose(output, right, rtol=0, atol=2e-2 if verb == "memorize" else 1e-3)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda folder: (folder / "attend.onnx").unlink(), "is missing"),
        (lambda folder: (folder / "attend.onnx").write_bytes(b"x"), "sha256"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "must have format"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "cannot be read"),
        (lambda folder: _edit(folder, "version", 2), "version 1"),
        (lambda folder: _edit(folder, "graphs", {}), "damaged"),
        (lambda folder: _edit(folder, "memory", {"colour": 1}), "damaged"),
    ],
)
def test_a_damaged_export_is_refused(exported: Path, tmp_path: Path, change: object, part: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported / "fp32", folder)
    assert callable(change)
    change(folder)
    with pytest.raises(CheckpointError, match=part):
        Network(folder)


def _edit(folder: Path, name: str, value: object) -> None:
    fields = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**fields, name: value}))


CLIENT = """
import sys
import numpy as np
import masklet, masklet.onnx
prompt = masklet.onnx.Prompt(positive=[(60, 40)])
frames = np.load(sys.argv[2])
masks = [masks.low_res for masks in masklet.onnx.track(sys.argv[1], frames, {0: {1: prompt}})]
session = masklet.onnx.ImageSession(sys.argv[1], frames[0])
session.segment(prompt, hint=session.segment(prompt))
np.save(sys.argv[3], np.stack(masks))
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def run_client(python: Path, exported: Path, folder: Path) -> set[str]:
    """Run a client in another interpreter, compare its masks with ours, and return what it imported."""
    frames = clip(3, (96, 128))
    np.save(folder / "frames.npy", frames)
    answer = subprocess.run(
        [python, "-c", CLIENT, exported / "fp32", folder / "frames.npy", folder / "masks.npy"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "PATH": ""},
    )
    assert answer.returncode == 0, answer.stderr
    mine = track(exported / "fp32", frames, {0: {1: Prompt(positive=[(60, 40)])}})
    np.testing.assert_allclose(np.load(folder / "masks.npy"), [masks.low_res for masks in mine], atol=1e-4)
    return set(answer.stdout.split())


def test_clients_import_neither_torch_nor_opencv(exported: Path, tmp_path: Path) -> None:
    loaded = run_client(Path(sys.executable), exported, tmp_path)
    heavy = {"torch", "cv2", "av", "jaxtyping", "pycocotools", "onnx", "safetensors", "scipy"}
    assert "onnxruntime" in loaded and not heavy & loaded


@pytest.mark.slow
def test_clients_run_where_torch_is_not_installed(exported: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    needs = [f"{name}=={_version(name)}" for name in ("numpy", "onnxruntime", "pillow")]
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needs],
        capture_output=True,
        text=True,
    )
    if installed.returncode != 0:
        pytest.skip(f"packages cannot be installed here: {installed.stderr[-200:]}")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode != 0
    run_client(python, exported, tmp_path)


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


def wrong(**fields: Any) -> Callable[[dict[str, Any]], str]:
    return lambda manifest: json.dumps({**manifest, **fields})


@pytest.mark.parametrize(
    "change, words",
    [
        (wrong(image_size=512), "image_size"),
        (wrong(grid="x", mask_size=7), "grid, mask_size"),
        (wrong(memory={"capacity": 0, "span": True}), "capacity, span"),
        (wrong(zoom="yes", hint_limit=float("nan")), "hint_limit, zoom"),
        (wrong(memory_dtype="int8"), "memory_dtype"),
        (wrong(graphs=None), "is damaged"),
        (lambda manifest: "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_manifest_of_other_numbers_than_the_graphs_is_refused(
    exported: Path, tmp_path: Path, change: Callable[[dict[str, Any]], str], words: str
) -> None:
    (tmp_path / MANIFEST).write_text(change(json.loads((exported / "fp32" / MANIFEST).read_text())))
    with pytest.raises(CheckpointError, match=words):
        Manifest.read(tmp_path)


def test_a_network_that_is_no_path_is_refused(unchecked: None) -> None:
    with pytest.raises(OptionError, match=r"a network must be a folder with its graphs\. Got NoneType"):
        Network(None)  # type: ignore[arg-type]
