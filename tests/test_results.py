"""Masks as arrays, polygons, COCO and images: for a frame, an image's candidates, and a video."""

import copy
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import replace

import matplotlib.figure
import matplotlib.path
import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

import masklet
from masklet import rle
from masklet.auto import RleMasks, everything
from masklet.config import toy
from masklet.drawing import STRIP
from masklet.errors import MissingExtra, PromptError
from masklet.image_candidates import Candidate, ImageCandidates
from masklet.masks import MaskIterator, Masks
from masklet.results import MaskResult

SIZE = (6, 8)
LEFT = np.zeros(SIZE, dtype=bool)
LEFT[:, :3] = True
NOTHING = np.zeros(SIZE, dtype=bool)
IMAGE = np.full((*SIZE, 3), 200, dtype=np.uint8)

masks_of_any_shape = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def two_objects() -> Masks:
    return Masks.from_arrays(3, {2: LEFT, 7: ~LEFT}, SIZE, iou=[0.5, 0.25])


def candidates() -> ImageCandidates:
    one = torch.tensor(1.0)
    inside = torch.from_numpy(LEFT).float() * 2 - 1
    return ImageCandidates.rank(
        SIZE, [Candidate(-inside, one / 2, one, SIZE), Candidate(inside, one, one, SIZE)]
    )


def model() -> masklet.Sam2:
    torch.manual_seed(0)
    return masklet.Sam2(toy()).eval()


def test_an_array_of_masks_is_their_pixels_and_not_their_ids() -> None:
    masks = two_objects()
    array = np.asarray(masks)
    assert array.dtype == bool and array.shape == (2, *SIZE)
    assert (array == np.stack([LEFT, ~LEFT])).all() and (masks.numpy() == array).all()
    assert np.asarray(masks, dtype=np.uint8).sum() == LEFT.size
    assert list(masks) == [2, 7]
    array[:] = False
    assert masks[2].any(), "the array is the caller's own"


def test_an_array_of_candidates_is_their_masks_best_first() -> None:
    assert (np.asarray(candidates()) == np.stack([LEFT, ~LEFT])).all()


def test_an_array_of_no_masks_has_no_rows() -> None:
    assert np.asarray(Masks.empty(0, SIZE)).shape == (0, *SIZE)


@given(masks_of_any_shape)
def test_polygons_without_tolerance_fill_to_the_mask(mask: np.ndarray) -> None:
    size = mask.shape[0], mask.shape[1]
    (polygons,) = Masks.from_arrays(0, {1: mask}, size).polygons(0).values()
    filled = np.zeros(size, dtype=bool)
    centers = np.stack(np.meshgrid(np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5), axis=-1).reshape(
        -1, 2
    )
    for ring in (ring for polygon in polygons for ring in polygon):
        filled ^= matplotlib.path.Path(np.vstack([ring, ring[:1]])).contains_points(centers).reshape(size)
    assert (filled == mask).all()


@given(masks_of_any_shape)
def test_coco_annotations_are_those_of_pycocotools(mask: np.ndarray) -> None:
    size = mask.shape[0], mask.shape[1]
    annotations = Masks.from_arrays(0, {4: mask}, size).to_coco(image_id=9, category_ids={4: 2})
    if not mask.any():
        assert annotations == []
        return
    (annotation,) = annotations
    rows, columns = np.nonzero(mask)
    assert (rle.decode(annotation["segmentation"]) == mask).all()
    assert annotation["area"] == mask.sum()
    assert annotation["bbox"] == [
        columns.min(),
        rows.min(),
        columns.max() + 1 - columns.min(),
        rows.max() + 1 - rows.min(),
    ]
    assert (annotation["image_id"], annotation["category_id"], annotation["object_id"]) == (9, 2, 4)


def test_pycocotools_evaluates_the_annotations() -> None:
    truth = [{"id": row, **one} for row, one in enumerate(two_objects().to_coco(image_id=1), 1)]
    ground = COCO()
    ground.dataset = {
        "images": [{"id": 1, "height": 6, "width": 8}],
        "annotations": truth,
        "categories": [{"id": 1}],
        "info": {},
    }
    ground.createIndex()
    evaluation = COCOeval(ground, ground.loadRes(two_objects().to_coco(image_id=1)), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_the_masks_are_painted_over_the_image_in_the_colours_of_their_objects() -> None:
    image = Masks.from_arrays(0, {2: LEFT}, SIZE).with_image(lambda: IMAGE).draw()
    assert (image[:, 7] == IMAGE[:, 7]).all()
    assert image[3, 0, 1] > image[3, 0, 0], "object 2 is green"
    assert (IMAGE == 200).all()


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image must be uint8 \(6, 8, 3\).*Got uint8 \(8, 6, 3\)"):
        two_objects().draw(np.zeros((8, 6, 3), dtype=np.uint8))


def test_a_notebook_gets_an_image() -> None:
    for shown in (two_objects(), candidates()):
        png = PIL.Image.open(io.BytesIO(shown._repr_png_()))
        assert png.format == "PNG"
        assert "data:image/png;base64," in shown._repr_html_()
    assert "2: IoU 0.50" in two_objects()._repr_html_()
    assert candidates()._repr_html_().count("<img") == 2


def test_masks_are_plotted() -> None:
    axes = two_objects().plot(IMAGE, matplotlib.figure.Figure().add_subplot())
    assert axes.images[0].get_array().shape == (*SIZE, 3)


def test_show_opens_the_viewer_outside_of_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[int, int]] = []
    monkeypatch.setattr(PIL.Image.Image, "show", lambda self: opened.append(self.size))
    two_objects().show(IMAGE)
    candidates().show()
    assert opened == [(8, 6), (20, 6)], "two candidates lie side by side, with four pixels between them"


def test_tracked_masks_know_their_frames_and_their_number() -> None:
    video = np.arange(5, dtype=np.uint8).repeat(48 * 64 * 3).reshape(5, 48, 64, 3)
    tracked = masklet.track(model(), video, {1: {1: masklet.Prompt(positive=[(20, 24)])}})
    assert len(tracked) == 4
    frames = list(tqdm(tracked, disable=True))
    assert [masks.image()[0, 0, 0] for masks in frames if masks.image] == [1, 2, 3, 4]
    session = masklet.VideoSession(model(), video)
    masks = session.prompt(2, 1, masklet.Prompt(positive=[(20, 24)]))
    assert masks.image is not None and masks.image()[0, 0, 0] == 2
    assert len(session.propagate()) == 3


def test_a_stream_has_no_length_and_its_frames_are_not_kept() -> None:
    frames = (np.zeros((48, 64, 3), dtype=np.uint8) for _ in range(3))
    tracked = masklet.track(model(), frames, {0: {1: masklet.Prompt(positive=[(20, 24)])}})
    with pytest.raises(TypeError, match="number of frames is not known"):
        len(tracked)
    assert tracked and [masks.image for masks in tracked] == [None] * 3


def test_everything_shows_its_image_and_its_filmstrip() -> None:
    segments = everything(model(), IMAGE.repeat(8, 0).repeat(8, 1), "fast")
    assert isinstance(segments, masklet.Segments) and segments.image is not None
    found = everything(model(), np.zeros((3, 48, 64, 3), dtype=np.uint8), "fast")
    assert isinstance(found, masklet.MaskletSet) and len(found) == 3
    assert "0 of 3 frames read" in found._repr_html_()
    assert [masks.frame for masks in found] == [0, 1, 2]
    assert "3 of 3 frames read" in found._repr_html_() and found._repr_html_().count("<img") == 3


@given(st.integers(0, 200))
def test_a_filmstrip_is_spread_evenly_over_the_frames_that_were_read(length: int) -> None:
    frames = MaskIterator(Masks.empty(frame, SIZE) for frame in range(length))
    assert sum(1 for _ in frames) == length
    shown = [int(tile.caption.removeprefix("frame ")) for tile in frames._tiles()]
    assert len(shown) == min(length, STRIP)
    if length > 2 * STRIP:
        steps = np.diff(shown)
        assert shown[0] == 0 and steps.max() <= 4 * steps.min()
        assert shown[-1] >= length * 0.7


def test_pickled_masks_leave_their_video_behind() -> None:
    masks = two_objects().with_image(lambda: IMAGE)
    assert pickle.loads(pickle.dumps(masks)).image is None
    assert masks.image is not None


def test_several_prompts_are_answered_as_they_are_alone() -> None:
    session = masklet.ImageSession(model(), IMAGE.repeat(8, 0).repeat(8, 1), zoom=False)
    prompts = [
        masklet.Prompt(positive=[(9, 24)]),
        masklet.Prompt(box=(20, 10, 60, 30)),
        masklet.Prompt(positive=[(30, 24)]),
        masklet.Prompt(positive=[(30, 24)], negative=[(5, 5)]),
    ]
    together = session.segment(prompts)
    for answer, prompt in zip(together, prompts, strict=True):
        alone = session.segment(prompt)
        assert torch.allclose(answer.logits, alone.logits, atol=1e-4)
        assert len(answer) == len(alone)
    by_id = session.segment({5: prompts[0], 2: prompts[1]})
    assert by_id.ids == (5, 2)
    for row, answer in zip(by_id.logits, together[:2], strict=True):  # decoded in batches of other sizes
        assert torch.allclose(row, answer.logits[0], atol=1e-4)
    corrected = session.segment({5: prompts[0] | masklet.Prompt(negative=[(1, 1)])}, hint=by_id)
    alone = session.segment(prompts[0] | masklet.Prompt(negative=[(1, 1)]), hint=by_id.select(5))
    assert torch.allclose(corrected.logits[0], alone.logits[0], atol=1e-4)


def test_no_prompts_give_no_masks() -> None:
    session = masklet.ImageSession(model(), IMAGE)
    assert session.segment([]) == [] and session.segment({}).ids == ()


def test_hints_that_do_not_fit_several_prompts_are_refused() -> None:
    session, prompt = masklet.ImageSession(model(), IMAGE), masklet.Prompt(positive=[(1, 1)])
    with pytest.raises(masklet.PromptError, match=r"2 prompts need 2 hints\. Got 1\."):
        session.segment([prompt] * 2, hint=[two_objects()])
    with pytest.raises(masklet.PromptError, match=r"a list of prompts needs a list of hints\. Got Masks\."):
        session.segment([prompt] * 2, hint=two_objects())  # type: ignore[call-overload]
    with pytest.raises(
        masklet.PromptError, match=r"prompts by id need masks with ids as their hint\. Got list\."
    ):
        session.segment({1: prompt}, hint=[two_objects()])  # type: ignore[call-overload]


@pytest.mark.parametrize("batch", [None, 1, 2, 5])
def test_many_images_are_segmented_as_each_alone(batch: int | None) -> None:
    network, random = model(), np.random.default_rng(0)
    images = [random.integers(0, 255, (40 + 8 * row, 64, 3), dtype=np.uint8) for row in range(3)]
    prompts = [{1: masklet.Prompt(positive=[(20, 24)])}, masklet.Prompt(box=(4, 4, 30, 30)), []]
    first, second, third = masklet.segment_many(network, iter(images), prompts, batch=batch)
    alone = masklet.ImageSession(network, images[0]).segment(prompts[0])
    assert isinstance(first, Masks) and torch.allclose(first.logits, alone.logits, atol=1e-4)
    assert isinstance(second, ImageCandidates) and third == []
    assert second.image is not None and (second.image() == images[1]).all()


@pytest.mark.parametrize(("images", "prompts"), [(2, 1), (1, 2)])
def test_as_many_prompts_as_images_are_needed(images: int, prompts: int) -> None:
    answers = masklet.segment_many(model(), [IMAGE] * images, [masklet.Prompt(positive=[(1, 1)])] * prompts)
    with pytest.raises(masklet.PromptError, match="prompts for each image"):
        list(answers)


def test_a_candidate_is_enlarged_once() -> None:
    one = torch.tensor(1.0)
    candidate = Candidate(torch.ones(2, 2), one, one, SIZE)
    mask = candidate.mask
    same, other = candidate.with_cells(candidate.inside), candidate.with_cells(~candidate.inside)
    assert same.mask is mask and mask.all() and not other.mask.any()
    copied = replace(candidate)
    assert len(pickle.dumps(copied)) == len(pickle.dumps(candidate)) and copied.mask is not mask
    assert pickle.loads(pickle.dumps(candidate)) == candidate


@pytest.mark.parametrize("id", [0, -1, "dog", True])
def test_a_candidate_becomes_the_mask_of_an_object_only(id: int, unchecked: None) -> None:
    one = torch.tensor(1.0)
    candidates = ImageCandidates.rank(SIZE, [Candidate(torch.ones(2, 2), one, one, SIZE)])
    with pytest.raises(PromptError, match="whole number from 1;"):
        candidates.as_masks(id)


def test_an_error_of_a_worker_reaches_its_parent() -> None:
    error = MissingExtra("ray", "ray")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.extra) == (MissingExtra, str(error), "ray")


def from_codes() -> RleMasks:
    codes = tuple(map(rle.encode, (LEFT, ~LEFT | LEFT)))
    return RleMasks(3, (2, 7), torch.ones(2, 2, 2), SIZE, torch.ones(2), torch.ones(2), codes)


@pytest.mark.parametrize("make", [two_objects, candidates, from_codes, lambda: Masks.empty(0, SIZE)])
def test_results_are_equal_if_all_that_they_hold_is(make: Callable[[], MaskResult]) -> None:
    one = make()
    assert one == make() and one == copy.deepcopy(one) == pickle.loads(pickle.dumps(one))
    assert one in [Masks.empty(1, SIZE), make()]
    assert one != Masks.empty(9, SIZE) and one != 1 and one is not None
    assert two_objects() != Masks.from_arrays(3, {2: LEFT, 7: LEFT}, SIZE, iou=[0.5, 0.25])


def test_coco_annotations_of_numpy_numbers_are_written_by_json(unchecked: None) -> None:
    annotations = two_objects().to_coco(np.int64(5), {2: np.int32(4)})
    assert [(row["image_id"], row["category_id"]) for row in json.loads(json.dumps(annotations))] == [
        (5, 4),
        (5, 1),
    ]


@pytest.mark.parametrize("iou", [[float("nan")], 0.5, ["good"], [[0.5]]])
def test_scores_of_given_masks_are_finite_numbers(iou: object, unchecked: None) -> None:
    with pytest.raises(PromptError, match="a list of finite numbers"):
        Masks.from_arrays(0, {1: LEFT}, SIZE, iou)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match="a frame must be a whole number"):
        Masks.from_arrays("0", {1: LEFT}, SIZE)  # type: ignore[arg-type]


def test_objects_are_selected_once_and_keep_plain_ids(unchecked: None) -> None:
    for masks in (two_objects(), from_codes()):
        selected = masks.select(np.int64(7), 2, 7)  # type: ignore[arg-type]
        assert selected.ids == (7, 2) and len(selected.numpy()) == 2
        assert json.dumps(selected.to_coco())


def test_masks_can_be_drawn_on(unchecked: None) -> None:
    """Each is a copy, so that writers and label maps still show what the network saw."""
    masks = Masks(0, (7,), torch.full((1, 2, 2), 3.0), (4, 6), torch.ones(1), torch.ones(1))
    one = torch.tensor(1.0)
    candidates = ImageCandidates.rank((4, 6), [Candidate(torch.full((2, 2), 3.0), one, one, (4, 6))])
    masks[7][:] = False
    dict(masks.items())[7][:] = False
    candidates[0][:] = False
    assert masks[7].all() and masks.label_map().all() and candidates[0].all() and candidates.label_map().all()


def test_pickled_masks_are_small() -> None:
    masks = Masks(0, (7,), torch.full((1, 2, 2), 3.0), (400, 600), torch.ones(1), torch.ones(1))
    small = len(pickle.dumps(masks))
    assert masks[7].all() and masks.boxes.any() and len(pickle.dumps(masks)) == small < 3000
    assert pickle.loads(pickle.dumps(masks)) == masks
