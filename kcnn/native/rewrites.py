"""Rewrites of the graph that make it cheaper to run. Each applies only where it can prove that nothing changes.

What a proof needs is the same everywhere: that nobody else reads the value in between (`only`), and that both
operations compute in one dtype (`alike`), so that no rounding of Keras' is left out or moved.
"""

from collections.abc import Callable, Collection

import keras

from kcnn.native.cpu import phases
from kcnn.native.graph import MOST_DERIVED, Graph, Node, Operation


class _Pairs:
    """Finds the node whose output only one other node reads."""

    def __init__(self, graph: Graph) -> None:
        self._consumers, self.producers = graph.consumers(), graph.producers()

    def only(self, node: Node) -> Node | None:
        """The node before, if nothing else reads its output and both compute in one dtype."""
        before = self.producers.get(node.inputs[0])
        if before is None or len(node.inputs) != 1 or self._consumers[before.output] != 1:
            return None
        return before if _alike(before, node) else None


def _alike(before: Node, node: Node) -> bool:
    if not (isinstance(before.op, keras.Layer) and isinstance(node.op, keras.Layer)):
        return False
    return len({before.dtype, node.dtype, before.op.compute_dtype, node.op.compute_dtype}) == 1


def split_activations(graph: Graph, layers: Collection[type]) -> None:
    """A layer's own activation becomes a node, so that it can be moved, or written over its input."""
    nodes = []
    for node in list(graph.nodes):
        nodes.append(node)
        function = getattr(node.op, "activation", None)
        if type(node.op) not in layers or function in (None, keras.activations.linear):
            continue
        layer = keras.layers.Activation(function, dtype=node.op.dtype_policy, name=node.op.name)
        activation = Node(layer, [graph.new_number()], node.output, node.shape, node.dtype)
        node.output = activation.inputs[0]
        graph.nodes.append(activation)  # for the next number only
        nodes.append(activation)
    graph.nodes = nodes


def is_relu(op: Operation) -> bool:
    """Whether it is max(x, 0) and nothing else."""
    if type(op) is keras.layers.ReLU:
        return op.max_value is None and not op.negative_slope and not op.threshold
    return type(op) is keras.layers.Activation and op.activation is keras.activations.relu


def merge_padding(graph: Graph, convolutions: Collection[type]) -> None:
    """Zero padding before a "valid" convolution becomes the convolution's own: one copy of the images less."""
    pairs = _Pairs(graph)
    for node in list(graph.nodes):
        if type(node.op) not in convolutions or node.op.padding != "valid":
            continue
        before = pairs.only(node)
        if before is not None and type(before.op) is keras.layers.ZeroPadding2D:
            (top, bottom), (left, right) = before.op.padding
            node.padding = (top, bottom, left, right)
            node.inputs = before.inputs
            graph.nodes.remove(before)


def relu_after_pool(graph: Graph) -> None:
    """ReLU and max-pooling commute: after the pooling there is a quarter of the values to go through."""
    pairs = _Pairs(graph)
    for node in graph.nodes:
        before = pairs.only(node) if type(node.op) is keras.layers.MaxPooling2D else None
        if before is not None and is_relu(before.op):
            node.op, before.op = before.op, node.op
            node.arguments = before.arguments = None
            before.shape = node.shape


def pool_by_phases(graph: Graph) -> None:
    """Mark narrow convolutions that only a 2×2 max-pooling reads, and the pooling."""
    pairs, calls = _Pairs(graph), graph.calls()
    for node in graph.nodes:
        if type(node.op) is not keras.layers.MaxPooling2D or node.op.padding != "valid":
            continue
        before = pairs.only(node)
        if before is None or type(before.op) is not keras.layers.Conv2D or calls[id(before.op)] != 1:
            continue
        halves = {*node.op.pool_size, *node.op.strides} == {2}
        if halves and phases.pays(before.op, before.shape, before.zeros()):
            node.phases = before.phases = True


def fold_norms(graph: Graph, foldable: Collection[type], plain: Callable[[Node], bool]) -> None:
    """Mark batch norms that only scale and shift what a convolution or dense layer gives: its weights can do it.

    Only for a graph without gradients.

    Args:
        foldable: classes of layers whose last kernel can be scaled.
        plain: whether a batch norm has nothing but statistics, scale and shift along the last axis.
    """
    pairs, calls = _Pairs(graph), graph.calls()
    for node in list(graph.nodes):
        if type(node.op) is not keras.layers.BatchNormalization or not plain(node):
            continue
        before = pairs.only(node)
        if before is None or type(before.op) not in foldable or before.norm is not None or calls[id(before.op)] != 1:
            continue
        if sum(variable.value.numel() for variable in before.op.variables) <= MOST_DERIVED:
            before.norm, before.output = node.op, node.output
            graph.nodes.remove(node)
            pairs.producers[before.output] = before


def mark_inplace(graph: Graph, fresh: Callable[[Node], bool]) -> None:
    """Let ReLU, and the sum of two, overwrite their first input where nobody needs that any more.

    Args:
        fresh: whether a node gives a new tensor, no view of another, that its own gradient does not need again.
    """
    consumers, producers = graph.consumers(), graph.producers()

    def free(number: int, node: Node) -> bool:
        before = producers.get(number)
        if before is None or consumers[number] != 1 or not fresh(before):
            return False
        known = len(node.inputs) == 1 or None not in node.shape[1:]  # else the sum may turn out larger than this input
        return known and before.shape == node.shape and before.dtype == node.dtype

    for node in graph.nodes:
        both = type(node.op) is keras.layers.Add and len(node.inputs) == 2
        if both and not free(node.inputs[0], node) and free(node.inputs[1], node):
            node.inputs.reverse()
        if both or is_relu(node.op):
            node.inplace = free(node.inputs[0], node)
