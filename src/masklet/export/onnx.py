"""Export to ONNX: one graph for each verb, and a manifest that describes how to use them.

Graphs can use fewer bits. Their inputs and outputs stay float32, so clients do not change.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch

from masklet.errors import CheckpointError, MaskletError, MissingExtra
from masklet.export.graphs import Graph, describe_graphs
from masklet.files import StrPath, atomic_write, make_folder, sha256
from masklet.model import Sam2
from masklet.onnx.network import MANIFEST, GraphFile, Manifest, TensorSpec

if TYPE_CHECKING:
    from onnx import ModelProto

Precision = Literal["fp32", "fp16", "int8"]
OPSET = 20
SAMPLE_SIZES = {"frames": 2, "objects": 3, "memories": 4, "pointers": 5, "points": 6}  # while tracing

SMALLEST = 1024  # weights with fewer numbers are not quantised
INT8 = 127  # the largest whole number, of both signs

# The axis of a weight along which each output channel has a scale of its own. A Gemm's depends on transB.
CHANNEL_AXES = {"Conv": 0, "MatMul": -1, "Gemm": 0}

SMALLEST_CAST = 64  # elements below which a cast needs more space than it saves


def export_onnx(
    model: Sam2,
    folder: StrPath,
    *,
    name: str,
    precision: Precision = "fp32",
    report: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Export a network's verbs as ONNX graphs, and write the manifest last.

    Args:
        model: A network in float32 on the CPU.
        folder: Where the files are written. Files of an earlier export are replaced.
        name: The network's name in the manifest.
        precision: fp32; fp16, which halves the files and computes in float16; or int8, which stores large
            weights in 8 bits and computes in float32. Inputs and outputs are float32 in all.
        report: Is called with a line for each graph.

    Returns:
        The manifest, as it was written.

    Raises:
        MaskletError: The network is not in float32 on the CPU, or there is no such precision.
        MissingExtra: onnxscript is not installed.
    """
    if precision not in get_args(Precision):
        raise MaskletError(f"precision must be one of {', '.join(get_args(Precision))}. Got {precision!r}.")
    if model.device.type != "cpu" or model.dtype != torch.float32 or model.memory_attention.pooled:
        raise MaskletError(
            "an exported network must have float32 weights on the CPU: masklet.load(name, device='cpu'). "
            f"Got {model.dtype} on {model.device}{', pooled' if model.memory_attention.pooled else ''}."
        )
    config, graphs = model.config, describe_graphs(model)
    specs = {
        verb: GraphFile(
            f"{verb}.onnx",
            "",
            0,
            tuple(
                TensorSpec(input, "int32" if input in graph.integers else "float32", shape)
                for input, shape in graph.inputs.items()
            ),
            tuple(TensorSpec(output, "float32", shape) for output, shape in graph.outputs.items()),
        )
        for verb, graph in graphs.items()
    }
    manifest = Manifest(
        masklet=version("masklet"),
        model=name,
        precision="fp32",
        opset=OPSET,
        image_size=config.image_size,
        grid=config.grid,
        mask_size=config.mask_size,
        channels=config.channels,
        memory_channels=config.memory_channels,
        zoom=config.zoom,
        graphs=specs,
        memory_dtype=str(model.memory_dtype).removeprefix("torch."),
    )
    traced = ((verb, trace(model, graph)) for verb, graph in graphs.items())
    return write_graphs(manifest, traced, make_folder(folder), precision, report)


def write_graphs(
    manifest: Manifest,
    models: Iterable[tuple[str, Any]],
    folder: Path,
    precision: Precision,
    report: Callable[[str], None],
) -> Manifest:
    """Round the graphs and write them; the manifest is written last, so that it only refers to complete
    files."""
    (folder / MANIFEST).unlink(missing_ok=True)
    files = {}
    for verb, model in models:
        path = folder / f"{verb}.onnx"
        with atomic_write(path, CheckpointError) as part:
            part.write_bytes(round_graph(model, precision, verb).SerializeToString())
        size = path.stat().st_size
        files[verb] = replace(manifest.graphs[verb], sha256=sha256(path), bytes=size)
        report(f"{path.name}: {size / 1e6:.1f} MB")
    memory_dtype = "float16" if precision == "fp16" else manifest.memory_dtype
    written = replace(manifest, precision=precision, graphs=files, memory_dtype=memory_dtype)
    with atomic_write(folder / MANIFEST, CheckpointError) as part:
        part.write_text(written.to_json(), encoding="utf-8")
    return written


def trace(model: Sam2, graph: Graph) -> Any:
    """One verb as an ONNX model, without the tracer's notes, which contain paths of this machine."""
    if importlib.util.find_spec("onnxscript") is None:
        raise MissingExtra("export", "onnxscript")
    dims = {name: torch.export.Dim(name, min=1, max=4096) for name in SAMPLE_SIZES}
    samples = tuple(
        torch.zeros(
            [SAMPLE_SIZES[size] if isinstance(size, str) else size for size in shape],
            dtype=torch.int32 if name in graph.integers else torch.float32,
            device="cpu",
        )
        for name, shape in graph.inputs.items()
    )
    dynamic = {
        name: {axis: dims[size] for axis, size in enumerate(shape) if isinstance(size, str)}
        for name, shape in graph.inputs.items()
    }
    with torch.no_grad(), _without_notes():
        program = torch.onnx.export(
            graph.module(model).eval(),
            samples,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=dynamic,
            verbose=False,
        )
    assert program is not None
    traced: Any = program.model_proto
    traced.producer_name, traced.producer_version = "masklet", version("masklet")
    for item in (traced, traced.graph, *traced.graph.node, *traced.graph.value_info):
        item.doc_string = ""
        item.ClearField("metadata_props")
    for item in (*traced.graph.input, *traced.graph.output):
        item.ClearField("metadata_props")
    return traced


def round_graph(traced: Any, precision: Precision, verb: str) -> Any:
    """A traced verb in a precision; its inputs and outputs are not changed."""
    if verb == "adopt":  # it resizes a mask, and has hardly any weights
        return traced
    return {"fp32": lambda model: model, "fp16": to_float16, "int8": to_int8_weights}[precision](traced)


@contextmanager
def _without_notes() -> Iterator[None]:
    """Suppress the exporter's notes about packages that are not needed, and torch's deprecation warnings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def to_float16(model: Any) -> Any:
    """A graph that computes in float16, except for sines and sums over pixels, which need more precision.

    Memories are not rounded to bfloat16: they have passed through float16, and the rounding would overflow.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    drop_rounding(model.graph)
    return convert_float_to_float16(
        model,
        keep_io_types=True,
        disable_shape_infer=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, "Sin", "Cos", "ReduceSum"],
    )


def drop_rounding(graph: Any) -> None:
    """Leave out the rounding of memory tokens, if any: `graphs.round_to_bfloat16` is high - (high - x)."""
    if graph.output[0].name != "tokens":
        return
    makers = {output: node for node in graph.node for output in node.output}
    last = makers["tokens"]
    if last.op_type != "Sub":
        return
    exact = makers[last.input[1]].input[1]
    last.op_type = "Identity"
    del last.input[:]
    last.input.append(exact)


def to_int8_weights(model: Any) -> Any:
    """A graph whose large weights are stored in 8 bits, with a scale for each output channel.

    It computes in float32 as before: a runtime converts the weights when it loads or uses them.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    axes = {}
    for node in graph.node:
        if node.op_type in CHANNEL_AXES and node.input[1] in weights:
            axis = CHANNEL_AXES[node.op_type]
            if node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute):
                axis = 1
            axes[node.input[1]] = axis
    for name, axis in axes.items():
        values = numpy_helper.to_array(weights[name])
        if values.dtype != np.float32 or values.size < SMALLEST:
            continue
        axis %= values.ndim
        others = tuple(i for i in range(values.ndim) if i != axis)
        scale = np.abs(values).max(axis=others, keepdims=True) / INT8
        scale[scale == 0] = 1
        rounded = np.rint(values / scale).astype(np.int8)
        graph.initializer.remove(weights[name])
        graph.initializer.append(numpy_helper.from_array(rounded, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale.ravel().astype(np.float32), f"{name}_scale"))
        graph.node.insert(
            0,
            helper.make_node(
                "DequantizeLinear",
                [f"{name}_int8", f"{name}_scale"],
                [name],
                name=f"{name}_widen",
                axis=axis,
            ),
        )
    return model


def halve_weights(content: bytes) -> bytes:
    """A graph whose weights are stored as float16 if that is exact, and converted to float32 when it is
    loaded.

    Args:
        content: An ONNX model.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise MissingExtra("export", "onnx") from error
    model: ModelProto = onnx.load_from_string(content)
    graph = model.graph
    casts: list[Any] = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if values.size < SMALLEST_CAST or not np.array_equal(halves.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(halves, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    names = {cast.output[0] for cast in casts}
    described = [info for info in graph.value_info if info.name not in names]
    del graph.value_info[:]
    graph.value_info.extend(described)
    return model.SerializeToString()
