"""Exported graphs in fewer bits. Inputs and outputs stay float32, so that no client needs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from masklet.errors import MissingExtra

SMALLEST = 1024  # weights with fewer numbers stay as they are: they cost nothing
INT8 = 127  # the largest whole number, of both signs

# The axis of a weight along which each output channel has a scale of its own. A Gemm's depends on transB.
CHANNEL_AXES = {"Conv": 0, "MatMul": -1, "Gemm": 0}

SMALLEST_CAST = 64  # elements below which a cast takes more room than it saves


def to_float16(model: Any) -> Any:
    """A graph that computes in float16, but for sines and sums over pixels, which need more digits.

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

    It computes in float32, as before: a runtime widens the weights when it loads them, or when it uses them.
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


if TYPE_CHECKING:
    from onnx import ModelProto


def halve_weights(content: bytes) -> bytes:
    """A graph whose weights are float16 where that loses nothing, and are made float32 when it is loaded.

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
