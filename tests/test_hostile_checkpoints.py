"""Damaged and hostile checkpoints end in a CheckpointError of one line, soon and in little memory."""

from __future__ import annotations

import json
import os
import pickle
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from masklet import checkpoint
from masklet.checkpoint.reading import MAX_HEADER, MAX_OPERATIONS
from masklet.config import toy
from masklet.errors import CheckpointError
from masklet.model import Sam2

SECONDS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    model = Sam2(toy())
    checkpoint.save(model, folder / "whole.safetensors")
    checkpoint.save(model, folder / "whole.pt", layout="original")
    return folder


def refusal(path: Path) -> str:
    """The message of the error that loading a file raises."""
    start = time.process_time()
    with pytest.raises(CheckpointError) as raised:
        checkpoint.load(path, device="cpu", engine="torch")
    assert time.process_time() - start < SECONDS
    assert "\n" not in str(raised.value)
    return str(raised.value)


def load_or_refuse(path: Path) -> None:
    """Mutations that change only weights are loaded."""
    start = time.process_time()
    try:
        checkpoint.load(path, device="cpu", engine="torch", config=toy() if path.suffix == ".pt" else None)
    except CheckpointError as error:
        assert "\n" not in str(error)
    assert time.process_time() - start < SECONDS


def with_config(folder: Path, config: object) -> Path:
    tensors, path = load_file(folder / "whole.safetensors"), folder / "config.safetensors"
    save_file(tensors, path, {"masklet": config if isinstance(config, str) else json.dumps(config)})
    return path


@pytest.mark.parametrize(
    "change, message",
    [
        ({"stages": [10**9, 1, 2, 1]}, "stages must be 4 whole numbers from 0 to 4096"),
        ({"stages": [4096, 4096, 4096, 4096]}, "its config has 16386 blocks, but the file only"),
        ({"stages": [1, 1]}, "stages must be 4 whole numbers"),
        ({"global_blocks": [1] * 1000}, "global_blocks must be at most 64 whole numbers"),
        ({"image_size": 1 << 30}, "image_size must be a whole number from 0 to 4096"),
        ({"image_size": 65}, "image_size must be a multiple of 32"),
        ({"embed_dim": -16}, "embed_dim must be a whole number"),
        ({"embed_dim": True}, "embed_dim must be a whole number"),
        ({"heads": 0}, "heads must be at least 1"),
        ({"heads": 1.5}, "heads must be a whole number"),
        ({"memory_channels": 0}, "memory_channels must be at least 1"),
        ({"memory_layers": 4096}, "its config has"),
        ({"memories": 6}, "memories must be at least 7"),
        ({"memory_channels": 2}, "memory_channels must be a multiple of 4"),
        ({"channels": 24, "memory_channels": 8}, "channels must be a multiple of 16"),
        ({"stages": [1, 0, 2, 1]}, "stages must be whole numbers from 1"),
        ({"background": [7, 0]}, "background must be whole numbers from 1"),
        ({"windows": [0, 4, 4, 2]}, "the first of windows must be at least 1"),
        ({"windows": [8, 1, 4, 2]}, "windows must be even in all stages but the last"),
        ({"image_size": 128}, "3 does not fit a map of 8 x 8, at image_size 128"),
        ({"channels": "many"}, "channels must be a whole number"),
        ({"zoom": 7}, "zoom must be true or false"),
        ({"trunk": "resnet"}, "trunk must be one of"),
        ({"trunk": None}, "trunk must be one of"),
        ({"revision": "3.0"}, "revision must be one of 2.0, 2.1"),
        ({"colour": 3}, "has no field 'colour'"),
    ],
)
def test_a_config_out_of_bounds_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    assert message in refusal(with_config(folder, asdict(toy()) | change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "[" * 100_000, '{"heads": NaN}'])
def test_a_config_that_is_no_object_is_refused(folder: Path, text: str) -> None:
    assert "does not have a valid SAM 2 config" in refusal(with_config(folder, text))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_that_are_not_finite_are_named(folder: Path, suffix: str, value: float) -> None:
    model = Sam2(toy())
    model.memory_attention.age.data[1, 2] = value
    path = folder / f"not_finite{suffix}"
    checkpoint.save(model, path, layout="original" if suffix == ".pt" else "masklet")
    name = "maskmem_tpos_enc" if suffix == ".pt" else "memory_attention.age"
    assert f"has NaN or infinite numbers in {name}: " in refusal(path)


def test_integers_are_no_weights(folder: Path) -> None:
    tensors = load_file(folder / "whole.safetensors")
    tensors["memory_attention.age"] = tensors["memory_attention.age"].to(torch.int32)
    save_file(tensors, folder / "integers.safetensors")
    assert "memory_attention.age as torch.int32" in refusal(folder / "integers.safetensors")


def test_a_small_archive_with_much_in_it_is_refused(folder: Path) -> None:
    path = folder / "marks.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"(" * 300_000_000)
        archive.writestr("archive/version", "3")
    assert path.stat().st_size < 1_000_000
    assert "is compressed" in refusal(path)


@pytest.mark.parametrize("stored", [True, False], ids=["in a zip file", "bare"])
def test_a_pickle_of_millions_of_operations_is_refused(folder: Path, stored: bool) -> None:
    path, marks = folder / "marks.pt", b"\x80\x02" + b"(" * (3 * MAX_OPERATIONS)
    if stored:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", marks)
    else:
        path.write_bytes(marks)
    assert "damaged" in refusal(path)


def test_a_tensor_that_repeats_one_number_is_refused(folder: Path) -> None:
    path = folder / "wide.pt"
    torch.save(
        {"model": {"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(1).expand(10**12)}}, path
    )
    assert "claims more numbers than its size allows" in refusal(path)


def test_a_header_longer_than_the_file_is_refused(folder: Path) -> None:
    path = folder / "header.safetensors"
    for length in (MAX_HEADER + 1, 2**63 - 1, 10):
        path.write_bytes(length.to_bytes(8, "little") + b"{}")
        assert "damaged" in refusal(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_pipe_is_refused_without_waiting(folder: Path, suffix: str) -> None:
    path = folder / f"pipe{suffix}"
    os.mkfifo(path)
    assert refusal(path).endswith("is not a file: pass a .safetensors or .pt file.")


def test_a_folder_named_like_a_file_holds_no_weights(folder: Path) -> None:
    (folder / "folder.pt").mkdir()
    assert "It contains none" in refusal(folder / "folder.pt")


def test_names_with_line_breaks_stay_on_one_line(folder: Path) -> None:
    tensors = load_file(folder / "whole.safetensors")
    tensors["two\nlines" * 100] = torch.zeros(1)
    save_file(tensors, folder / "names.safetensors", {"masklet": toy().to_json()})
    assert len(refusal(folder / "names.safetensors")) < 400


def test_keys_that_are_no_text_are_left_out(folder: Path) -> None:
    torch.save({"model": {7: torch.zeros(1), "a": torch.zeros(1)}}, folder / "keys.pt")
    assert "no key starts with" in refusal(folder / "keys.pt")


def test_code_in_an_archive_is_never_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(folder / "code.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02c__builtin__\nprint\nX\x03\x00\x00\x00run\x85R.")
        archive.writestr("archive/version", "3")
    assert "contains code" in refusal(folder / "code.pt")
    assert not capsys.readouterr().out


def test_a_shape_that_does_not_fit_is_refused_before_memory_is_taken(folder: Path) -> None:
    config = asdict(toy()) | {"channels": 4096, "feedforward": 4096, "memory_channels": 4096}
    assert "other shapes for" in refusal(with_config(folder, config))


def flip_bytes(content: bytes, places: list[tuple[float, int]]) -> bytes:
    changed = bytearray(content)
    for place, value in places:
        changed[int(place * (len(changed) - 1))] = value
    return bytes(changed)


def near_the_start(length: int) -> st.SearchStrategy[float]:
    """Places in a file: half of them in its header."""
    return st.one_of(st.floats(0, 1), st.floats(0, min(1.0, 20_000 / length)))


EDITS: dict[str, Callable[[bytes, list[tuple[float, int]]], bytes]] = {
    "bytes": flip_bytes,
    "cut": lambda content, places: content[: int(places[0][0] * len(content))],
    "doubled": lambda content, places: content + content[int(places[0][0] * len(content)) :],
    "gap": lambda content, places: (
        content[: int(places[0][0] * len(content))] + content[int(places[-1][0] * len(content)) :]
    ),
}


def mutate(folder: Path, name: str, data: st.DataObject) -> None:
    content = (folder / name).read_bytes()
    place = st.tuples(near_the_start(len(content)), st.integers(0, 255))
    places = data.draw(st.lists(place, min_size=1, max_size=8))
    edit = EDITS[data.draw(st.sampled_from(list(EDITS)))]
    path = folder / f"mutated{Path(name).suffix}"
    path.write_bytes(edit(content, places))
    load_or_refuse(path)


@pytest.mark.parametrize("name", ["whole.safetensors", "whole.pt"])
@settings(max_examples=30)
@given(data=st.data())
def test_mutated_files_load_or_are_refused(folder: Path, name: str, data: st.DataObject) -> None:
    mutate(folder, name, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whole.safetensors", "whole.pt"])
@settings(max_examples=5000)
@given(data=st.data())
def test_thousands_of_mutated_files_load_or_are_refused(folder: Path, name: str, data: st.DataObject) -> None:
    mutate(folder, name, data)


@settings(max_examples=100)
@given(content=st.binary(max_size=2000))
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_random_bytes_are_refused(folder: Path, suffix: str, content: bytes) -> None:
    path = folder / f"random{suffix}"
    path.write_bytes(content)
    refusal(path)


@settings(max_examples=60)
@given(value=st.recursive(st.none() | st.integers() | st.text(max_size=9), st.lists, max_leaves=9))
def test_pickles_of_anything_are_refused(folder: Path, value: object) -> None:
    path = folder / "anything.pt"
    path.write_bytes(pickle.dumps(value))
    refusal(path)
