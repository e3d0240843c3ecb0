"""The peers: sam2==1.1.0, plain and compiled, and transformers, called as in their own examples.

Each imports its package when it is created, so that one can run without the other.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import masklet
from benchmarks.implementation import FULL, GRID, Workload
from benchmarks.timing import Stopwatch
from masklet import Sam2Config
from masklet.checkpoint.layouts import ORIGINAL, TRANSFORMERS, to_theirs
from masklet.transforms import frame_to_square

if TYPE_CHECKING:
    from transformers import Sam2VideoInferenceSession


def load_shared_weights(work: Workload) -> tuple[Sam2Config, dict[str, Tensor]]:
    """Load the config and the tensors, under masklet's names, of a file of weights."""
    model = masklet.load(work.weights, device="cpu", dtype="float32")
    return model.config, model.state_dict()


@contextlib.contextmanager
def recommended_context(device: torch.device) -> Iterator[None]:
    """A context without gradients and progress bars; on a GPU in bfloat16, as in the original's examples."""
    low = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    with torch.inference_mode(), low, contextlib.redirect_stderr(io.StringIO()):
        yield


class Original:
    """facebookresearch/sam2's predictors.

    compiled : whether to use its `vos_optimized` predictor, which is for GPUs
    """

    def __init__(self, work: Workload, *, compiled: bool = False) -> None:
        from parity import original

        self.work = work
        config, weights = load_shared_weights(work)
        target = "sam2.sam2_video_predictor.SAM2VideoPredictorVOS"
        switches = [f"++model._target_={target}", "++model.compile_image_encoder=True"] if compiled else []
        with mock.patch.object(original, "SWITCHES", [*original.SWITCHES, *switches]):
            self.model = original.build(config)
        self.model.load_state_dict(to_theirs(weights, ORIGINAL))
        self.model.to(work.device)
        self.predictor = original.image_predictor(self.model)
        self.make_mask_generator = original.mask_generator
        self.stopwatch = Stopwatch(work.device, work.clock)
        self.stopwatch.time_method(self.model, "forward_image", "encode")
        self.stopwatch.time_method(self.model, "_prepare_memory_conditioned_features", "attend")
        self.stopwatch.time_method(self.model, "_forward_sam_heads", "decode")
        self.stopwatch.time_method(self.model, "_encode_new_memory", "memorize")

    def segment_image(self) -> None:
        with recommended_context(self.work.device):
            self.predictor.set_image(self.work.frames[0])
        self.click()

    def click(self) -> None:
        with recommended_context(self.work.device):
            self.predictor.predict(np.array([self.work.click(1)]), np.array([1]))

    def make_generator(self) -> Callable[[], int]:
        knobs = {name: value for name, value in asdict(GRID).items() if name != "nms"}
        generator = self.make_mask_generator(self.model, **knobs)

        def generate() -> int:
            with recommended_context(self.work.device):
                return len(generator.generate(self.work.frames[0]))

        return generate

    def open(self, objects: int) -> None:
        with recommended_context(self.work.device), tempfile.TemporaryDirectory() as folder:
            write_frames(folder, self.work.frames)
            self.state = self.model.init_state(folder)
            for id in range(1, objects + 1):
                self._prompt(id)
            self.model.propagate_in_video_preflight(self.state)

    def _prompt(self, id: int) -> None:
        self.model.add_new_points_or_box(self.state, 0, id, [self.work.click(id)], [1])

    def fill_memory(self) -> None:
        with recommended_context(self.work.device):
            self.model.propagate_in_video_preflight(self.state)
        for outputs in self.state["output_dict_per_obj"].values():
            copy_output(outputs["cond_frame_outputs"][0], outputs["non_cond_frame_outputs"], FULL)

    def track_frame(self, frame: int) -> Tensor:
        with recommended_context(self.work.device):
            _, _, logits = next(self.model.propagate_in_video(self.state, frame, max_frame_num_to_track=0))
        return logits

    propagate_frame = track_frame


class Transformers:
    """transformers' video model, which by default caches the features of the last frame."""

    def __init__(self, work: Workload) -> None:
        from parity import transformers_reference

        self.work = work
        config, weights = load_shared_weights(work)
        self.model = transformers_reference.build(config).to(work.device)
        self.model.load_state_dict(to_theirs(weights, TRANSFORMERS))
        self.stopwatch = Stopwatch(work.device, work.clock)
        self.stopwatch.time_method(self.model, "get_image_features", "encode")
        self.stopwatch.time_method(self.model, "_prepare_memory_conditioned_features", "attend")
        self.stopwatch.time_method(self.model, "_single_frame_forward", "decode")
        self.stopwatch.time_method(self.model, "_batch_encode_memories", "memorize")

    def segment_image(self) -> None:
        with recommended_context(self.work.device):
            self.still = self._session(self.work.frames[:1])
        self.click()

    def click(self) -> None:
        with recommended_context(self.work.device):  # an image needs no memory
            self._prompt(self.still, 1, run_mem_encoder=False)

    def make_generator(self) -> Callable[[], int]:
        """The `mask-generation` pipeline, which needs torchvision."""
        import transformers

        video_config, side = self.model.config, self.model.image_size
        config = transformers.Sam2Config(
            vision_config=video_config.vision_config,
            prompt_encoder_config=video_config.prompt_encoder_config,
            mask_decoder_config=video_config.mask_decoder_config,
        )
        still = transformers.Sam2Model(config).eval()
        still.load_state_dict(self.model.state_dict(), strict=False)  # it has no memory
        processor = transformers.Sam2ImageProcessor(size={"height": side, "width": side})
        pipeline = transformers.pipeline(
            "mask-generation", model=still, image_processor=processor, device=self.work.device
        )
        image = Image.fromarray(self.work.frames[0])

        def generate() -> int:
            with recommended_context(self.work.device):
                output = pipeline(
                    image,
                    points_per_crop=GRID.points_per_side,
                    points_per_batch=GRID.points_per_batch,
                    pred_iou_thresh=GRID.pred_iou_thresh,
                    stability_score_thresh=GRID.stability_score_thresh,
                    stability_score_offset=GRID.stability_score_offset,
                    crops_nms_thresh=GRID.box_nms_thresh,
                )
            return len(output["masks"])

        return generate

    def open(self, objects: int) -> None:
        with recommended_context(self.work.device):
            self.session = self._session(self.work.frames)
            for id in range(1, objects + 1):
                self._prompt(self.session, id)

    def _session(self, frames: np.ndarray) -> Sam2VideoInferenceSession:
        from transformers import Sam2VideoInferenceSession

        height, width = frames.shape[1:3]
        return Sam2VideoInferenceSession(
            video=torch.cat([frame_to_square(frame, self.model.image_size) for frame in frames]),
            video_height=height,
            video_width=width,
            inference_device=self.work.device,
            inference_state_device=self.work.device,
            video_storage_device=self.work.device,
            dtype=torch.float32,
        )

    def _prompt(self, session: Sam2VideoInferenceSession, id: int, *, run_mem_encoder: bool = True) -> None:
        x, y = self.work.click(id)
        side = self.model.image_size
        point = torch.tensor([x * side / session.video_width, y * side / session.video_height])
        inputs = {
            "point_coords": point.view(1, 1, 1, 2),
            "point_labels": torch.ones(1, 1, 1, dtype=torch.int32),
        }
        session.add_point_inputs(session.obj_id_to_idx(id), 0, inputs)
        session.obj_with_new_inputs = [id]
        self._upsample(self.model(session, frame_idx=0, run_mem_encoder=run_mem_encoder), session)

    def fill_memory(self) -> None:
        for outputs in self.session.output_dict_per_obj.values():
            copy_output(outputs["cond_frame_outputs"][0], outputs["non_cond_frame_outputs"], FULL)

    def track_frame(self, frame: int) -> Tensor:
        with recommended_context(self.work.device):
            return self._upsample(self.model(self.session, frame_idx=frame), self.session)

    propagate_frame = track_frame

    def _upsample(self, output: Any, session: Sam2VideoInferenceSession) -> Tensor:
        return F.interpolate(
            output.pred_masks.float(), (session.video_height, session.video_width), mode="bilinear"
        )


def copy_output(output: dict[str, Any], outputs: dict[int, dict[str, Any]], frames: int) -> None:
    """Add copies of a frame's output as the outputs of frames 1 to `frames` - 1."""
    for frame in range(1, frames):
        outputs[frame] = {
            name: value.clone() if isinstance(value, Tensor) else value for name, value in output.items()
        }


def write_frames(folder: str, frames: np.ndarray) -> None:
    """Write frames as a folder of images, the original's input."""
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(Path(folder) / f"{number:05d}.jpg", quality=95)
