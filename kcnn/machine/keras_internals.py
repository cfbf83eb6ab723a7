"""The only file that touches `keras.src` or a private name of Keras; read in Keras 3.13, 3.14, 3.15 and 3.16's source.

Import it after the backend is chosen. `ruff` (SLF001) refuses private names elsewhere.
"""

import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from operator import attrgetter, itemgetter
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.models import functional as functional_models
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


STEPS = ["train_step", "test_step", "predict_step", "compute_loss", "compute_metrics", "get_metrics_result", "__call__"]
STEPS += ["make_train_function", "make_test_function", "make_predict_function"]


def own_step(model: Any) -> str:
    """The name of a part of Keras' steps that the model, or its class, brings its own of; "" if it brings none."""
    kind, stock = type(model), keras.Model
    return next((x for x in STEPS if x in vars(model) or getattr(kind, x) is not getattr(stock, x)), "")


def replicated(model: Any) -> bool:
    """Whether Keras' own steps would share the work with other processes or devices."""
    from torch import distributed

    return (
        distributed.is_available() and distributed.is_initialized()
    ) or keras.distribution.distribution() is not None


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


def says_training(call: Any) -> bool:
    """Whether a call inside a model says if it is one of training, and is heeded: Keras 3.15 and older overrule it."""
    return "training" in call.arguments.kwargs and not hasattr(functional_models, "operation_fn")


def takes_training(operation: Any) -> bool:
    """Whether it is a layer whose `call` has an argument `training`."""
    return bool(getattr(operation, "_call_has_training_arg", False))


def structures(model: Any) -> tuple[Any, Any]:
    """Of the inputs that a functional or sequential model was built with, and of what its own call returns."""
    function = getattr(model, "_functional", model)
    return function._inputs_struct, function._outputs_struct


def standardize_inputs(model: Any, x: Any) -> Any:
    """The inputs, cast and reshaped as the model's own call does it."""
    return getattr(model, "_functional", model)._standardize_inputs(x)


def all_layers(model: Any) -> list[Any]:
    """The model's layers and theirs, all the way down."""
    return list(model._flatten_layers())


def producer(tensor: Any) -> Any:
    """The layer or operation whose output a symbolic tensor is."""
    return tensor._keras_history.operation


# Attributes that a step depends on though they are named as Keras' own, and those that Keras itself changes.
_HIDDEN = ("_trainable", "_dtype_policy", "_learning_rate", "_regularizer", "_constraint", "_value")
_PASSING = ("training", "built", "name")


def settings(thing: Any) -> Callable[[], tuple[Any, ...]]:
    """What reads the settings of a layer, model, variable or optimizer, as a tuple of the same things every time."""
    if isinstance(thing, keras.Model):
        read = attrgetter("trainable", "steps_per_execution")
        return lambda: (*read(thing), functional(thing), getattr(thing, "optimizer", None))
    held = vars(thing)
    names = [name for name in held if name in _HIDDEN or (not name.startswith("_") and name not in _PASSING)]
    if not names:
        return tuple
    values = itemgetter(*names, names[0])  # of two at least, for with one it gives the value itself
    return lambda: values(held)


# ---- compiled losses and metrics -------------------------------------------------------------------------------------


def compiled_loss(model: Any) -> Any:
    """Keras' callable for the losses given to `compile`."""
    return model._compile_loss


def has_loss_weights(model: Any) -> bool:
    """Whether `compile` was given `loss_weights`."""
    return bool(model._compile_loss._user_loss_weights)


def losses_by_output(model: Any) -> list[Any]:
    """The metrics that average the losses of a model with several."""
    return list(model._compile_loss.metrics)


def loss_settings(loss: Any) -> dict[str, Any]:
    """The arguments that one of Keras' losses gives to its function, such as `from_logits`."""
    return dict(getattr(loss, "_fn_kwargs", {}))


def tracks_only_compiled(model: Any) -> bool:
    """Whether the model's metrics are those of `compile` alone, without losses by output or a layer's own."""
    return model.metrics == [x for x in (model._loss_tracker, model._compile_metrics) if x is not None]


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


def rate_is_variable(optimizer: Any) -> bool:
    """Whether the learning rate is a variable, and not a schedule of Keras'."""
    return isinstance(optimizer._learning_rate, keras.Variable)


def current_rate(optimizer: Any) -> Any:
    """The learning rate of the next step: a variable, a tensor or a number."""
    return optimizer._get_current_learning_rate()


def updates_its_own_way(optimizer: Any, known: str) -> bool:
    """Whether its class, outside the module `known`, changes more of how gradients are applied than `update_step`."""
    hooks = (
        *("apply", "_backend_apply_gradients", "_backend_update_step", "_parallel_update_step", "_clip_gradients"),
        *("_apply_weight_decay", "_get_current_learning_rate", "_update_model_variables_moving_average"),
    )
    found = [getattr(optimizer, name) for name in hooks if hasattr(optimizer, name)]
    return not all(method.__module__.startswith(("keras.", known)) for method in found)


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
def counted_variables(check: Callable[[int], None]) -> Iterator[None]:
    """Call `check` before each variable that this thread makes, with the sizes of all so far and this one.

    Args:
        check: takes a number of elements; an error that it raises keeps the variable from getting its memory.
    """
    kind, thread, total = keras.Variable, threading.get_ident(), 0
    inherited = "_initialize_with_initializer" not in vars(kind)
    original = kind._initialize_with_initializer

    def counted(self: Any, initializer: Any) -> None:
        nonlocal total
        if threading.get_ident() == thread:
            total += math.prod(self._shape)
            check(total)
        original(self, initializer)

    kind._initialize_with_initializer = counted
    try:
        yield
    finally:
        kind._initialize_with_initializer = original
        if inherited:
            del kind._initialize_with_initializer
