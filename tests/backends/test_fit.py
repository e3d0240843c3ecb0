"""Which engine is chosen, and that it stays out of the way of gradients."""

from __future__ import annotations

import copy

import pytest
import torch

import masklet
from masklet.backends import TorchBackend, fit
from masklet.backends.native import NativeBackend, library, list_weights
from masklet.errors import MaskletError
from toy_models import toy_network

needs_kernels = pytest.mark.skipif(library.missing() is not None, reason=f"no kernels: {library.missing()}")


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "missing", lambda: "there is no C++ compiler (g++ or clang++)")


@needs_kernels
def test_a_network_runs_on_the_kernels_but_where_it_cannot() -> None:
    assert isinstance(masklet.load(device="cpu").backend, NativeBackend)  # of nano's verbs all but encode
    assert isinstance(masklet.load(device="cpu", engine="torch").backend, TorchBackend)
    assert isinstance(masklet.load(device="cpu", dtype="bfloat16").backend, TorchBackend)


def test_without_kernels_torch_runs_everything(without_kernels: None) -> None:
    lines = masklet.load(device="cpu").backend.explain()
    assert [line.runs_on for line in lines] == ["torch, float32"] * 4
    assert all("no C++ compiler" in line.reason for line in lines)


def test_kernels_that_cannot_be_used_are_refused(without_kernels: None) -> None:
    with pytest.raises(MaskletError, match=r"engine='kernels' cannot be used: there is no C\+\+ compiler"):
        masklet.load(device="cpu", engine="kernels")


def test_kernels_do_not_take_rounded_weights() -> None:
    with pytest.raises(MaskletError, match="engines need float32"):
        masklet.load(device="cpu", dtype="bfloat16", engine="kernels")


def test_engines_do_not_take_rounded_weights_they_have_at_hand() -> None:
    with pytest.raises(MaskletError, match="Use engine='torch'"):
        fit(toy_network().to(torch.bfloat16), "openvino")


@needs_kernels
def test_gradients_and_files_know_nothing_of_engines() -> None:
    network = toy_network()
    names = set(network.state_dict())
    fit(network, setting="balanced")
    assert set(network.state_dict()) == names
    image = torch.randn(1, 3, 64, 64)
    exact = toy_network().encode(image).coarse
    torch.testing.assert_close(network.encode(image).coarse, exact)
    network.encode(image).coarse.sum().backward()
    assert network.image_encoder.trunk.patch.weight.grad is not None
    with torch.inference_mode():
        assert not torch.equal(network.encode(image).coarse, exact)


@needs_kernels
def test_weights_that_change_are_followed() -> None:
    network, image = toy_network(), torch.randn(1, 3, 64, 64)
    fit(network)
    with torch.no_grad():
        before = network.encode(image).fine
        for weight in network.image_encoder.trunk.blocks.parameters():
            weight.mul_(1.5)
        after = network.encode(image).fine
    assert not torch.allclose(after, before)
    expected = network.encode(image).fine.detach()
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@needs_kernels
def test_a_network_that_moves_leaves_its_engines() -> None:
    network, image = toy_network(), torch.randn(1, 3, 64, 64)
    fit(network)
    network.double()
    with torch.inference_mode():
        assert network.encode(image).coarse.dtype == torch.float64


@needs_kernels
def test_a_fitted_network_can_be_copied() -> None:
    network = toy_network()
    fit(network)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(copy.deepcopy(network).encode(image).fine, network.encode(image).fine)


def test_only_fast_pools_memories() -> None:
    assert masklet.load(device="cpu", setting="fast").memory_attention.pooled
    assert not masklet.load(device="cpu", setting="balanced").memory_attention.pooled


def test_all_weights_are_watched_even_those_of_a_module_that_takes_anothers_place() -> None:
    encoder = toy_network().image_encoder

    def listed() -> set[int]:
        return {id(weight) for weight in list_weights(encoder)}

    before = listed()
    assert before == {id(weight) for weight in (*encoder.parameters(), *encoder.buffers())}
    encoder.to_fine = copy.deepcopy(encoder.to_fine)
    assert listed() == {id(weight) for weight in (*encoder.parameters(), *encoder.buffers())} != before
