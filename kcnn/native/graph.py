"""A functional Keras model as a flat list of nodes; `rewrites` makes it cheaper to run."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import keras

from kcnn.machine.keras_internals import Functional, calls, functional, says_training

# A larger kernel is used as it is: a copy of it, folded or transformed, takes more memory than it saves time.
MOST_DERIVED = 2**20  # numbers

Operation = Any  # a keras layer, or a keras operation such as the one behind keras.ops.pad


class Unsupported(Exception):
    """A part of the model that has no native form; the message names it."""


def reason(error: Exception) -> str:
    """An error in one line."""
    text = str(error).strip().partition("\n")[0]
    return text if isinstance(error, Unsupported) else f"{type(error).__name__}: {text}"


@dataclass
class Node:
    """One call of a layer or operation.

    Args:
        inputs, output: numbers of the values that it reads and writes.
        shape, dtype: of the output, (None, …, channels) and "float32" or the like.
        arguments: Keras' symbolic arguments of the call.
        padding: zeros (top, bottom, left, right) taken over from a ZeroPadding2D before it.
        norm: the BatchNormalization after it, whose inference form is folded into its weights.
        inplace: it may overwrite its input.
        phases: this convolution and this pooling work together, see `kcnn.native.cpu.phases`.
    """

    op: Operation
    inputs: list[int]
    output: int
    shape: tuple[int | None, ...]
    dtype: str
    arguments: Any = None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    norm: Operation = None
    inplace: bool = False
    phases: bool = False

    def zeros(self) -> tuple[int, int, int, int]:
        """All zeros around the image of a convolution of stride 1: top, bottom, left, right."""
        if self.op.padding != "same":
            return self.padding
        height, width = (d * (k - 1) for d, k in zip(self.op.dilation_rate, self.op.kernel_size, strict=True))
        return height // 2, height - height // 2, width // 2, width - width // 2

    @property
    def name(self) -> str:
        """The layer's class and name, for messages."""
        return named(self.op)


def named(thing: Any) -> str:
    """The class and name of a layer, model or operation."""
    return f"{type(thing).__name__} {getattr(thing, 'name', '')!r}"


@dataclass
class Graph:
    """The nodes in an order in which they can run, and the numbers of the inputs and outputs.

    Args:
        read: the layers, operations and models that it was made from.
    """

    inputs: list[int]
    outputs: list[int]
    nodes: list[Node] = field(default_factory=list)
    read: list[Operation] = field(default_factory=list)

    def consumers(self) -> Counter[int]:
        """How often each value is read; the outputs count too."""
        return Counter([i for node in self.nodes for i in node.inputs] + self.outputs)

    def producers(self) -> dict[int, Node]:
        """The node that writes each value."""
        return {node.output: node for node in self.nodes}

    def calls(self) -> Counter[int]:
        """How often each layer is called, by its id."""
        return Counter(id(node.op) for node in self.nodes)

    def new_number(self) -> int:
        """For a value more."""
        return 1 + max([*self.inputs, *(node.output for node in self.nodes)])


def trace(model: Any) -> Graph:
    """The nodes of a functional or sequential model; models used as layers inside it are taken apart.

    Raises:
        Unsupported: another kind of model, or a call that has no plain tensor inputs and one output.
    """
    function = function_of(model)
    numbers: dict[int, int] = {id(x): i for i, x in enumerate(function.inputs)}
    graph = Graph(list(range(len(function.inputs))), [], read=[model])
    graph.outputs = _trace(function, numbers, graph)
    return graph


def function_of(model: Any) -> Functional:
    """The graph of functions in a model. Raises Unsupported for a model without one."""
    found = functional(model)
    if found is not None:
        return found
    unbuilt = isinstance(model, keras.Sequential) and not model.built
    raise Unsupported(f"{named(model)}, which is not {'built yet' if unbuilt else 'a functional model'}")


def _trace(function: Functional, numbers: dict[int, int], graph: Graph) -> list[int]:
    """Append the function's nodes; `numbers` maps id(symbolic tensor) → value number. Returns the outputs'."""
    for call in calls(function):
        operation, inputs = call.operation, [numbers[id(x)] for x in call.input_tensors]
        graph.read.append(operation)
        if says_training(call):
            raise Unsupported(f"{named(operation)} with a training argument of its own")
        nested = functional(operation)
        if nested is not None:
            if operation.activity_regularizer is not None:
                raise Unsupported(f"{named(operation)} with an activity regularizer")
            within = dict(zip(map(id, nested.inputs), inputs, strict=True))
            outputs = _trace(nested, within, graph)
        else:
            outputs = [_append(call, inputs, graph)]
        numbers.update(zip(map(id, call.outputs), outputs, strict=True))
    return [numbers[id(x)] for x in function.outputs]


def _append(call: Any, inputs: list[int], graph: Graph) -> int:
    if len(call.outputs) != 1:
        raise Unsupported(f"{named(call.operation)} with several outputs")
    [out], number = call.outputs, graph.new_number()
    graph.nodes.append(Node(call.operation, inputs, number, tuple(out.shape), out.dtype, call.arguments))
    return number
