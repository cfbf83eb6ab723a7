"""Lowering: from a Keras model to a flat list of native calls."""

import math
import sys
from collections.abc import Callable, Collection
from typing import Any

import keras
import torch

from kcnn.native import graph as graphs
from kcnn.native.convolutions import nchw, nhwc
from kcnn.native.graph import Graph, Node, Unsupported
from kcnn.native.layers import CONVOLUTIONS, FOLDABLE, FRESH, LAYERS, weightless
from kcnn.native.weights import Weights

Tensor = torch.Tensor

CACHE = 2**22  # numbers, 16 MiB of them in float32


class Program:
    """A lowered model: call it with the inputs as Keras has them; it returns the list of outputs, also so."""

    def __init__(self, graph: Graph, weights: Weights, dtypes: dict[int, str]) -> None:
        self.weights = weights
        self._part = images_in_cache(graph)
        steps = [(_lower(node, weights, dtypes), node.inputs, node.output) for node in graph.nodes]
        self._steps, self._outputs, self._size = _allocate(steps, graph)
        self._count = len(graph.inputs)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        values: list[Any] = [*map(nchw, inputs), *[None] * (self._size - self._count)]
        for run, sources, target in self._steps:
            values[target] = run(*[values[source] for source in sources])
        return [nhwc(values[output]) for output in self._outputs]

    def in_parts(self, *inputs: Tensor) -> list[Tensor]:
        """The same for a model without batch statistics, but no more images at a time than the caches hold."""
        count = len(inputs[0])
        if count <= self._part or inputs[0].device.type != "cpu":
            return self(*inputs)
        parts = zip(*(x.tensor_split(-(-count // self._part)) for x in inputs), strict=True)
        return [torch.cat(outputs) for outputs in zip(*(self(*part) for part in parts), strict=True)]


def lower(model: Any, training: bool, trainable: Collection[int] = ()) -> Program:
    """The program of a functional or sequential Keras model.

    Args:
        training: what layers like Dropout and BatchNormalization are to do.
        trainable: ids of the variables that get gradients.

    Raises:
        Unsupported: the model has a part without a native form.
    """
    graph = graphs.trace(model)
    graphs.split_activations(graph)
    graphs.merge_padding(graph, CONVOLUTIONS)
    graphs.relu_after_pool(graph)
    graphs.pool_by_phases(graph)
    graphs.fold_norms(graph, FOLDABLE, training)
    graphs.mark_inplace(graph, FRESH)
    dtypes = {number: x.dtype for number, x in zip(graph.inputs, model.inputs, strict=True)}
    return Program(graph, Weights(training, trainable), dtypes)


def images_in_cache(graph: Graph) -> int:
    """As many images that the largest value between two layers fits the processor's caches.

    No limit if a size is not known, or if an operation is not of the table: it may mix the images of a batch.
    """
    sizes = [math.prod(side or 0 for side in node.shape[1:]) for node in graph.nodes]
    if not all(sizes) or any(type(node.op) not in LAYERS for node in graph.nodes):
        return sys.maxsize
    return max(1, CACHE // max(sizes))


def _lower(node: Node, weights: Weights, dtypes: dict[int, str]) -> Callable[..., Tensor]:
    layer = node.op
    if getattr(layer, "data_format", None) == "channels_first" or getattr(layer, "activity_regularizer", None):
        raise Unsupported(f"{node.name} with channels_first or an activity regularizer")
    make = LAYERS.get(type(layer))
    if make is None and _has_state(layer):
        raise Unsupported(node.name)
    run = weightless(node) if make is None else make(node, weights)
    foreign = [dtypes[i] for i in node.inputs if dtypes[i] != getattr(layer, "compute_dtype", None)]
    dtypes[node.output] = node.dtype
    if getattr(layer, "autocast", False) and any("float" in dtype for dtype in foreign):
        return _cast_first(run, getattr(torch, layer.compute_dtype))
    return run


def _has_state(op: Any) -> bool:
    """Whether calling it may do more than compute a value: variables, random numbers, a user's own class."""
    return not type(op).__module__.startswith("keras.") or bool(isinstance(op, keras.Layer) and op.variables)


def _cast_first(run: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    """Keras casts what is floating, and only that, to a layer's own dtype."""
    return lambda *xs: run(*[x.to(dtype) if x.is_floating_point() else x for x in xs])


def _allocate(steps: list[Any], graph: Graph) -> tuple[list[Any], list[int], int]:
    """Give values that are no longer read to later ones, so that memory is free as early as in plain code."""
    left = graph.consumers()
    places = {number: place for place, number in enumerate(graph.inputs)}
    free: list[int] = []
    placed = []
    for run, inputs, output in steps:
        sources = [places[number] for number in inputs]
        left.subtract(inputs)
        free += [places.pop(number) for number in dict.fromkeys(inputs) if not left[number]]
        places[output] = free.pop() if free else len(places) + len(free)
        placed.append((run, sources, places[output]))
    return placed, [places[number] for number in graph.outputs], len(places) + len(free)
