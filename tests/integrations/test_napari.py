"""The napari plugin: with napari's own layers where it is installed, with stand-ins otherwise."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

import masklet
from masklet.config import toy
from masklet.integrations import napari as plugin

SIZE = (48, 64)


@dataclass
class Layer:
    """What the plugin reads of a napari layer."""

    data: object
    features: dict[str, list[int]] = field(default_factory=dict)
    rgb: bool = False


@pytest.fixture
def model() -> masklet.Sam2:
    torch.manual_seed(0)
    network = masklet.Sam2(toy()).eval()
    torch.nn.init.constant_(network.mask_decoder.score_head.layers[-1].bias, 10.0)
    return network


def rectangle(page: int) -> np.ndarray:
    return np.array([[page, 5, 10], [page, 5, 40], [page, 30, 40], [page, 30, 10]], dtype=float)


def test_layers_become_prompts_by_page_and_object() -> None:
    brush = np.zeros((4, *SIZE), dtype=int)
    brush[3, 2:9, 2:9] = 7
    prompts = plugin.read_prompts(
        Layer(np.array([[0, 20, 30], [2, 8, 9]])),
        Layer(np.array([[0, 1, 2]])),
        Layer([rectangle(1)], {"object": [5]}),
        Layer(brush),
    )
    assert prompts[0] == {1: masklet.Prompt(positive=[(30, 20)], negative=[(2, 1)])}
    assert prompts[1] == {5: masklet.Prompt(box=(10, 5, 40, 30))}
    assert prompts[2] == {1: masklet.Prompt(positive=[(9, 8)])}
    assert prompts[3][7].mask is not None and (prompts[3][7].mask == (brush[3] == 7)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_stack_is_tracked_both_ways(model: masklet.Sam2, dtype: type) -> None:
    stack = (np.random.default_rng(0).random((4, *SIZE)) * 200).astype(dtype)
    labels = plugin.segment_layers(model, Layer(stack), boxes=Layer([rectangle(2)]))
    session = masklet.VideoSession(model, stack)
    session.prompt(2, 1, masklet.Prompt(box=(10, 5, 40, 30)))
    expected = {
        masks.frame: masks[1] for reverse in (False, True) for masks in session.propagate(reverse=reverse)
    }
    assert labels.shape == stack.shape and sorted(expected) == [0, 1, 2, 3]
    assert all(((labels[page] == 1) == mask).all() for page, mask in expected.items())


def test_an_image_is_segmented(model: masklet.Sam2) -> None:
    image = np.zeros((*SIZE, 3), dtype=np.uint8)
    labels = plugin.segment_layers(model, Layer(image, rgb=True), Layer(np.array([[20, 30]])))
    expected = masklet.ImageSession(model, image).segment(masklet.Prompt(positive=[(30, 20)])).best
    assert ((labels == 1) == expected).all()


def test_layers_that_point_at_nothing_are_refused(model: masklet.Sam2) -> None:
    with pytest.raises(masklet.PromptError, match="there are no prompts"):
        plugin.segment_layers(model, Layer(np.zeros(SIZE, dtype=np.uint8)), Layer(np.zeros((0, 2))))


@pytest.mark.filterwarnings("ignore")  # of what napari imports
def test_napari_finds_the_plugin() -> None:
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_file(Path(plugin.__file__).with_suffix(".yaml"))
    (widget,) = manifest.contributions.widgets
    (command,) = manifest.contributions.commands
    assert widget.command == command.id
    assert command.python_name == "masklet.integrations.napari:make_widget"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_widget_adds_a_labels_layer(model: masklet.Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    napari = pytest.importorskip("napari")
    monkeypatch.setattr(plugin, "load", lambda name: model)
    layers = napari.layers
    image = layers.Image(
        np.zeros((3, *SIZE), dtype=np.uint16), name="stack", scale=(2, 1, 1), translate=(0, 5, 7)
    )
    boxes = layers.Shapes([rectangle(0)], shape_type="rectangle")
    [(data, shown, kind)] = plugin.make_widget()._function(image, boxes=boxes)
    labels = layers.Labels(data, **shown)
    assert kind == "labels" and labels.data.shape == (3, *SIZE)
    assert labels.scale.tolist() == [2, 1, 1] and labels.translate.tolist() == [0, 5, 7]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_widget_says_what_is_wrong_in_the_sentence_itself(
    model: masklet.Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    napari = pytest.importorskip("napari")
    monkeypatch.setattr(plugin, "load", lambda name: model)
    messages: list[str] = []
    monkeypatch.setattr(napari.utils.notifications, "show_error", messages.append)
    image = napari.layers.Image(np.zeros((3, *SIZE), dtype=np.uint16))
    assert plugin.make_widget()._function(image) == []
    assert messages == ["there are no prompts: add points, a rectangle or brush strokes."]


@dataclass
class PlacedLayer(Layer):
    """A layer with napari's scale and translation."""

    scale: float = 1.0
    shift: float = 0.0

    def data_to_world(self, position: np.ndarray) -> tuple[float, ...]:
        return tuple(np.asarray(position) * self.scale + self.shift)

    def world_to_data(self, position: tuple[float, ...]) -> np.ndarray:
        return (np.asarray(position) - self.shift) / self.scale


def test_prompts_lie_where_napari_shows_them_over_the_image() -> None:
    """A calibrated image has pixels of 0.5 micrometres, and points were added in micrometres."""
    image = PlacedLayer(np.zeros((2, *SIZE)), scale=0.5, shift=1.0)
    points = PlacedLayer(np.array([[1, 11, 16]]))
    boxes = PlacedLayer([rectangle(0) * 0.25 + 0.5], scale=2.0)
    prompts = plugin.read_prompts(points, None, boxes, None, image)
    assert prompts[0] == {
        1: masklet.Prompt(positive=[(30, 20)], box=(10, 5, 40, 30)),
    }


@pytest.mark.parametrize("ids", [["cell"], [float("nan")], [0], [1.5]])
def test_objects_are_whole_numbers(ids: list) -> None:
    points = Layer(np.array([[20, 30]]), {"object": ids})
    with pytest.raises(masklet.PromptError, match="whole numbers from 1"):
        plugin.read_prompts(points, None, None, None)
    points.features["object"] = list(np.array([3.0]))
    assert list(plugin.read_prompts(points, None, None, None)[0]) == [3]


def test_masks_are_shown_where_the_image_is() -> None:
    image = PlacedLayer(np.zeros(SIZE), scale=0.5, shift=3.0)
    place = plugin.find_placement(image, 2)
    assert place["scale"].tolist() == [0.5, 0.5] and place["translate"].tolist() == [3, 3]
    turn = np.array([[0.0, -2.0], [2.0, 0.0]])
    image.data_to_world = lambda position: turn @ position + 1  # type: ignore[method-assign]
    assert plugin.find_placement(image, 2)["affine"].tolist() == [[0, -2, 1], [2, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize(("scale", "shift"), [(2.0, 0.0), (1.0, 5.0)])
def test_a_brush_beside_the_image_is_refused(scale: float, shift: float) -> None:
    image, painted = PlacedLayer(np.zeros(SIZE)), np.ones(SIZE, dtype=int)
    with pytest.raises(masklet.PromptError, match="pixel by pixel"):
        plugin.read_prompts(None, None, None, PlacedLayer(painted, scale=scale, shift=shift), image)
    assert plugin.read_prompts(None, None, None, PlacedLayer(painted), image)


def test_points_of_another_page_are_none_on_an_image(model: masklet.Sam2) -> None:
    with pytest.raises(masklet.PromptError, match="there are no prompts"):
        plugin.segment_layers(model, Layer(np.zeros(SIZE)), Layer(np.array([[3, 20, 30]])))


def test_a_pyramid_is_segmented_at_its_full_size(model: masklet.Sam2) -> None:
    @dataclass
    class Pyramid(Layer):
        multiscale: bool = True

    image = (np.random.default_rng(0).random(SIZE) * 200).astype(np.uint8)
    points = Layer(np.array([[20, 30]]))
    expected = plugin.segment_layers(model, Layer(image), points)
    assert (plugin.segment_layers(model, Pyramid([image, image[::2, ::2]]), points) == expected).all()
