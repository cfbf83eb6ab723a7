"""Lowering: from a Keras model to a flat list of native calls."""

import math
import sys
from collections.abc import Callable, Collection
from traceback import walk_tb
from typing import Any

import keras
import torch

from kcnn.native import rewrites
from kcnn.native.convolutions import nchw, nhwc
from kcnn.native.graph import Graph, Node, Unsupported, named, reason, trace
from kcnn.native.layers import CONVOLUTIONS, LAYERS, WEIGHTED, fresh, plain_norm, weightless
from kcnn.native.weights import Weights

Tensor = torch.Tensor

CACHE = 2**22  # numbers, 16 MiB of them in float32


class Program:
    """A lowered model: call it with the inputs as Keras has them; it returns the list of outputs, also so."""

    def __init__(self, graph: Graph, weights: Weights, dtypes: dict[int, str]) -> None:
        self.weights, self.read = weights, graph.read
        self._part = images_in_cache(graph)
        steps = [(node.name, _lower(node, weights, dtypes), node.inputs, node.output) for node in graph.nodes]
        self._steps, self._outputs, self._size = _allocate(steps, graph)
        self._count = len(graph.inputs)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        values: list[Any] = [*map(nchw, inputs), *[None] * (self._size - self._count)]
        for name, run, sources, target in self._steps:  # noqa: B007  `name` is for `failed_layer`
            values[target] = run(*[values[source] for source in sources])
        return [nhwc(values[output]) for output in self._outputs]

    def in_parts(self, *inputs: Tensor) -> list[Tensor]:
        """The same for a model without batch statistics, but no more images at a time than the caches hold."""
        count = len(inputs[0])
        if count <= self._part or inputs[0].device.type != "cpu" or any(len(x) != count for x in inputs):
            return self(*inputs)
        parts = zip(*(x.tensor_split(-(-count // self._part)) for x in inputs), strict=True)
        return [torch.cat(outputs) for outputs in zip(*(self(*part) for part in parts), strict=True)]


def failed_layer(error: Exception) -> str:
    """The layer in whose call a program failed, "" if it was elsewhere.

    It is read from the traceback: with an `except` of its own the loop could not be compiled on CUDA.
    """
    frames = (frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code is Program.__call__.__code__)
    return next((str(frame.f_locals["name"]) for frame in frames if "name" in frame.f_locals), "")


def lower(model: Any, training: bool, trainable: Collection[int] = (), derive: bool = False) -> Program:
    """The program of a functional or sequential Keras model.

    Args:
        training: what layers like Dropout and BatchNormalization are to do.
        trainable: ids of the variables that get gradients.
        derive: compute weights from the weights where that saves time afterwards: only for what never trains.

    Raises:
        Unsupported: the model has a part without a native form.
    """
    graph = trace(model)
    for node in graph.nodes:
        _check(node)
    rewrites.split_activations(graph, WEIGHTED)
    rewrites.merge_padding(graph, CONVOLUTIONS)
    rewrites.relu_after_pool(graph)
    rewrites.pool_by_phases(graph)
    if derive:
        rewrites.fold_norms(graph, WEIGHTED, plain_norm)
    rewrites.mark_inplace(graph, fresh)
    dtypes = {number: x.dtype for number, x in zip(graph.inputs, model.inputs, strict=True)}
    return Program(graph, Weights(training, trainable, derive), dtypes)


def images_in_cache(graph: Graph) -> int:
    """As many images that the largest value between two layers fits the processor's caches.

    No limit if a size is not known, or if an operation is not of the table: it may mix the images of a batch.
    """
    sizes = [math.prod(side or 0 for side in node.shape[1:]) for node in graph.nodes]
    if not all(sizes) or any(type(node.op) not in LAYERS for node in graph.nodes):
        return sys.maxsize
    return max(1, CACHE // max(sizes, default=1))


def _check(node: Node) -> None:
    """Raise Unsupported for what no native form of a layer knows."""
    layer = node.op
    if type(layer) not in LAYERS and _has_state(layer):
        raise Unsupported(node.name)
    if getattr(layer, "data_format", None) == "channels_first" or getattr(layer, "activity_regularizer", None):
        raise Unsupported(f"{node.name} with channels_first or an activity regularizer")
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        raise Unsupported(f"{node.name} with LoRA or quantized")
    function = getattr(layer, "activation", None)
    if isinstance(function, keras.Layer) and (_has_state(function) or not function.built):
        raise Unsupported(f"{node.name} with the activation {named(function)}")
    if "call" in vars(layer) or isinstance(layer, keras.layers.Masking):
        raise Unsupported(f"{node.name} with a call of its own, or with masks")


def _has_state(op: Any) -> bool:
    """Whether calling it may do more than compute a value: variables, random numbers, a user's own class."""
    return not type(op).__module__.startswith("keras.") or bool(isinstance(op, keras.Layer) and op.variables)


def _lower(node: Node, weights: Weights, dtypes: dict[int, str]) -> Callable[..., Tensor]:
    try:
        run = LAYERS.get(type(node.op), weightless)(node, weights)
    except Unsupported:
        raise
    except Exception as error:  # another version of Keras, a subclass of a setting: whatever it is, Keras runs it
        raise Unsupported(f"{node.name} ({reason(error)})") from error
    compute = getattr(node.op, "compute_dtype", None)
    foreign = [dtypes[i] for i in node.inputs if dtypes[i] != compute]
    dtypes[node.output] = node.dtype
    if getattr(node.op, "autocast", False) and any("float" in dtype for dtype in foreign):
        return _cast_first(run, getattr(torch, node.op.compute_dtype))
    return run


def _cast_first(run: Callable[..., Tensor], dtype: torch.dtype) -> Callable[..., Tensor]:
    """Keras casts what is floating, and only that, to a layer's own dtype."""
    return lambda *xs: run(*[x.to(dtype) if x.is_floating_point() else x for x in xs])


def _allocate(steps: list[Any], graph: Graph) -> tuple[list[Any], list[int], int]:
    """Give values that are no longer read to later ones, so that memory is free as early as in plain code."""
    left = graph.consumers()
    places = {number: place for place, number in enumerate(graph.inputs)}
    free: list[int] = []
    placed = []
    for name, run, inputs, output in steps:
        sources = [places[number] for number in inputs]
        left.subtract(inputs)
        free += [places.pop(number) for number in dict.fromkeys(inputs) if not left[number]]
        places[output] = free.pop() if free else len(places) + len(free)
        placed.append((name, run, sources, places[output]))
    return placed, [places[number] for number in graph.outputs], len(places) + len(free)
