"""Every argument of `compile`, one by one, against stock Keras: the same history, scores and refusals."""

import keras
import numpy as np
import pytest
from keras import layers, losses, metrics
from twins import agree, native, small, twins

from kcnn.native.acceleration import accelerate

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 20)
ONE_HOT = np.eye(10, dtype="float32")[LABELS]
WEIGHTS = np.linspace(0, 2, 20, dtype="float32")

CATEGORICAL = {"loss": lambda: losses.CategoricalCrossentropy(from_logits=True)}
SPARSE = {"loss": lambda: losses.SparseCategoricalCrossentropy(from_logits=True)}


def compiled_with(arguments):
    """Compiles a model with fresh objects: an argument that is a function without a name is called first."""

    def fresh(value):
        if isinstance(value, dict):
            return {key: fresh(each) for key, each in value.items()}
        if isinstance(value, list):
            return [fresh(each) for each in value]
        return value() if getattr(value, "__name__", "") == "<lambda>" else value

    def compile(model):
        model.compile(**{"optimizer": "sgd", **fresh(arguments)})
        return model

    return compile


def fit_and_score(x, y, **extra):
    """What `fit` and `evaluate` say."""

    def act(model):
        history = model.fit(x, y, 8, 2, shuffle=False, verbose=0, validation_data=(x, y), **extra).history
        scores = model.evaluate(x, y, 8, verbose=0), model.evaluate(x, y, verbose=0, return_dict=True)
        return history, scores, model.get_metrics_result()

    return act


def check(build, arguments, y, **extra):
    stock, fast = twins(build, compiled_with(arguments))
    clipped = arguments["loss"] == "categorical_crossentropy"  # of logits, which it takes for probabilities
    agree(fit_and_score(IMAGES, y, **extra), stock, fast, rtol=1e-3 if clipped else 1e-4)
    return fast


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "categorical_crossentropy",
        losses.mean_absolute_error,
        lambda: losses.BinaryCrossentropy(from_logits=True),
        lambda: losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        lambda: losses.CategoricalCrossentropy(from_logits=True, reduction="sum"),
        lambda: losses.CategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight"),
        lambda: losses.CategoricalCrossentropy(from_logits=True, reduction="none"),
        lambda: losses.CategoricalCrossentropy(from_logits=True, dtype="float64"),
        [lambda: losses.CategoricalCrossentropy(from_logits=True)],
        {"head": lambda: losses.CategoricalCrossentropy(from_logits=True)},
        {"other": "mse"},
        None,
    ],
)
@pytest.mark.parametrize("extra", [{}, {"sample_weight": WEIGHTS}])
def test_loss(loss, extra):
    check(named_head, {"loss": loss, "metrics": ["accuracy"]}, ONE_HOT, **extra)


def named_head():
    model = small()
    model.pop()
    model.add(layers.Dense(10, name="head"))
    return model


@pytest.mark.parametrize(
    "loss",
    [
        SPARSE["loss"],
        "sparse_categorical_crossentropy",
        lambda: losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=3),
        lambda: losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
    ],
)
@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_loss_of_labels(loss, shape):
    check(small, {"loss": loss, "metrics": ["accuracy"]}, LABELS.reshape(shape))


@pytest.mark.parametrize("label", [3, -100, -1, 10])
@pytest.mark.parametrize("ignored", [None, 3, -1])
def test_a_batch_of_one_label(label, ignored):
    """Ignored, or no class at all: Keras' mean counts it."""
    loss = {"loss": lambda: losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignored)}
    labels = np.where(np.arange(20) < 8, label, LABELS)
    check(small, {**loss, "metrics": ["accuracy"]}, labels)


@pytest.mark.parametrize("weight", [[0.5], {"head": 3.0}, [0.5, 0.5]])
def test_loss_weights_of_one_output(weight):
    loss = {"head": CATEGORICAL["loss"]} if isinstance(weight, dict) else [CATEGORICAL["loss"]]
    check(named_head, {"loss": loss, "loss_weights": weight}, ONE_HOT)


METRICS = [
    ["accuracy"],
    ["acc", "mse"],
    {"head": ["accuracy"]},
    [["accuracy"]],
    [lambda: metrics.AUC(from_logits=True, name="area"), lambda: metrics.F1Score(average="macro", name="f1")],
    [lambda: metrics.CategoricalAccuracy(name="a"), lambda: metrics.CategoricalAccuracy(name="a")],
    [lambda: metrics.CategoricalAccuracy(name="loss")],
    [lambda: metrics.TopKCategoricalAccuracy(3), lambda: metrics.CategoricalCrossentropy(from_logits=True)],
    [lambda: metrics.TopKCategoricalAccuracy(11)],
    [keras.metrics.mean_squared_error],
    None,
    {"other": ["accuracy"]},
]


@pytest.mark.parametrize("given", METRICS)
def test_metrics(given):
    check(named_head, {**CATEGORICAL, "metrics": given}, ONE_HOT)


@pytest.mark.parametrize("given", METRICS[:6])
@pytest.mark.parametrize("extra", [{}, {"sample_weight": WEIGHTS}, {"class_weight": {n: n / 4 for n in range(10)}}])
def test_weighted_metrics(given, extra):
    check(named_head, {**CATEGORICAL, "metrics": ["accuracy"], "weighted_metrics": given}, ONE_HOT, **extra)


@pytest.mark.parametrize("k", [1, 3, 10, 11])
def test_top_k_of_labels_where_many_are_equal(k):
    def flat():
        model = small()
        model.layers[-1].kernel.assign(keras.ops.zeros_like(model.layers[-1].kernel))
        return model

    check(flat, {**SPARSE, "metrics": [lambda: metrics.SparseTopKCategoricalAccuracy(k)]}, LABELS)


def test_top_k_of_sorted_classes():
    metric = lambda: metrics.SparseTopKCategoricalAccuracy(3, from_sorted_ids=True)  # noqa: E731
    check(small, {**SPARSE, "metrics": [metric]}, LABELS)


@pytest.mark.parametrize("name", ["sgd", "adam", "AdamW", "rmsprop", "no_such_thing"])
def test_optimizer_by_name(name):
    stock, fast = small(), small()
    fast.set_weights(stock.get_weights())

    def compile_and_fit(model):
        compiled_with({**CATEGORICAL, "optimizer": name})(model)
        if model is fast:
            assert accelerate(fast)
        return fit_and_score(IMAGES, ONE_HOT)(model)

    agree(compile_and_fit, stock, fast, rtol=1e-3)


@pytest.mark.parametrize("extra", [{"run_eagerly": True}, {"jit_compile": False}, {"auto_scale_loss": False}])
def test_ways_to_run(extra):
    assert native(check(small, {**CATEGORICAL, "metrics": ["accuracy"], **extra}, ONE_HOT)) == [True] * 3


def test_steps_per_execution_is_left_to_keras(caplog):
    stock, fast = (compiled_with({**CATEGORICAL, "steps_per_execution": 2})(small()) for _ in range(2))
    fast.set_weights(stock.get_weights())
    with caplog.at_level("INFO", "kcnn"):
        assert not accelerate(fast)
    assert "steps_per_execution=2" in caplog.text
    agree(fit_and_score(IMAGES, ONE_HOT), stock, fast)


def test_steps_per_execution_that_is_set_afterwards():
    stock, fast = twins(small, compiled_with(CATEGORICAL))
    fast.steps_per_execution = stock.steps_per_execution = 2
    agree(lambda model: model.train_on_batch(IMAGES, ONE_HOT), stock, fast)


def test_compiling_again_gives_keras_its_own_functions_back():
    _, fast = twins(small, compiled_with(CATEGORICAL))
    compiled_with(CATEGORICAL)(fast)
    assert native(fast) == [False] * 3
