"""The lowered model against Keras' own: the same mathematics, and nothing else of the model changed."""

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras import layers

import kcnn  # noqa: F401  sets the backend before keras is imported
from kcnn.methods.optimizers import OPTIMIZERS, coupled
from kcnn.models.registry import build_model
from kcnn.native import program
from kcnn.native.acceleration import accelerate
from kcnn.native.cpu import winograd

STEPS = 20


def batches(shape, classes=10, steps=STEPS, size=16, seed=0):
    """Coarse patches: on pure noise batch norm makes training chaotic, and stock float32 leaves float64 by 1e-3."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (steps, size, 4, 4, shape[-1]))
    images = np.kron(patches, np.ones((1, 1, shape[0] // 4, shape[1] // 4, 1))).astype("uint8")
    return images, np.eye(classes, dtype="float32")[rng.integers(0, classes, (steps, size))]


def compiled(model, optimizer=None, loss=None, metrics=None):
    model.compile(
        optimizer or keras.optimizers.SGD(1e-4, momentum=0.9),
        loss or keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=metrics or [keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    return model


def pair(build, optimizer=lambda: None, **kwargs):
    """The same compiled model twice: stock, and accelerated."""
    stock, fast = compiled(build(), optimizer(), **kwargs), compiled(build(), optimizer(), **kwargs)
    fast.set_weights(stock.get_weights())
    assert accelerate(fast)
    assert None not in (fast.train_function, fast.test_function, fast.predict_function)
    return stock, fast


def assert_close(stock, fast, rtol=1e-4):
    """Every variable, relative to its size, or to 0.1 an element where training has only begun to move it from zero."""
    for a, b in zip(stock, fast, strict=True):
        a, b = (keras.ops.convert_to_numpy(w).astype("float64") for w in (a, b))
        assert np.linalg.norm(a - b) <= rtol * max(np.linalg.norm(a), 0.1 * np.sqrt(a.size))


def train_both(stock, fast, images, targets, rtol=1e-4):
    for x, y in zip(images, targets, strict=True):
        expected, got = stock.train_on_batch(x, y), fast.train_on_batch(x, y)
        np.testing.assert_allclose(got, expected, rtol=rtol)
    assert_close(stock.get_weights(), fast.get_weights(), rtol)


def small(**kwargs):
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), dtype="uint8"),
            layers.Rescaling([1 / 128] * 3, [-1.0, -0.9, -1.1]),
            layers.Conv2D(4, 3, activation="relu", use_bias=False, **kwargs),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, **kwargs),
        ]
    )


FAMILIES = {
    "lenet5": ((28, 28, 1), {}),
    "simple_cnn": ((16, 16, 3), {"pooling": "average"}),
    "convnet": ((16, 16, 1), {}),
    "alexnet": ((16, 16, 3), {"dropout": 0.0}),
    "resnet18": ((16, 16, 3), {}),
    "resnet20": ((16, 16, 3), {}),
    "vgg11": ((32, 32, 3), {"dropout": 0.0}),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_twenty_steps_are_those_of_keras(name):
    shape, options = FAMILIES[name]
    keras.utils.set_random_seed(1)
    stock, fast = pair(lambda: build_model(name, shape, 10, **options))
    images, targets = batches(shape, steps=STEPS if name in ("lenet5", "simple_cnn", "resnet20") else 3)
    train_both(stock, fast, images, targets)
    fast.set_weights(stock.get_weights())
    assert_close([stock.predict(images[0], verbose=0)], [fast.predict(images[0], verbose=0)])
    expected, got = (model.evaluate(images[0], targets[0], verbose=0) for model in (stock, fast))
    np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"coupled": 5e-2}, {"weight_decay": 0.1, "global_clipnorm": 0.5}])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_that_of_keras(name, options):
    options = dict(options)
    decay = options.pop("coupled", 0.0)

    def optimizer():
        base = getattr(keras.optimizers, OPTIMIZERS[name])
        made = coupled(base)(1e-2, **options) if decay else base(1e-2, **options)
        made.coupled_weight_decay = decay
        return made

    parity(small, optimizer)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("SGD", {"momentum": 0.9, "clipnorm": 0.1}),
        ("SGD", {"momentum": 0.9, "clipvalue": 0.01}),
        ("Adam", {"amsgrad": True}),
        ("RMSprop", {"momentum": 0.9, "centered": True}),
        ("SGD", {"momentum": 0.9, "use_ema": True, "ema_momentum": 0.8}),
        ("SGD", {"momentum": 0.9, "use_ema": True, "ema_overwrite_frequency": 3}),
        ("Adam", {"gradient_accumulation_steps": 2}),
    ],
)
def test_options_of_optimizers(name, options):
    parity(small, lambda: getattr(keras.optimizers, name)(1e-2, **options))


def parity(build, optimizer=lambda: None, steps=6, rtol=1e-4, **kwargs):
    """A few steps of both, from the same weights: weights and the optimizer's state agree. Returns both models."""
    keras.utils.set_random_seed(1)
    stock, fast = pair(build, optimizer, **kwargs)
    images, targets = batches(stock.input_shape[1:], steps=steps)
    train_both(stock, fast, images, targets, rtol)
    assert_close(stock.optimizer.variables, fast.optimizer.variables, 10 * rtol)
    return stock, fast


def test_set_weights_in_the_middle_and_callbacks_that_set_the_rate():
    keras.utils.set_random_seed(1)
    stock, fast = pair(small)
    images, targets = batches((8, 8, 3), steps=4)
    for model in (stock, fast):
        model.train_on_batch(images[0], targets[0])
        model.set_weights([w * 1.01 for w in model.get_weights()])
        model.optimizer.learning_rate = 1e-3
        model.train_on_batch(images[1], targets[1])
        model.predict(images[0], verbose=0)
        model.train_on_batch(images[2], targets[2])
    assert_close(stock.get_weights(), fast.get_weights())
    assert_close([stock.predict(images[0], verbose=0)], [fast.predict(images[0], verbose=0)])


def test_fit_with_validation_logs_what_keras_logs():
    keras.utils.set_random_seed(1)
    stock, fast = pair(small)
    (images, more), (targets, labels) = batches((8, 8, 3), steps=2, size=24)
    histories = [
        model.fit(images, targets, 8, 2, validation_data=(more, labels), shuffle=False, verbose=0).history
        for model in (stock, fast)
    ]
    assert histories[0].keys() == histories[1].keys()
    for key in histories[0]:
        np.testing.assert_allclose(histories[1][key], histories[0][key], rtol=1e-4)


@pytest.mark.parametrize(
    ("loss", "metrics", "sparse"),
    [
        (lambda: keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1), ["accuracy"], False),
        (lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"], True),
        (lambda: "mse", [lambda: keras.metrics.TopKCategoricalAccuracy(3), "mae"], False),
        (
            lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
            [lambda: keras.metrics.SparseTopKCategoricalAccuracy(3)],
            True,
        ),
    ],
)
def test_losses_and_metrics(loss, metrics, sparse):
    keras.utils.set_random_seed(1)
    stock, fast = (
        compiled(small(), loss=loss(), metrics=[m() if callable(m) else m for m in metrics]) for _ in range(2)
    )
    fast.set_weights(stock.get_weights())
    assert accelerate(fast)
    images, targets = batches((8, 8, 3), steps=3)
    targets = 0.7 * targets + 0.3 * targets[:, ::-1] if not sparse else targets.argmax(-1)
    weights = np.linspace(0, 2, 16, dtype="float32")
    for x, y in zip(images, targets, strict=True):
        for extra in ({}, {"sample_weight": weights}):
            expected, got = (model.train_on_batch(x, y, **extra) for model in (stock, fast))
            np.testing.assert_allclose(got, expected, rtol=1e-4)
        np.testing.assert_allclose(fast.test_on_batch(x, y), stock.test_on_batch(x, y), rtol=1e-4)


def test_a_saved_model_is_an_ordinary_keras_file(tmp_path):
    keras.utils.set_random_seed(1)
    stock, fast = pair(small, lambda: keras.optimizers.Adam(1e-3))
    images, targets = batches((8, 8, 3), steps=4)
    train_both(stock, fast, images[:2], targets[:2])
    fast.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_close(fast.get_weights(), loaded.get_weights(), 0)
    assert accelerate(loaded)
    train_both(stock, loaded, images[2:], targets[2:])


def test_a_model_that_was_never_compiled_predicts():
    model = small()
    images, _ = batches((8, 8, 3), steps=1)
    expected = model.predict(images[0], verbose=0)
    assert accelerate(model)
    assert_close([expected], [model.predict(images[0], verbose=0)])
    assert model.train_function is None


@pytest.mark.parametrize("training", [None, True])
def test_prediction_in_parts_is_that_of_the_whole_batch(monkeypatch, training):
    """Also where a call says training=True: Keras' fit and predict overrule it."""
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs), training=training)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(layers.ReLU()(x)))
    images = np.random.default_rng(0).normal(size=(37, 8, 8, 3)).astype("float32")
    expected = model.predict(images, batch_size=37, verbose=0)
    monkeypatch.setattr(program, "CACHE", 10 * 6 * 6 * 4)
    assert accelerate(model)
    sizes = []
    monkeypatch.setattr(program.Program, "__call__", counted(sizes))
    assert_close([expected], [model.predict(images, batch_size=37, verbose=0)])
    assert sizes == [10, 9, 9, 9]


def counted(sizes):
    original = program.Program.__call__

    def call(self, *inputs):
        sizes.append(len(inputs[0]))
        return original(self, *inputs)

    return call


def test_prediction_by_winograd_follows_the_weights(monkeypatch):
    monkeypatch.setattr(winograd, "LEAST_GAIN", 0)
    used = []
    monkeypatch.setattr(winograd, "infer", lambda *args, infer=winograd.infer: used.append(1) or infer(*args))
    stock, fast = pair(convolutional)
    images, targets = batches((8, 8, 3), steps=3)
    for x, y in zip(images, targets, strict=True):
        assert_close([stock.predict(x, verbose=0)], [fast.predict(x, verbose=0)])
        train_both(stock, fast, [x], [y])
    assert len(used) == 3


def test_training_and_prediction_share_the_variables_memory(monkeypatch):
    """Where prediction is by Winograd and training is not: each new layout would cost a lowering."""
    monkeypatch.setattr(winograd, "pays", lambda layer, shape, padding, training: not training)
    stock, fast = pair(convolutional)
    images, targets = batches((8, 8, 3), steps=3)
    places = [variable.value.data_ptr() for variable in fast.weights]
    for x, y in zip(images, targets, strict=True):
        train_both(stock, fast, [x], [y])
        assert_close([stock.predict(x, verbose=0)], [fast.predict(x, verbose=0)])
    assert [variable.value.data_ptr() for variable in fast.weights] == places


def convolutional():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(5, 3, padding="same")(x))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))


def test_frozen_layers_stay_as_they_are():
    def frozen():
        model = small()
        model.layers[1].trainable = model.layers[2].trainable = False
        return model

    before, fast = parity(frozen, steps=2)
    assert len(fast.trainable_variables) == 2
    np.testing.assert_array_equal(before.get_weights()[3], fast.get_weights()[3])


def test_regularizers_and_constraints():
    regularizer, constraint = keras.regularizers.L1L2(1e-3, 1e-2), keras.constraints.MaxNorm(0.5)
    parity(lambda: small(kernel_regularizer=regularizer), steps=3)
    parity(lambda: small(kernel_constraint=constraint), steps=3)


def layer_zoo():
    """One call of each kind of layer that has a native form, or is called as it is."""
    x = images = keras.Input((16, 16, 4))
    x = layers.Normalization(mean=[0.1] * 4, variance=[2.0] * 4)(x)
    x = layers.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = layers.Conv2D(8, 3, strides=2, groups=2)(x)
    x = layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="silu")(x)
    y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization(scale=False)(y)
    z = layers.DepthwiseConv2D(3, strides=2, padding="same")(x)
    z = layers.BatchNormalization(center=False)(z)
    x = layers.Activation("relu")(layers.Add()([y, z]))
    x = layers.SeparableConv2D(12, 3, padding="same", depth_multiplier=2)(x)
    x = layers.BatchNormalization()(x)
    gate = layers.Dense(12, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, gate])
    x = layers.LayerNormalization()(x)
    x = layers.Concatenate()([layers.MaxPooling2D(3, 1, "same")(x), layers.AveragePooling2D(2, 1, "same")(x)])
    x = layers.LeakyReLU()(keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [1, 2]])[:, ::2])
    x = keras.Sequential([keras.Input(x.shape[1:]), layers.Conv2D(6, 1), layers.ReLU(6.0)])(x)
    x = layers.Softmax()(layers.Subtract()([layers.UpSampling2D()(x), layers.Resizing(4, 4)(x)[:, :, :1]]))
    pooled = layers.GlobalMaxPooling2D()(x)
    x = layers.Reshape((-1, 4))(layers.Flatten()(x))
    x = layers.Dense(6, activation="tanh")(layers.LayerNormalization()(x))
    x = layers.BatchNormalization()(layers.Dense(10)(layers.Concatenate()([layers.Flatten()(x), pooled])))
    return keras.Model(images, layers.Dropout(0.0)(x))


def test_every_layer_is_that_of_keras():
    stock, fast = parity(layer_zoo, steps=3)
    images, _ = batches((16, 16, 4), steps=1)
    assert_close([stock.predict(images[0], verbose=0)], [fast.predict(images[0], verbose=0)])


def test_an_unknown_layer_is_named_and_left_to_keras(caplog):
    class Strange(layers.Layer):
        def call(self, x):
            return 2 * x

    model = compiled(keras.Sequential([keras.Input((4,)), Strange(name="odd"), layers.Dense(10)]))
    with caplog.at_level("INFO", "kcnn"):
        assert not accelerate(model)
    assert "Strange 'odd'" in caplog.text
    assert model.train_function is None
    model.fit(np.ones((8, 4)), np.eye(10)[:8], verbose=0)


def test_dropout_follows_torchs_seed_and_leaves_evaluation_alone():
    def build():
        return keras.Sequential([keras.Input((50,)), layers.Dropout(0.5), layers.Dense(10)])

    results = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        model = compiled(build())
        assert accelerate(model)
        torch.manual_seed(7)
        results.append(model.train_on_batch(np.ones((8, 50)), np.eye(10)[:8])[0])
        first, second = (model.predict(np.ones((8, 50)), verbose=0) for _ in range(2))
        np.testing.assert_array_equal(first, second)
    assert results[0] == results[1]


@pytest.fixture
def float64():
    """With less rounding, which deep networks of small batches amplify; Keras' batch norm stays in float32."""
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


def test_mixed_precision_trains_and_keeps_the_weights_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        stock, fast = pair(small)
    finally:
        keras.config.set_dtype_policy("float32")
    images, targets = batches((8, 8, 3), steps=2)
    for x, y in zip(images, targets, strict=True):
        np.testing.assert_allclose(fast.train_on_batch(x, y), stock.train_on_batch(x, y), rtol=2e-2)
    assert_close(stock.get_weights(), fast.get_weights(), 1e-2)
    assert {w.dtype for w in fast.weights if "seed" not in w.path} == {"float32"}


@pytest.mark.parametrize(("side", "padding"), [(2, 1), (4, 1), (7, 1), (9, 0)])
def test_winograd_is_the_convolution(side, padding):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(70, 5, side, side, generator=generator).requires_grad_()
    kernel = torch.randn(3, 3, 5, 6, generator=generator).requires_grad_()
    bias = torch.randn(6, generator=generator).requires_grad_()
    got = winograd.convolve(x, kernel, bias, padding)
    exact = [t.detach().double().requires_grad_() for t in (x, kernel, bias)]
    expected = F.conv2d(exact[0], exact[1].permute(3, 2, 0, 1), exact[2], padding=padding)
    out = torch.randn(got.shape, generator=generator)
    pairs = zip(
        torch.autograd.grad(got, (x, kernel, bias), out),
        torch.autograd.grad(expected, exact, out.double()),
        strict=True,
    )
    for a, b in [(got, expected), *pairs]:
        assert (a - b).norm() <= 1e-5 * b.norm()
