"""The compiled backend: each verb as one graph of fixed shapes, made by `torch.compile`.

A graph is compiled for a number of objects and a number of memories; fewer are padded. So a verb is compiled
when a shape first occurs, in the first frames, and not again when objects are added or removed. On a CPU the
code is C++; on a CUDA device it is Triton's, and in the main thread replayed as a CUDA graph.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from masklet.backends.backend import OBJECTS_PER_BATCH, VERBS, Explanation, Network, TorchBackend
from masklet.config import Sam2Config
from masklet.errors import MaskletError, first_line
from masklet.nn.image_encoder import ImageEncoder
from masklet.nn.mask_decoder import MaskDecoder
from masklet.nn.memory_attention import MemoryAttention, MemoryTensors
from masklet.nn.memory_encoder import MemoryEncoder

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

SIZES = (1, 4, 16, 64)  # objects in one graph
FRAMES = 8  # encoded in one graph on a CUDA device, where memory allows it
GRAPHS = 256  # of one verb, for all networks of a process; torch's own limit is 8
TRACKED_TOKENS = 2  # of the decoder while it only tracks, or answers one click

# Memory of one object during memory attention, as a multiple of its keys at full width: an estimate.
KEY_COPIES = 8
CPU_BUDGET = 2 * 2**30
CUDA_SHARE = 0.25  # fraction of the memory that is free when the network is loaded


class CompiledBackend:
    """Runs verbs as graphs of fixed shapes. If a prompt has several clicks or a hint, torch decodes it.

    The numbers are those of torch except for the order of sums. Weights may change; they are inputs.

    Args:
        network: Whose modules are compiled.
        compiler: A backend of `torch.compile`. Tests use "eager", which compiles nothing.
        sizes: The numbers of objects for which there may be graphs, ascending from 1. By default 1 on a CPU,
            which gains nothing from more, and up to what memory allows on a CUDA device.
        frames: The number of frames of a stored video that are encoded in one call. By default one on a CPU.
    """

    def __init__(
        self,
        network: Network,
        *,
        compiler: str = "inductor",
        sizes: Sequence[int] | None = None,
        frames: int | None = None,
    ) -> None:
        self.network, self.compiler = network, compiler
        self.torch = TorchBackend(network)
        is_cuda = network.device.type == "cuda"
        self.has_cuda_graphs = is_cuda and compiler == "inductor"
        largest = objects_within(memory_budget(network.device), network.config, network.dtype.itemsize)
        defaults = [size for size in SIZES if size <= largest] if is_cuda else [1]
        self.sizes = tuple(sizes or defaults or [1])
        self.objects_per_batch = max(OBJECTS_PER_BATCH, self.sizes[-1])
        self.frames_per_batch = frames or (FRAMES if is_cuda and largest >= FRAMES else 1)
        self._encode = self._compile(encode_image)
        self._attend = self._compile(attend_to_memories)
        self._decode = self._compile(decode_masks)
        self._memorize = self._compile(encode_memories)

    def encode(self, image: Float[Tensor, "b 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        coarse, middle, fine = self._run_in_chunks(
            self._encode,
            self.network.image_encoder,
            len(image),
            (image,),
            sizes=(1, self.frames_per_batch) if self.frames_per_batch > 1 else (1,),
        )
        return coarse, middle, fine

    def attend(self, coarse: Float[Tensor, "#b c h w"], memories: MemoryTensors) -> Float[Tensor, "b c h w"]:
        tokens, weights = memories.tokens, memories.weights
        k, p = tokens.shape[1], memories.ages.shape[1]
        k_room, p_room = memory_room(k, p, self.network.config)
        padding = None
        if (k, p) != memory_room(0, 0, self.network.config):  # the usual full bank needs no mask
            indices = [
                torch.arange(room, dtype=torch.int64, device=tokens.device) for room in (k_room, p_room)
            ]
            padding = torch.cat([index >= n for index, n in zip(indices, (k, p), strict=True)])
        if weights is not None:
            weights = torch.cat([widen(weights[:, :k], 1, k_room), widen(weights[:, k:], 1, p_room)], dim=1)
        arguments = (
            coarse,
            widen(tokens, 1, k_room),
            widen(memories.rows, 1, k_room),
            widen(memories.pointers, 1, p_room),
            widen(memories.ages, 1, p_room),
            weights,
        )
        (context,) = self._run_in_chunks(
            self._attend, self.network.memory_attention, len(tokens), arguments, (padding,)
        )
        return context

    def decode(
        self,
        context: Float[Tensor, "b c h w"],
        tokens: Float[Tensor, "b q c"],
        dense: Float[Tensor, "#b c #h #w"],
        position: Float[Tensor, "hw c"],
        middle: Float[Tensor, "#b c2 h2 w2"],
        fine: Float[Tensor, "#b c4 h4 w4"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if tokens.shape[1] != TRACKED_TOKENS or dense.shape[-1] > 1:
            return self.torch.decode(context, tokens, dense, position, middle, fine)
        # Without memories, the context has other strides than with them: one layout, one graph.
        context = context.contiguous(memory_format=torch.channels_last)
        arguments = (context, tokens, dense, middle, fine)
        logits, iou, pointers, score = self._run_in_chunks(
            self._decode, self.network.mask_decoder, len(context), arguments, (position,)
        )
        return logits, iou, pointers, score

    def memorize(
        self, coarse: Float[Tensor, "#b c h w"], mask: Float[Tensor, "b H W"], score: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n d"]:
        (tokens,) = self._run_in_chunks(
            self._memorize, self.network.memory_encoder, len(mask), (coarse, mask, score)
        )
        return tokens

    def explain(self) -> list[Explanation]:
        dtype = str(self.network.dtype).removeprefix("torch.")
        return [Explanation(verb, f"torch.compile, {dtype}", "as asked") for verb in VERBS]

    def _compile(self, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        def compile_for(mode: str | None) -> Callable[Arguments, Result]:
            compiled: Callable[Arguments, Result] = torch.compile(
                function, fullgraph=True, dynamic=False, backend=self.compiler, mode=mode
            )
            return compiled

        plain = compile_for(None)
        if not self.has_cuda_graphs:
            return plain
        replayed = compile_for("reduce-overhead")

        def run(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
            return (replayed if _may_replay() else plain)(*args, **options)

        return run

    def _run_in_chunks(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        module: torch.nn.Module,
        count: int,
        by_row: Sequence[Tensor | None],
        shared: Sequence[Tensor | None] = (),
        *,
        sizes: Sequence[int] | None = None,
    ) -> tuple[Tensor, ...]:
        """Run a graph over rows, in as few chunks as the sizes allow.

        Args:
            count: The number of rows.
            by_row: Tensors with a row for each; one that has a single row serves all.
            shared: Further tensors, which serve all.
            sizes: The numbers of rows for which there are graphs. By default `self.sizes`.
        """
        chunks = []
        for start, rows, size in split_rows(count, sizes or self.sizes):
            chunk = [select_rows(tensor, start, rows, size) for tensor in by_row]
            outputs = self._call(function, module, *chunk, *shared)
            if self.has_cuda_graphs:  # the next replay overwrites this result
                outputs = tuple(output.clone() for output in outputs)
            chunks.append([output[:rows] for output in outputs] if rows < size else outputs)
        if len(chunks) > 1:
            return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))
        return tuple(chunks[0])

    def _call(self, function: Callable[..., tuple[Tensor, ...]], *args: Any) -> tuple[Tensor, ...]:
        import torch._dynamo  # takes a second, so import it only when compiling

        if self.has_cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        try:
            with torch._dynamo.config.patch(recompile_limit=GRAPHS, accumulated_recompile_limit=GRAPHS):
                return function(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = first_line(error)
            raise MaskletError(
                f"engine='compiled' cannot be used: this network does not compile: {reason}. "
                "Use engine='torch'."
            ) from error


def _may_replay() -> bool:
    """Whether CUDA graphs work in this thread: torch supports them only in the main thread."""
    return threading.current_thread() is threading.main_thread()


def encode_image(encoder: ImageEncoder, image: Tensor) -> tuple[Tensor, ...]:
    coarse, middle, fine = encoder(image)
    return coarse, middle, fine


def attend_to_memories(attention: MemoryAttention, coarse: Tensor, *memories: Any) -> tuple[Tensor, ...]:
    """Takes the fields of `MemoryTensors`, since a graph's rows are cut from tensors."""
    return (attention(coarse, MemoryTensors(*memories)),)


def decode_masks(
    decoder: MaskDecoder,
    context: Tensor,
    tokens: Tensor,
    dense: Tensor,
    middle: Tensor,
    fine: Tensor,
    position: Tensor,
) -> tuple[Tensor, ...]:
    logits, iou, pointers, score = decoder(context, tokens, dense, position, middle, fine)
    return logits, iou, pointers, score


def encode_memories(
    encoder: MemoryEncoder, coarse: Tensor, mask: Tensor, score: Tensor
) -> tuple[Tensor, ...]:
    return (encoder(coarse, mask, score),)


def memory_room(memories: int, pointers: int, config: Sam2Config) -> tuple[int, int]:
    """The number of memories and pointers in a graph: those for 1, 2, 4, 8, ... prompted frames.

    >>> from masklet.config import TINY
    >>> memory_room(1, 1, TINY), memory_room(7, 16, TINY), memory_room(8, 17, TINY), memory_room(9, 16, TINY)
    ((7, 16), (7, 16), (8, 17), (10, 19))
    """
    tracked_memories, tracked_pointers = config.memories - 1, config.pointers - 1
    prompted = 1
    while memories > prompted + tracked_memories or pointers > prompted + tracked_pointers:
        prompted *= 2
    return prompted + tracked_memories, prompted + tracked_pointers


def split_rows(count: int, sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Split rows into chunks of certain sizes: (start, rows, size). A chunk is padded by at most a quarter.

    >>> list(split_rows(3, (1, 4, 16))), list(split_rows(6, (1, 4, 16)))
    ([(0, 3, 4)], [(0, 4, 4), (4, 1, 1), (5, 1, 1)])
    """
    start = 0
    while start < count:
        size = max(size for size in sizes if size == 1 or 4 * (count - start) >= 3 * size)
        rows = min(count - start, size)
        yield start, rows, size
        start += rows


def select_rows(tensor: Tensor | None, start: int, rows: int, size: int) -> Tensor | None:
    """Some of a tensor's rows, padded to `size`; the only row of one that serves all chunks."""
    if tensor is None:
        return None
    chunk = tensor if len(tensor) == 1 else widen(tensor[start : start + rows], 0, size)
    # A single row may have any stride, and another stride would make another graph.
    return chunk[0][None] if len(chunk) == 1 else chunk


def widen(tensor: Tensor, dim: int, length: int) -> Tensor:
    """Pad a dimension with zeros at its end."""
    short = length - tensor.shape[dim]
    return F.pad(tensor, (0, 0) * (tensor.dim() - 1 - dim) + (0, short)) if short else tensor


def memory_budget(device: torch.device) -> int:
    """The bytes that one call may need for its objects."""
    if device.type != "cuda":
        return CPU_BUDGET
    free, _ = torch.cuda.mem_get_info(device)
    return int(CUDA_SHARE * free)


def objects_within(budget: int, config: Sam2Config, itemsize: int) -> int:
    """The number of objects that can attend to a full bank at once with this many bytes: an estimate."""
    keys = config.memories * config.grid**2
    return max(1, budget // (KEY_COPIES * keys * config.channels * itemsize))


def reason_for_no_compiler(device: torch.device) -> str | None:
    """Why `torch.compile` cannot be used for a device here; None if it can."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "Triton is not installed (pip install triton)"
    if device.type != "cpu":
        return f"the network is on {device}, and only CPUs and CUDA devices are supported"
    names = (os.environ.get("CXX", "g++"), "g++", "clang++", "c++", "cl")
    return None if any(map(shutil.which, names)) else "there is no C++ compiler (g++ or clang++)"
