"""What the families share: layers with torch's conventions where Keras' defaults differ.

Layers that have weights are named, so that weights of one network find their place in another.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import layers

Tensor = Any  # a symbolic keras tensor, (batch, height, width, channels)
WHITENING = "whiten"  # the name of the layer of `whitening`


@contextmanager
def channels_last() -> Iterator[None]:
    """Layers that are made inside take channels last, whatever the user's `keras.json` says."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def preprocess(x: Tensor, mean: Sequence[float], std: Sequence[float], image_size: int | None) -> Tensor:
    """uint8 images in 0…255 → normalised floats, enlarged to `image_size` pixels a side (bilinear) if given.

    It is part of the model, so that a saved file takes raw images and cannot meet the wrong normalisation. In float32
    whatever the precision of the rest, which rounds only the result.

    Args:
        mean, std: one number a channel, of images scaled to 0…1; three for grey images make them RGB.
    """
    if x.shape[-1] == 1 and len(mean) == 3:
        x = layers.Concatenate(name="grey_to_rgb")([x, x, x])
    scale = [1 / (255 * s) for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    # With all three axes: Keras turns a plain list round wherever channels come first in its settings.
    x = layers.Rescaling([[scale]], [[offset]], dtype="float32", name="normalize")(x)
    if image_size and tuple(x.shape[1:3]) != (image_size, image_size):
        x = layers.Resizing(image_size, image_size, interpolation="bilinear", dtype="float32", name="resize")(x)
    return x


def conv(
    x: Tensor,
    filters: int,
    kernel: int,
    strides: int = 1,
    padding: int | None = None,
    use_bias: bool = True,
    initializer: Any = "he_normal",
    **name: str,
) -> Tensor:
    """Convolution padded by `padding` zeros on every side (default: kernel // 2), as in torch.

    Keras' "same" pads strided convolutions on the other side than torch does, hence the explicit padding.
    """
    padding = kernel // 2 if padding is None else padding
    same = strides == 1 and padding == kernel // 2
    if padding and not same:
        x = layers.ZeroPadding2D(padding)(x)
    return layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same" if same else "valid",
        use_bias=use_bias,
        kernel_initializer=initializer,
        **name,
    )(x)


def whitening(x: Tensor) -> Tensor:
    """A 2×2 convolution that stands still: `kcnn.starts.whitening` fits it to patches, two filters for each direction.

    In float32, for what it enlarges most is least in its input.
    """
    filters = 2 * 2 * 2 * x.shape[-1]
    return layers.Conv2D(filters, 2, trainable=False, dtype="float32", name=WHITENING)(x)


def unfreeze(model: Any) -> None:
    """Let everything train that ever does; compile afterwards."""
    for layer in model.layers:
        layer.trainable = layer.name != WHITENING


def passing_on(x: Tensor, filters: int, **name: str) -> Tensor:
    """A 3×3 convolution without bias whose first filters begin as the identity: each gives a channel of `x` on.

    Those left over have torch's default start. As in Zagoruyko and Komodakis 2017, "DiracNets" (arXiv:1706.00388).
    """
    random = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")

    def start(shape: Sequence[int], dtype: Any = None) -> Any:
        here = np.zeros(shape, bool)
        both = np.arange(min(shape[2:]))
        here[1, 1, both, both] = True
        passed = (np.arange(shape[3]) < shape[2]) * np.ones(shape, bool)
        return keras.ops.where(passed, keras.ops.cast(here, dtype), random(shape, dtype))

    layer = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer=start, **name)
    y = layer(x)
    layer.kernel_initializer = random  # what is saved must be known to plain Keras
    return y


def batch_norm(x: Tensor, momentum: float = 0.9, epsilon: float = 1e-5, **options: Any) -> Tensor:
    """Batch normalisation with torch's epsilon, and its momentum 0.1 in Keras' sense (1 - 0.1)."""
    return layers.BatchNormalization(momentum=momentum, epsilon=epsilon, **options)(x)


def pool(x: Tensor, kind: str, size: int = 2, strides: int | None = None) -> Tensor:
    """`kind` is "max" or "average"; the border that does not fill a window is left out, as in torch."""
    layer = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}[kind]
    return layer(size, strides=strides)(x)


def dense(
    x: Tensor, units: int, activation: str | None = "relu", initializer: Any = "he_normal", **name: str
) -> Tensor:
    """A hidden fully connected layer."""
    return layers.Dense(units, activation=activation, kernel_initializer=initializer, **name)(x)


def head(x: Tensor, num_classes: int, name: str = "logits", use_bias: bool = True) -> Tensor:
    """The last layer: logits, in float32 whatever the precision of the rest."""
    return layers.Dense(num_classes, use_bias=use_bias, dtype="float32", name=name)(x)


def channel_padding(x: Tensor, channels: int) -> Tensor:
    """Zeros appended around the channel axis up to `channels` (He et al. 2015, shortcut option A)."""
    missing = channels - x.shape[-1]
    return keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [missing // 2, missing - missing // 2]])
