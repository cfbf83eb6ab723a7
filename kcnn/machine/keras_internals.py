"""The only file that touches `keras.src` or a private name of Keras; read in Keras 3.13, 3.14 and 3.15.

Import it after the backend is chosen. `ruff` (SLF001) refuses private names elsewhere.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.backend.common.variables import initialize_all_variables
from keras.src.models.functional import Functional
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from keras.src.trainers.data_adapters.data_adapter_utils import unpack_x_y_sample_weight
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.src.utils import module_utils
from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED

__all__ = ["Functional", "PyDatasetAdapter", "unpack_x_y_sample_weight"]


# ---- the process -----------------------------------------------------------------------------------------------------


@contextmanager
def without_tensorflow() -> Iterator[None]:
    """Keras' seeding and saving would import TensorFlow where it is installed, to ask whether an object is of it.

    That takes seconds, and its C++ greets on stderr. Where TensorFlow is imported already nothing changes.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    lazy = module_utils.tensorflow
    before, lazy._available = lazy._available, False
    try:
        yield
    finally:
        lazy._available = before


GLOBAL_SEEDS = (GLOBAL_RANDOM_SEED, GLOBAL_SEED_GENERATOR)


def exchange_global_seed(values: Sequence[Any]) -> list[Any]:
    """Set what `keras.utils.set_random_seed` does, the seed and the generator of draws without one; what was there."""
    before = [global_state.get_global_attribute(name) for name in GLOBAL_SEEDS]
    for name, value in zip(GLOBAL_SEEDS, values, strict=True):
        global_state.set_global_attribute(name, value)
    return before


# ---- the torch backend -----------------------------------------------------------------------------------------------


def torch_device() -> str:
    """Where Keras puts new tensors on the torch backend: "cpu", "cuda:0", …"""
    from keras.src.backend.torch.core import get_device

    return str(get_device())


def torch_trainer() -> type:
    """The class whose `train_step`, `compute_loss` and so on a model has unless it brings its own."""
    from keras.src.backend.torch.trainer import TorchTrainer

    return TorchTrainer


def without_gradients() -> Any:
    """A context in which a call of a model keeps nothing for gradients; only torch does so without being asked."""
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()


# ---- models ----------------------------------------------------------------------------------------------------------


def functional(model: Any) -> Functional | None:
    """The graph of functions inside a functional or built sequential model; None for anything else."""
    if isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call:
        return getattr(model, "_functional", None)
    if isinstance(model, Functional) and type(model).call is Functional.call:
        return model
    return None


def calls(function: Functional) -> Iterator[Any]:
    """The calls of its layers and operations, each after those whose outputs it reads."""
    for depth in sorted(function._nodes_by_depth, reverse=True):
        for node in function._nodes_by_depth[depth]:
            if node.operation is not None and not node.is_input and node.outputs:
                yield node


def outputs_struct(model: Any) -> Any:
    """The structure of what a functional or sequential model's own call returns."""
    return getattr(model, "_functional", model)._outputs_struct


def standardize_inputs(model: Any, x: Any) -> Any:
    """The inputs, cast and reshaped as the model's own call does it."""
    return getattr(model, "_functional", model)._standardize_inputs(x)


def all_layers(model: Any) -> list[Any]:
    """The model's layers and theirs, all the way down."""
    return list(model._flatten_layers())


def producer(tensor: Any) -> Any:
    """The layer or operation whose output a symbolic tensor is."""
    return tensor._keras_history.operation


# ---- compiled losses and metrics -------------------------------------------------------------------------------------


def compiled_loss(model: Any) -> Any:
    """Keras' callable for the losses given to `compile`."""
    return model._compile_loss


def has_loss_weights(model: Any) -> bool:
    """Whether `compile` was given `loss_weights`."""
    return bool(model._compile_loss._user_loss_weights)


def loss_tracker(model: Any) -> Any:
    """The metric that averages the loss."""
    return model._loss_tracker


def compiled_metrics(model: Any) -> Any:
    """Keras' container of the metrics given to `compile`; None without any."""
    return model._compile_metrics


def has_weighted_metrics(model: Any) -> bool:
    """Whether `compile` was given `weighted_metrics`."""
    return bool(model._compile_metrics._user_weighted_metrics)


# ---- optimizers ------------------------------------------------------------------------------------------------------


def iterations(optimizer: Any) -> Any:
    """The variable that counts steps."""
    return optimizer._iterations


def rate_is_variable(optimizer: Any) -> bool:
    """Whether the learning rate is a variable, and not a schedule of Keras'."""
    return isinstance(optimizer._learning_rate, keras.Variable)


def current_rate(optimizer: Any) -> Any:
    """The learning rate of the next step: a variable, a tensor or a number."""
    return optimizer._get_current_learning_rate()


def variable_index(optimizer: Any, variable: Any) -> int:
    """The place of a variable in the optimizer's lists."""
    return optimizer._get_variable_index(variable)


def uses_decoupled_decay(optimizer: Any, variable: Any) -> bool:
    """Whether the optimizer's own `weight_decay` is for this variable."""
    return bool(optimizer._use_weight_decay(variable))


def nadam_product(optimizer: Any) -> Any:
    """Nadam's variable of the product of its momenta."""
    return optimizer._u_product


def inner(optimizer: Any) -> Any:
    """The optimizer that updates: what `LossScaleOptimizer`, Keras' wrapper under mixed_float16, has inside."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def averages(optimizer: Any) -> list[tuple[Any, Any]]:
    """(variable, its moving average) of an optimizer with `use_ema`."""
    return list(zip(optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True))


AVERAGES = "_model_variables_moving_average"  # the attribute, in the order of the optimizer's variables


# ---- variables -------------------------------------------------------------------------------------------------------


def memory_of(variable: Any) -> int:
    """The address of a torch variable's numbers."""
    return variable._value.data_ptr()


def versions(variables: Sequence[Any]) -> list[int]:
    """Numbers that change when one of these torch variables is assigned to."""
    return [variable._value._version for variable in variables]


@contextmanager
def memory_later() -> Iterator[None]:
    """Variables made inside get their memory and first values at the end; none if an error ends it.

    What was built of them is to be given to `hold_variables` then.
    """
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
        initialize_all_variables()
    finally:
        global_state.set_global_attribute("uninitialized_variables", [])


def hold_variables(model: Any) -> None:
    """Make the variables of all layers known to torch's modules, as building does where there is memory for them.

    Without it `torch.export` and ONNX take the weights for constants, and fail.
    """
    if keras.backend.backend() == "torch":
        for layer in all_layers(model):
            layer._track_variables()
