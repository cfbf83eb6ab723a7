"""A torchvision state dict and a Keras model as one network: a checked bijection, in both directions.

kcnn's ResNet and VGG layers have the names of torchvision's modules with dots as underscores (`layer1.0.conv1` is
`layer1_0_conv1`), so no table an architecture is needed. What differs is the order of axes:

- a convolution's kernel is (out, in, height, width) in torch, (height, width, in, out) in Keras;
- a dense kernel is (out, in) in torch, (in, out) in Keras; after a `Flatten` its inputs run over (channel, row, column)
  in torch, over (row, column, channel) in Keras.

State dicts are plain dictionaries of NumPy arrays here: nothing depends on the backend.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from kcnn.errors import KcnnError, shown

StateDict = Mapping[str, np.ndarray]

# Keras variable → torch tensor, in a layer and its module.
TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
COUNTER = "num_batches_tracked"  # torch's batch norm counts its batches; Keras' does not
POOLED = 7  # torchvision's VGG averages any feature map to 7×7 before its classifier


class Slot(NamedTuple):
    """A Keras variable and the torch tensor that stands for it."""

    variable: Any
    shape: tuple[int, ...]  # in torch
    to_keras: Callable[[np.ndarray], np.ndarray]
    to_torch: Callable[[np.ndarray], np.ndarray]


def load_state_dict(model: Any, state: StateDict, leave_out: Collection[str] = ()) -> list[str]:
    """Set every variable of the model from a torch state dict, and return the names of the unused tensors.

    Nothing is set unless everything fits. Unused are batch-norm counters and the tensors of layers left out.

    Args:
        state: torch name → array.
        leave_out: names of Keras layers that keep their values.

    Raises:
        KcnnError: a tensor is missing, has no variable, has another shape, or holds no numbers; both sides are named.
    """
    slots = {key: slot for key, slot in _slots(model).items() if layer_name(key) not in leave_out}
    unused = [key for key in state if key.endswith(COUNTER) or layer_name(key) in leave_out]
    problems = [f"{slots[key].variable.path} has no tensor {key}" for key in slots.keys() - state.keys()]
    problems += [f"tensor {key} has no layer {layer_name(key)}" for key in state.keys() - slots.keys() - set(unused)]
    problems += [
        f"tensor {key} is {_size(state[key].shape)}, but {slot.variable.path} {_size(slot.variable.shape)} "
        f"takes {_size(slot.shape)}"
        for key, slot in slots.items()
        if key in state and state[key].shape != slot.shape
    ]
    if problems:
        raise KcnnError(f"These weights do not fit {model.name}: {_first(sorted(problems))}.")
    if problems := [problem for key in slots if (problem := _no_numbers(key, state[key]))]:
        raise KcnnError(f"These weights cannot be used: {_first(sorted(problems))}. Fetch or write the file again.")
    for key, slot in slots.items():
        slot.variable.assign(slot.to_keras(state[key]))
    return unused


def _no_numbers(key: str, array: np.ndarray) -> str:
    """What is wrong with a tensor of the right name and shape; "" if it is finite floating numbers."""
    if not np.issubdtype(array.dtype, np.floating):
        return f"tensor {key} is {array.dtype}, not floating numbers"
    return "" if np.isfinite(array).all() else f"tensor {key} has NaN or infinite numbers"


def to_state_dict(model: Any) -> dict[str, np.ndarray]:
    """The torch state dict of a Keras model, every tensor of it; the counters of batch norms are 0."""
    from keras import ops

    state: dict[str, np.ndarray] = {}
    for key, slot in _slots(model).items():
        array = np.asarray(ops.convert_to_numpy(slot.variable), np.float32)
        state[key] = np.ascontiguousarray(slot.to_torch(array))
        if key.endswith(".running_var"):
            state[key.replace("running_var", COUNTER)] = np.zeros((), np.int64)
    return state


def layer_name(key: str) -> str:
    """The Keras layer that a torch tensor belongs to: `layer1.0.bn1.weight` → `layer1_0_bn1`."""
    return key.rpartition(".")[0].replace(".", "_")


def _slots(model: Any) -> dict[str, Slot]:
    """Torch name → slot, for every variable of the model.

    Raises:
        KcnnError: a variable of a kind that torchvision's networks do not have.
    """
    slots = {}
    for layer in model.layers:
        for variable in layer.weights:
            if variable.name not in TENSORS:
                raise KcnnError(
                    f"{model.name}'s variable {variable.path} has no counterpart in torchvision's networks."
                )
            slots[f"{layer.name.replace('_', '.')}.{TENSORS[variable.name]}"] = _slot(layer, variable)
    return slots


def _slot(layer: Any, variable: Any) -> Slot:
    shape = tuple(variable.shape)
    if variable.name == "kernel" and len(shape) == 4:
        height, width, inputs, outputs = shape
        torch_shape = (outputs, inputs, height, width)
        return Slot(variable, torch_shape, lambda w: w.transpose(2, 3, 1, 0), lambda k: k.transpose(3, 2, 0, 1))
    if variable.name == "kernel":
        inputs, outputs = shape
        rows, columns, channels = flattened_shape(layer) or (1, 1, inputs)
        return Slot(
            variable,
            (outputs, inputs),
            lambda w: w.reshape(outputs, channels, rows, columns).transpose(2, 3, 1, 0).reshape(inputs, outputs),
            lambda k: k.reshape(rows, columns, channels, outputs).transpose(3, 2, 0, 1).reshape(outputs, inputs),
        )
    return Slot(variable, shape, lambda w: w, lambda k: k)


def flattened_shape(layer: Any) -> tuple[int, int, int] | None:
    """(rows, columns, channels) of the feature map whose `Flatten` a dense layer sees; None if there is none."""
    from keras.layers import Flatten

    from kcnn.machine.keras_internals import producer

    source = producer(layer.input)
    return tuple(source.input.shape[1:]) if isinstance(source, Flatten) else None


def fit_classifier(model: Any, state: StateDict) -> dict[str, np.ndarray]:
    """Replace VGG's first dense kernel by the one that does the same on the model's own feature map.

    torchvision averages the map to 7×7, which is linear: the average is taken into the kernel, so that the network
    stays exactly torchvision's at any image size. At 224 px, where the map is 7×7, nothing changes.
    """
    state = dict(state)
    for key, (rows, columns, channels) in _classifiers(model):
        kernel = state.get(key)
        if kernel is not None and (rows, columns) != (POOLED, POOLED) and kernel.shape[1:] == (channels * POOLED**2,):
            state[key] = _resample(kernel, np.kron(averaging(rows), averaging(columns)))
    return state


def unfit_classifier(model: Any, state: StateDict) -> dict[str, np.ndarray]:
    """The reverse of `fit_classifier`: a kernel for torchvision's 7×7 map that does the same.

    Raises:
        KcnnError: the model's map is larger than 7×7, so that there may be no such kernel.
    """
    state = dict(state)
    for key, (rows, columns, _) in _classifiers(model):
        if max(rows, columns) > POOLED:
            raise KcnnError(
                f"{model.name}'s classifier sees a {rows}×{columns} map; torchvision's sees {POOLED}×{POOLED} and "
                f"cannot hold it. Train with --image-size 224 or less."
            )
        if (rows, columns) != (POOLED, POOLED):
            inverse = np.linalg.pinv(averaging(rows)), np.linalg.pinv(averaging(columns))
            state[key] = _resample(state[key], np.kron(*inverse))
    return state


def _resample(kernel: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(out, channels · old) times the (old, new) matrix, for each channel → (out, channels · new)."""
    rows = kernel.reshape(-1, len(matrix)) @ matrix.astype(np.float32)
    return rows.reshape(len(kernel), -1)


def averaging(size: int) -> np.ndarray:
    """The (7, size) matrix of torch's adaptive average pooling along one axis."""
    matrix = np.zeros((POOLED, size))
    for row in range(POOLED):
        first, last = row * size // POOLED, -(-(row + 1) * size // POOLED)
        matrix[row, first:last] = 1 / (last - first)
    return matrix


def _classifiers(model: Any) -> Iterable[tuple[str, tuple[int, int, int]]]:
    """(torch name of the kernel, shape of the map) of VGG's dense layer after `Flatten`."""
    for layer in model.layers:
        if layer.name == "classifier_0" and (shape := flattened_shape(layer)):
            yield "classifier.0.weight", shape


def _size(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _first(problems: list[str], count: int = 2) -> str:
    more = f"; and {len(problems) - count} more" if len(problems) > count else ""
    return "; ".join(shown(problem, 200) for problem in problems[:count]) + more
