"""What `accelerate` does to a model, what it leaves alone, and what it says about that."""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from twins import FAMILIES, assert_close, batches, compiled, native, pair, parity, small, train_both

import kcnn
from kcnn.models.registry import build_model
from kcnn.native import acceleration
from kcnn.native.acceleration import accelerate


@pytest.mark.parametrize("name", FAMILIES)
def test_twenty_steps_are_those_of_keras(name):
    shape, options = FAMILIES[name]
    stock, fast = pair(lambda: build_model(name, shape, 10, **options))
    images, targets = batches(shape, steps=20 if name in ("lenet5", "simple_cnn", "resnet20") else 3)
    train_both(stock, fast, images, targets)
    fast.set_weights(stock.get_weights())
    assert_close([stock.predict(images[0], verbose=0)], [fast.predict(images[0], verbose=0)])
    expected, got = (model.evaluate(images[0], targets[0], verbose=0) for model in (stock, fast))
    np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.fixture
def float64():
    """With less rounding, which deep networks of small batches amplify."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["MobileNetV2", "alexnet", "convnet", "resnet20"])
def test_in_float64_deep_networks_agree(name):
    def build():
        if name in FAMILIES:
            return build_model(name, FAMILIES[name][0], 10, **FAMILIES[name][1])
        return keras.applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=10, classifier_activation=None)

    parity(build, steps=2, rtol=1e-4)


def test_vgg16_of_keras_trains():
    """Its convolutions have a ReLU of their own, some of them by Winograd's method."""
    model = keras.applications.VGG16(weights=None, input_shape=(64, 64, 3), classes=10)
    model.compile("sgd", "categorical_crossentropy")
    assert accelerate(model)
    images, targets = batches((64, 64, 3), steps=1, size=2)
    assert np.isfinite(model.train_on_batch(images[0].astype("float32"), targets[0]))
    assert native(model) == [True] * 3


def test_a_saved_model_is_an_ordinary_keras_file(tmp_path):
    stock, fast = pair(small, lambda: keras.optimizers.Adam(1e-3))
    images, targets = batches((8, 8, 3), steps=4)
    train_both(stock, fast, images[:2], targets[:2])
    fast.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(fast.get_weights(), loaded.get_weights(), 0)
    assert accelerate(loaded)
    stock.reset_metrics()
    train_both(stock, loaded, images[2:], targets[2:])


def test_a_model_that_was_never_compiled_predicts():
    model = small()
    images, _ = batches((8, 8, 3), steps=1)
    expected = model.predict(images[0], verbose=0)
    assert accelerate(model)
    assert_close([expected], [model.predict(images[0], verbose=0)])
    assert native(model) == [False, False, True]


class Strange(layers.Layer):
    def call(self, x):
        return 2 * x


class Twice(layers.Dense):
    def call(self, x):
        return super().call(super().call(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = layers.Dense(10)

    def call(self, x):
        return self.head(x)


class OwnStep(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


def sequential(*stack):
    return lambda: keras.Sequential([keras.Input((4,)), *[make() for make in stack], layers.Dense(10)])


def patched(name):
    def build():
        model = sequential()()
        target = model if name.endswith("step") else model.layers[0]
        setattr(target, name, getattr(target, name))
        return model

    return build


def functional(cls, **arguments):
    def build():
        inputs = keras.Input((4,))
        return cls(inputs, layers.Dense(10)(inputs), **arguments)

    return build


def regular(**arguments):
    return sequential(lambda: layers.Dense(4, **arguments))


# What is left to Keras → a part of the line that says why.
LEFT = {
    "not built": (
        lambda: keras.Sequential([layers.Dense(10, name="top")], name="new"),
        "'new', which is not built yet",
    ),
    "subclassed": (Subclassed, "which is not a functional model"),
    "own layer": (sequential(lambda: Strange(name="odd")), "Strange 'odd'"),
    "own dense": (sequential(lambda: Twice(4, name="twice")), "Twice 'twice'"),
    "nested": (sequential(Subclassed), "Subclassed 'subclassed"),
    "own step": (functional(OwnStep), "OwnStep's own train_step"),
    "step of this model": (patched("train_step"), "own train_step"),
    "call of this layer": (patched("call"), "Dense"),
    "activity": (regular(activity_regularizer="l2", name="busy"), "Dense 'busy'"),
    "LoRA": (regular(lora_rank=2, name="low"), "Dense 'low'"),
    "masks": (sequential(lambda: layers.Masking(name="mask")), "Masking 'mask'"),
    "noise": (sequential(lambda: layers.GaussianNoise(0.1, name="noise")), "GaussianNoise 'noise'"),
    "odd axis": (
        sequential(
            lambda: layers.Reshape((2, 2)), lambda: layers.LayerNormalization(axis=1, name="norm"), layers.Flatten
        ),
        "LayerNormalization 'norm'",
    ),
    "odd setting": (sequential(lambda: odd(layers.Dense(4, name="odd"))), "Dense 'odd'"),
    "activation with weights": (lambda: regular(activation=layers.PReLU())(), "with the activation PReLU"),
}


def odd(layer):
    """As a version of Keras that kcnn does not know might have it."""
    layer.build((None, 4))
    layer._kernel = layer.bias = object()
    return layer


@pytest.mark.parametrize("what", LEFT)
def test_what_cannot_be_lowered_is_named_and_left_to_keras(what, caplog):
    build, why = LEFT[what]
    model = compiled(build())
    with caplog.at_level("INFO", "kcnn"):
        assert accelerate(model) is False
    assert len(caplog.records) == 1
    assert model.name in caplog.text
    assert why in caplog.text
    assert native(model) == [False] * 3
    if what != "odd setting":
        model.fit(np.ones((8, 4)), np.eye(10)[:8], verbose=0)


def test_what_is_built_later_can_be_accelerated_then():
    model = compiled(keras.Sequential([layers.Dense(10)]))
    assert not accelerate(model)
    model.fit(np.ones((8, 4)), np.eye(10)[:8], verbose=0)
    assert accelerate(model)


@pytest.mark.parametrize("thing", [None, "model", layers.Dense(3)])
def test_what_is_no_model_is_refused(thing):
    with pytest.raises(TypeError, match=r"kcnn\.accelerate takes a Keras model\. Received:"):
        accelerate(thing)


def test_the_process_is_tuned_once_and_only_if_wanted(monkeypatch):
    calls = []
    monkeypatch.setattr(acceleration, "_keep_freed_memory", lambda: calls.append(1))
    acceleration._tune.cache_clear()
    accelerate(small(), tune_process=False)
    assert not calls
    accelerate(small())
    accelerate(small())
    assert len(calls) == 1
    for word in ("mallopt", "cudnn.benchmark", "tune_process"):
        assert word in kcnn.accelerate.__doc__


def test_on_a_graphics_card_memory_is_left_alone(monkeypatch):
    import torch

    monkeypatch.setattr(acceleration, "_keep_freed_memory", lambda: pytest.fail("of the CPU only"))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    acceleration._tune.cache_clear()
    acceleration._tune("cuda")
    assert torch.backends.cudnn.benchmark
    acceleration._tune.cache_clear()


def test_the_example_runs():
    [example] = re.findall(r"```python\n(.*?)```", acceleration.__doc__, re.DOTALL)
    model = example.replace("[...]", "") + "\nassert model.train_function.__module__.startswith('kcnn.')"
    images = "import numpy as np\nimages, labels = np.ones((8, 32, 32, 3)), np.arange(8)\n"
    done = subprocess.run([sys.executable, "-c", images + model], capture_output=True, text=True, cwd="/tmp")
    assert done.returncode == 0, done.stderr
