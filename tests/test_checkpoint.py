"""Weights come in from every layout and go back whole; what cannot be loaded is refused in one sentence."""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import socket
import threading
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from masklet import checkpoint
from masklet.checkpoint.layouts import LAYOUTS, ORIGINAL, TRANSFORMERS, Layout, to_ours, to_theirs
from masklet.checkpoint.matching import infer_config
from masklet.config import SIZES, Sam2Config, toy
from masklet.errors import CheckpointError, MaskletError, OptionError
from masklet.files import sha256
from masklet.model import Sam2

REVISIONS = ("2.0", "2.1")
HIERAS = {size: config for size, config in SIZES.items() if config.trunk == "hiera"}
KINDS = [replace(config, revision=revision) for config in HIERAS.values() for revision in REVISIONS]


@pytest.fixture(params=REVISIONS)
def config(request: pytest.FixtureRequest) -> Sam2Config:
    return toy(request.param)


@pytest.fixture
def model(config: Sam2Config) -> Sam2:
    model = Sam2(config)
    for tensor in model.state_dict().values():
        tensor.normal_()
    return model


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def kind(config: Sam2Config) -> str:
    return (
        f"{next(size for size, known in HIERAS.items() if known.stages == config.stages)}-{config.revision}"
    )


@pytest.mark.parametrize("layout", [ORIGINAL, TRANSFORMERS], ids=lambda layout: layout.name)
def test_the_tables_are_bijections(model: Sam2, layout: Layout) -> None:
    weights = model.state_dict()
    assert same(to_ours(to_theirs(weights, layout), layout), weights)
    theirs = {layout.theirs(key) for key in weights}
    assert len(theirs) == len(weights)
    assert {layout.ours(key) for key in theirs} == set(weights)


@pytest.mark.parametrize("config", KINDS, ids=kind)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_size_and_revision_are_read_from_the_tensors(config: Sam2Config, layout: Layout) -> None:
    with torch.device("meta"):
        weights = Sam2(config).state_dict()
    assert infer_config(weights, layout, "a.pt") == config


def test_twins_that_differ_are_not_taken_for_one(model: Sam2, config: Sam2Config, tmp_path: Path) -> None:
    tensors = to_theirs(model.state_dict(), TRANSFORMERS)
    tensors["shared_image_embedding.positional_embedding"] += 1
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match="has the unknown tensors shared_image_embedding"):
        checkpoint.load(tmp_path / "odd.safetensors", device="cpu", config=config)


def test_our_own_file_needs_no_config(model: Sam2, config: Sam2Config, tmp_path: Path) -> None:
    checkpoint.save(model, tmp_path / "mine.safetensors")
    again = checkpoint.load(tmp_path / "mine.safetensors", device="cpu")
    assert again.config == config
    assert same(again.state_dict(), model.state_dict())
    assert not again.training


def test_nano_s_memories_are_not_rounded_and_those_of_earlier_files_are(
    tmp_path: Path, unchecked: None
) -> None:
    nano = checkpoint.load(device="cpu")
    assert nano.memory_dtype == torch.float32
    fields = json.loads(nano.config.to_json())
    assert fields.pop("memory_dtype") == "float32"
    save_file(nano.state_dict(), tmp_path / "mine.safetensors", {"masklet": json.dumps(fields)})
    assert checkpoint.load(tmp_path / "mine.safetensors", device="cpu").memory_dtype == torch.bfloat16
    fields["memory_dtype"] = "int8"
    save_file(nano.state_dict(), tmp_path / "mine.safetensors", {"masklet": json.dumps(fields)})
    with pytest.raises(CheckpointError, match=r"memory_dtype must be one of bfloat16, float32\. Got int8"):
        checkpoint.load(tmp_path / "mine.safetensors", device="cpu")
    with pytest.raises(OptionError, match=r"memory_dtype must be one of bfloat16, float32\. Got 'int8'"):
        replace(nano.config, memory_dtype="int8")  # type: ignore[arg-type]


def test_the_card_of_nano_states_the_digest_of_its_file() -> None:
    repo = Path(__file__).parents[1]
    digest = sha256(repo / "src" / "masklet" / "weights" / "nano.safetensors")
    assert f"SHA-256 `{digest}`" in (repo / "docs" / "nano.md").read_text("utf-8")


def test_half_precision_in_the_file_and_in_memory(model: Sam2, tmp_path: Path) -> None:
    checkpoint.save(model, tmp_path / "half.safetensors", dtype="float16")
    assert load_file(tmp_path / "half.safetensors")["memory_attention.age"].dtype == torch.float16
    assert checkpoint.load(tmp_path / "half.safetensors", device="cpu").dtype == torch.float32
    half = checkpoint.load(tmp_path / "half.safetensors", device="cpu", dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.prompt_encoder.frequencies.dtype == torch.float32
    with pytest.raises(ValueError, match="one of float32, bfloat16, float16"):
        checkpoint.load(tmp_path / "half.safetensors", dtype="half")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"name": 5}, "a model must be a name"),
        ({"name": b"nano"}, "a model must be a name"),
        ({"name": ""}, "a model must be a name"),
        ({"name": None}, "a model must be a name"),
        ({"name": "m" * 5000}, "cannot be opened|there is no model"),
        ({"name": "~nobody-of-this-name/model.pt"}, "cannot be opened"),
        ({"name": "nano\0"}, "there is no model"),
        ({"device": "abacus"}, "device must be a device of torch"),
        ({"device": 5}, "device must be a name"),
        ({"device": "meta"}, "has no memory for weights"),
        ({"device": "hpu"}, "hpu cannot be used here"),
        ({"dtype": "half"}, "dtype must be one of float32, bfloat16, float16"),
        ({"dtype": torch.int8}, "dtype must be one of"),
        ({"dtype": ["float32"]}, "dtype must be one of"),
        ({"engine": "steam"}, "engine must be one of"),
        ({"engine": None}, "engine must be one of"),
        ({"setting": "slow"}, "setting must be one of"),
        ({"setting": []}, "setting must be one of"),
        ({"image_size": "384"}, "image_size must be a multiple of 32"),
        ({"image_size": 384.0}, "image_size must be a multiple of 32"),
        ({"image_size": True}, "image_size must be a multiple of 32"),
        ({"config": {"trunk": "hiera"}}, "config must be a Sam2Config. Got dict"),
    ],
)
def test_an_argument_that_cannot_be_is_one_sentence(
    options: dict[str, object], part: str, unchecked: None
) -> None:
    with pytest.raises(MaskletError, match=part) as failure:
        checkpoint.load(**{"name": "nano", **options})  # type: ignore[arg-type]
    assert "\n" not in str(failure.value)
    assert isinstance(failure.value, ValueError | CheckpointError)


@pytest.mark.parametrize(
    ("path", "options", "part"),
    [
        ("a.pt", {"layout": "keras"}, "layout must be one of masklet, original, transformers"),
        ("a.pt", {"dtype": "int8"}, "dtype must be one of"),
        ("a.pt", {}, "in layout 'masklet' is a .safetensors file"),
        ("a.safetensors", {"layout": "original"}, "in layout 'original' is a .pt file"),
        (5, {}, "path must be the path of a file. Got 5"),
        (".", {}, "cannot be written"),
    ],
)
def test_weights_that_cannot_be_saved_so(
    model: Sam2, tmp_path: Path, path: str | int, options: dict[str, str], part: str, unchecked: None
) -> None:
    with pytest.raises(MaskletError, match=part):
        checkpoint.save(model, tmp_path / path if isinstance(path, str) else path, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    with pytest.raises(MaskletError, match="model must be a network"):
        checkpoint.save("nano", tmp_path / "a.pt")  # type: ignore[arg-type]


@pytest.mark.parametrize(("dtype", "value"), [("float32", 1e300), ("float16", 1e6)])
def test_weights_that_a_type_cannot_hold(tmp_path: Path, dtype: str, value: float) -> None:
    """They are finite in the file, and would be infinite in the network."""
    checkpoint.save(Sam2(toy()), tmp_path / "a.safetensors", dtype=torch.float64)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
    weights = load_file(tmp_path / "a.safetensors")
    name = "image_encoder.lateral.0.bias"
    weights[name][0] = value
    save_file(weights, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CheckpointError, match=f"{name} that are too large for {dtype}"):
        checkpoint.load(tmp_path / "a.safetensors", device="cpu", dtype=dtype)


class TestHub:
    """The hub's cache is a folder, so a test can fill it; the hub itself cannot be reached from tests."""

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        return tmp_path

    def fill(self, cache: Path, repo: str, file: str) -> Path:
        folder = cache / f"models--{repo.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("abc")
        (folder / "snapshots" / "abc").mkdir(parents=True)
        return folder / "snapshots" / "abc" / file

    def test_a_published_name_comes_from_the_cache(self, cache: Path) -> None:
        checkpoint.save(Sam2(toy()), self.fill(cache, "facebook/sam2.1-hiera-tiny", "model.safetensors"))
        assert checkpoint.load("sam2.1-hiera-tiny", device="cpu").config == toy()

    def test_so_does_the_original_file(self, cache: Path) -> None:
        path = self.fill(cache, "facebook/sam2-hiera-base-plus", "sam2_hiera_base_plus.pt")
        checkpoint.save(Sam2(toy("2.0")), path, layout="original")
        assert checkpoint.load("sam2-hiera-base-plus", device="cpu", config=toy("2.0")).config == toy("2.0")

    def test_and_any_hub_id(self, cache: Path) -> None:
        checkpoint.save(Sam2(toy()), self.fill(cache, "someone/my-sam", "model.safetensors"))
        assert checkpoint.load("someone/my-sam", device="cpu").config == toy()

    @pytest.mark.parametrize("name", ["sam2.1-hiera-large", "someone/my-sam"])
    def test_offline_and_not_in_the_cache(self, name: str) -> None:
        with pytest.raises(CheckpointError, match="is not in the hub's cache, and the hub cannot be reached"):
            checkpoint.load(name)


def test_a_hub_that_cannot_be_reached_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls = []

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    calls.append(connection.close())

        threading.Thread(target=hang_up, daemon=True).start()
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        with pytest.raises(CheckpointError, match="is not in the hub's cache, and the hub cannot be reached"):
            checkpoint.load("sam2.1-hiera-large")
        assert len(calls) == 1
        server.shutdown(socket.SHUT_RDWR)


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code in a checkpoint was run",)


class TestRefusals:
    def refusal(self, path: Path | str, config: Sam2Config | None = None) -> str:
        with pytest.raises(CheckpointError) as raised:
            checkpoint.load(path, device="cpu", config=config)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    def test_an_unknown_name(self) -> None:
        said = self.refusal("sam3-huge")
        assert said.startswith("there is no model 'sam3-huge'. Known names: nano, sam2.1-hiera-tiny, ")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        assert self.refusal(tmp_path / "a.pt") == f"there is no file {tmp_path / 'a.pt'}."

    def test_a_folder_without_weights(self, tmp_path: Path) -> None:
        assert "It contains none" in self.refusal(tmp_path)

    def test_code_in_a_file_is_never_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        torch.save({"model": {"a": Code()}}, tmp_path / "a.pt")
        (tmp_path / "b.pt").write_bytes(pickle.dumps(Code()))
        for name in ("a.pt", "b.pt"):
            assert self.refusal(tmp_path / name).startswith(f"{name} contains code, which masklet")
        assert "was run" not in capsys.readouterr().out

    @pytest.mark.parametrize("layout", ["masklet", "original"])
    def test_a_truncated_file(self, tmp_path: Path, layout: str) -> None:
        path = tmp_path / ("a.pt" if layout == "original" else "a.safetensors")
        checkpoint.save(Sam2(toy()), path, layout=layout)  # type: ignore[arg-type]
        whole = path.read_bytes()
        for length in (0, 7, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            assert self.refusal(path).startswith(f"{path.name} is damaged, truncated")

    def test_something_else(self, tmp_path: Path) -> None:
        torch.save({"model": {"fc.weight": torch.zeros(3)}}, tmp_path / "a.pt")
        torch.save([torch.zeros(3)], tmp_path / "b.pt")
        save_file({"fc.weight": torch.zeros(3)}, tmp_path / "c.safetensors")
        for name in ("a.pt", "b.pt", "c.safetensors"):
            said = f"{name} is not a SAM 2 checkpoint: no key starts with 'image_encoder.trunk'."
            assert self.refusal(tmp_path / name) == said
        (tmp_path / "d.pt").write_text("hello")
        assert "damaged" in self.refusal(tmp_path / "d.pt")

    def test_missing_unexpected_and_misshapen_tensors_are_named_as_in_the_file(self, tmp_path: Path) -> None:
        tensors = to_theirs(Sam2(toy()).state_dict(), ORIGINAL)
        del tensors["sam_mask_decoder.transformer.norm_final_attn.weight"], tensors["maskmem_tpos_enc"]
        tensors["adapter.weight"] = torch.zeros(1)
        tensors["no_obj_ptr"] = torch.zeros(1, 5)
        torch.save({"model": tensors}, tmp_path / "a.pt")
        assert self.refusal(tmp_path / "a.pt", toy()) == (
            "a.pt does not fit a SAM 2 of its size: "
            "it lacks maskmem_tpos_enc, sam_mask_decoder.transformer.norm_final_attn.weight; "
            "it has the unknown tensors adapter.weight; it has other shapes for no_obj_ptr (1, 5) instead of (1, 32)."  # noqa: E501
        )

    def test_an_unknown_size(self, tmp_path: Path) -> None:
        checkpoint.save(Sam2(toy()), tmp_path / "a.pt", layout="original")
        said = self.refusal(tmp_path / "a.pt")
        assert "a trunk 16 wide with stages (1, 1, 2, 1), which is not a known size (tiny: 96" in said

    def test_half_a_model(self, tmp_path: Path) -> None:
        tensors = {"vision_encoder.backbone.patch_embed.projection.weight": torch.zeros(96, 3, 7, 7)}
        save_file(tensors, tmp_path / "a.safetensors")
        said = "a.safetensors is not a complete SAM 2: it lacks vision_encoder.backbone.pos_embed."
        assert self.refusal(tmp_path / "a.safetensors") == said

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for layout in ("masklet", "original"):
            with pytest.raises(CheckpointError, match="cannot be written"):
                checkpoint.save(Sam2(toy()), tmp_path / "file" / "a", layout=layout)  # type: ignore[arg-type]


def test_the_nano_of_before_the_reducer_still_opens(tmp_path: Path) -> None:
    """Its names, shapes and metadata, as commit 103c4fa wrote them; the values are made here."""
    old = json.loads((Path(__file__).parent / "data" / "before_reducer" / "nano.json").read_text())
    values = torch.arange(0, 1, 1 / 997)
    tensors = {
        name: values.repeat(math.prod(shape) // len(values) + 1)[: math.prod(shape)].view(shape).half()
        for name, shape in old["shapes"].items()
    }
    save_file(tensors, tmp_path / "nano.safetensors", metadata=old["metadata"])
    model = checkpoint.load(tmp_path / "nano.safetensors", device="cpu")
    assert (model.config.trunk, model.config.image_size, model.config.zoom) == ("hiera", 256, True)
    assert same(model.state_dict(), {name: tensor.float() for name, tensor in tensors.items()})
