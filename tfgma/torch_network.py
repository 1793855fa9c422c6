"""An ONNX file of a classifier as a PyTorch module of plain NCHW operators."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.optional import load
from pipelines.schema import RefusedError
from tfgma.bundle import OUTPUT


def torch_network(content: bytes) -> Any:
    """A `torch.fx.GraphModule` that takes the file's inputs in their order and gives its probabilities.

    Raises:
        RefusedError: the file has an operator that is not among OPERATORS, or a package is missing.
    """
    torch, onnx = load("torch", "torch"), load("onnx", "onnx")
    graph = onnx.load_from_string(content).graph
    foreign = sorted({node.op_type for node in graph.node} - OPERATORS.keys())
    if foreign:
        raise RefusedError(
            f"a network for PyTorch must consist of {', '.join(OPERATORS)}. Received: {', '.join(foreign)}. "
            "Leave the peers torch and torch-compiled out"
        )
    made = _Made({one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer})
    for number, one in enumerate(graph.input):
        made.values[one.name] = made.graph.placeholder(f"input_{number}")
    for node in graph.node:
        options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        made.values[node.output[0]] = OPERATORS[node.op_type](made, list(node.input), options)
    made.graph.output(made.values[OUTPUT])
    return torch.fx.GraphModule(made.root, made.graph).eval()


class _Made:
    """A graph that grows by one operator after the other. `constants`: name -> what the file holds."""

    def __init__(self, constants: dict[str, np.ndarray]) -> None:
        self.torch = load("torch", "torch")
        self.functional = self.torch.nn.functional
        self.graph = load("torch.fx", "torch").Graph()
        self.root = self.torch.nn.Module()
        self.constants = constants
        self.values: dict[str, Any] = {}

    def value(self, name: str) -> Any:
        if name not in self.values:
            place = f"constant_{len(self.values)}"
            self.root.register_buffer(place, self.torch.from_numpy(self.constants[name].copy()))
            self.values[name] = self.graph.get_attr(place)
        return self.values[name]

    def numbers(self, name: str) -> list[int]:
        return [int(number) for number in self.constants[name]]

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self.graph.call_function(function, arguments, options)

    def padded(self, x: Any, options: dict[str, Any], fill: float) -> tuple[Any, tuple[int, int]]:
        """The tensor, and what is left to pad on both sides of its height and width."""
        if options.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise RefusedError(f"pads must be numbers for PyTorch. Received: {options['auto_pad'].decode()}")
        top, left, bottom, right = options.get("pads", [0, 0, 0, 0])
        if (top, left) == (bottom, right):
            return x, (top, left)
        return self.call(self.functional.pad, x, (left, right, top, bottom), value=fill), (0, 0)


def _convolution(made: _Made, names: list[str], options: dict[str, Any]) -> Any:
    x, padding = made.padded(made.value(names[0]), options, 0.0)
    return made.call(
        made.functional.conv2d,
        x,
        made.value(names[1]),
        made.value(names[2]) if len(names) > 2 else None,
        stride=tuple(options.get("strides", (1, 1))),
        padding=padding,
        dilation=tuple(options.get("dilations", (1, 1))),
        groups=options.get("group", 1),
    )


def _max_pooling(made: _Made, names: list[str], options: dict[str, Any]) -> Any:
    x, padding = made.padded(made.value(names[0]), options, -np.inf)
    strides = tuple(options.get("strides", (1, 1)))
    return made.call(
        made.functional.max_pool2d, x, tuple(options["kernel_shape"]), stride=strides, padding=padding
    )


def _pad(made: _Made, names: list[str], options: dict[str, Any]) -> Any:
    before, after = np.split(np.array(made.numbers(names[1])), 2)
    # PyTorch begins with the last axis.
    pairs = [int(number) for pair in zip(before[::-1], after[::-1], strict=True) for number in pair]
    return made.call(made.functional.pad, made.value(names[0]), pairs)


def _of_values(function: Callable[[_Made], Callable[..., Any]]) -> Callable[..., Any]:
    """An operator whose inputs are a PyTorch function's arguments."""
    return lambda made, names, options: made.call(function(made), *map(made.value, names))


OPERATORS: dict[str, Callable[[_Made, list[str], dict[str, Any]], Any]] = {
    "Conv": _convolution,
    "MaxPool": _max_pooling,
    "Pad": _pad,
    "Relu": _of_values(lambda made: made.functional.relu),
    "Sigmoid": _of_values(lambda made: made.torch.sigmoid),
    "Add": _of_values(lambda made: operator.add),
    "Sub": _of_values(lambda made: operator.sub),
    "Mul": _of_values(lambda made: operator.mul),
    "MatMul": _of_values(lambda made: made.torch.matmul),
    "Softmax": lambda made, names, options: made.call(
        made.torch.softmax, made.value(names[0]), options.get("axis", -1)
    ),
    "Concat": lambda made, names, options: made.call(
        made.torch.cat, [made.value(name) for name in names], options["axis"]
    ),
    "Transpose": lambda made, names, options: made.call(
        made.torch.permute, made.value(names[0]), tuple(options["perm"])
    ),
    "GlobalAveragePool": lambda made, names, options: made.call(
        made.torch.mean, made.value(names[0]), (2, 3), keepdim=True
    ),
    "Squeeze": lambda made, names, options: made.call(
        made.torch.squeeze, made.value(names[0]), *(tuple(made.numbers(name)) for name in names[1:])
    ),
    "Reshape": lambda made, names, options: made.call(
        made.torch.reshape, made.value(names[0]), made.numbers(names[1])
    ),
}
"""ONNX operators of networks of 2D convolutions, each as PyTorch has it."""
