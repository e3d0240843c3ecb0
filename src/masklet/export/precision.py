"""Exported graphs in fewer bits. Inputs and outputs stay float32, so that no client needs to know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

SMALLEST = 1024  # weights with fewer numbers stay as they are: they cost nothing
INT8 = 127  # the largest whole number, of both signs

# The axis of a weight along which each output channel has a scale of its own. A Gemm's depends on transB.
CHANNEL_AXES = {"Conv": 0, "MatMul": -1, "Gemm": 0}


def to_float16(model: Any) -> Any:
    """A graph that computes in float16, but for what would go wrong there.

    Positions and ages go through sines, whose angles float16 would round to whole pixels; areas of masks are
    sums beyond its range; memories are rounded to bfloat16 in float32.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(
        model,
        keep_io_types=True,
        disable_shape_infer=True,
        node_block_list=[node.name for node in _wide_nodes(model.graph)],
    )


def _wide_nodes(graph: Any) -> Iterator[Any]:
    """The nodes that need float32: what sines are made of, sums of pixels, and the last rounding."""
    makers = {output: node for node in graph.node for output in node.output}
    wide: dict[str, Any] = {}

    def mark(node: Any, depth: int) -> None:
        if node.name not in wide or depth > 1:
            wide[node.name] = node
            if depth:
                for name in node.input:
                    if name in makers:
                        mark(makers[name], depth - 1)

    for node in graph.node:
        if node.op_type in ("Sin", "Cos"):
            mark(node, 8)
        if node.op_type == "ReduceSum":
            mark(node, 2)
            for reader in graph.node:
                if node.output[0] in reader.input:
                    mark(reader, 1)
    if graph.output[0].name == "tokens":
        mark(makers["tokens"], 2)
    yield from wide.values()


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
