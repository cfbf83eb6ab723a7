"""A functional Keras model as a flat list of nodes, and the rewrites that make it cheaper to run."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras

from kcnn.machine.keras_internals import Functional, calls, functional
from kcnn.native.cpu import phases

# A larger kernel is used as it is: a copy of it, folded or transformed, takes more memory than it saves time.
MOST_DERIVED = 2**20  # numbers

Operation = Any  # a keras layer, or a keras operation such as the one behind keras.ops.pad


class Unsupported(Exception):
    """A part of the model that has no native form; the message names it."""


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
        return f"{type(self.op).__name__} {self.op.name!r}"


@dataclass
class Graph:
    """The nodes in an order in which they can run, and the numbers of the inputs and outputs."""

    inputs: list[int]
    outputs: list[int]
    nodes: list[Node] = field(default_factory=list)

    def consumers(self) -> Counter[int]:
        """How often each value is read; the outputs count too."""
        return Counter([i for node in self.nodes for i in node.inputs] + self.outputs)

    def producers(self) -> dict[int, Node]:
        """The node that writes each value."""
        return {node.output: node for node in self.nodes}


def trace(model: Any) -> Graph:
    """The nodes of a functional or sequential model; models used as layers inside it are taken apart.

    Raises:
        Unsupported: another kind of model, or a call that has no plain tensor inputs and one output.
    """
    function = functional(model)
    if function is None:
        raise Unsupported(f"{type(model).__name__} {model.name!r}, which is not a functional model")
    numbers: dict[int, int] = {id(x): i for i, x in enumerate(function.inputs)}
    graph = Graph(list(range(len(function.inputs))), [])
    values = _trace(function, numbers, graph)
    graph.outputs = values
    return graph


def _trace(function: Functional, numbers: dict[int, int], graph: Graph) -> list[int]:
    """Append the function's nodes; `numbers` maps id(symbolic tensor) → value number. Returns the outputs'."""
    for node in calls(function):
        inputs = [numbers[id(x)] for x in node.input_tensors]
        nested = functional(node.operation)
        if nested is not None:
            within = dict(zip(map(id, nested.inputs), inputs, strict=True))
            outputs = _trace(nested, within, graph)
        else:
            if len(node.outputs) != 1:
                raise Unsupported(f"{type(node.operation).__name__} {node.operation.name!r} with several outputs")
            outputs = [_new_number(graph)]
            [out] = node.outputs
            args = (node.operation, inputs, outputs[0], tuple(out.shape), out.dtype, node.arguments)
            graph.nodes.append(Node(*args))
        numbers.update(zip(map(id, node.outputs), outputs, strict=True))
    return [numbers[id(x)] for x in function.outputs]


def _new_number(graph: Graph) -> int:
    return 1 + max([*graph.inputs, *(node.output for node in graph.nodes)])


def split_activations(graph: Graph) -> None:
    """A layer's own activation becomes a node, so that it can be moved, or written over its input."""
    nodes = []
    for node in list(graph.nodes):
        nodes.append(node)
        function = getattr(node.op, "activation", None)
        if isinstance(node.op, keras.layers.Activation) or function in (None, keras.activations.linear):
            continue
        layer = keras.layers.Activation(function, dtype=node.op.dtype_policy, name=node.op.name)
        activation = Node(layer, [_new_number(graph)], node.output, node.shape, node.dtype)
        node.output = activation.inputs[0]
        graph.nodes.append(activation)  # for the next number only
        nodes.append(activation)
    graph.nodes = nodes


def is_relu(op: Operation) -> bool:
    """Whether it is max(x, 0) and nothing else."""
    if type(op) is keras.layers.ReLU:
        return op.max_value is None and not op.negative_slope and not op.threshold
    return type(op) is keras.layers.Activation and op.activation is keras.activations.relu


def merge_padding(graph: Graph, convolutions: Iterable[type]) -> None:
    """Zero padding before a "valid" convolution becomes the convolution's own: one copy of the images less."""
    consumers, producers = graph.consumers(), graph.producers()
    for node in list(graph.nodes):
        before = producers.get(node.inputs[0])
        if type(node.op) not in convolutions or node.op.padding != "valid" or before is None:
            continue
        if type(before.op) is keras.layers.ZeroPadding2D and consumers[before.output] == 1:
            (top, bottom), (left, right) = before.op.padding
            node.padding = (top, bottom, left, right)
            node.inputs = before.inputs
            graph.nodes.remove(before)


def relu_after_pool(graph: Graph) -> None:
    """ReLU and max-pooling commute: after the pooling there is a quarter of the values to go through."""
    consumers, producers = graph.consumers(), graph.producers()
    for node in graph.nodes:
        before = producers.get(node.inputs[0])
        pool = type(node.op) is keras.layers.MaxPooling2D
        if pool and before is not None and is_relu(before.op) and consumers[before.output] == 1:
            node.op, before.op = before.op, node.op
            before.shape = node.shape


def pool_by_phases(graph: Graph) -> None:
    """Mark narrow convolutions that only a 2×2 max-pooling reads, and the pooling."""
    consumers, producers = graph.consumers(), graph.producers()
    for node in graph.nodes:
        before = producers.get(node.inputs[0])
        if (
            type(node.op) is not keras.layers.MaxPooling2D
            or before is None
            or type(before.op) is not keras.layers.Conv2D
        ):
            continue
        halves = {*node.op.pool_size, *node.op.strides} == {2} and node.op.padding == "valid"
        if halves and consumers[before.output] == 1 and phases.pays(before.op, before.shape, before.zeros()):
            node.phases = before.phases = True


def fold_norms(graph: Graph, foldable: Iterable[type], training: bool) -> None:
    """Mark batch norms that only scale and shift what a convolution or dense layer gives: its weights can do it."""
    consumers, producers = graph.consumers(), graph.producers()
    calls = Counter(id(node.op) for node in graph.nodes)
    for node in list(graph.nodes):
        before = producers.get(node.inputs[0])
        if type(node.op) is not keras.layers.BatchNormalization or before is None or before.norm is not None:
            continue
        once = consumers[before.output] == 1 and calls[id(before.op)] == 1
        last = node.op.axis in (-1, len(node.shape) - 1)
        small = sum(variable.value.numel() for variable in before.op.variables) <= MOST_DERIVED
        if once and last and small and type(before.op) in foldable and not training:
            before.norm, before.output = node.op, node.output
            graph.nodes.remove(node)
            producers[before.output] = before


def mark_inplace(graph: Graph, fresh: Iterable[type]) -> None:
    """Let ReLU and Add overwrite their first input where nobody else reads it, not even its producer's gradient.

    Args:
        fresh: classes of layers that give a new tensor and do not need it again for their gradient.
    """
    consumers, producers = graph.consumers(), graph.producers()

    def free(number: int, node: Node) -> bool:
        before = producers.get(number)
        return before is not None and type(before.op) in fresh and consumers[number] == 1 and before.shape == node.shape

    for node in graph.nodes:
        if type(node.op) is keras.layers.Add:
            node.inputs.sort(key=lambda number: not free(number, node))
        if is_relu(node.op) or type(node.op) is keras.layers.Add:
            node.inplace = free(node.inputs[0], node)
