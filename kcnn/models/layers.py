"""What the families share: layers with torch's conventions where Keras' defaults differ.

Layers that have weights are named, so that weights of one network find their place in another.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers

Tensor = Any  # a symbolic keras tensor, (batch, height, width, channels)


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

    It is part of the model, so that a saved file takes raw images and cannot meet the wrong normalisation.

    Args:
        mean, std: one number a channel, of images scaled to 0…1; three for grey images make them RGB.
    """
    if x.shape[-1] == 1 and len(mean) == 3:
        x = layers.Concatenate(name="grey_to_rgb")([x, x, x])
    scale = [1 / (255 * s) for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    # With all three axes: Keras turns a plain list round wherever channels come first in its settings.
    x = layers.Rescaling([[scale]], [[offset]], name="normalize")(x)
    if image_size and tuple(x.shape[1:3]) != (image_size, image_size):
        x = layers.Resizing(image_size, image_size, interpolation="bilinear", name="resize")(x)
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


def batch_norm(x: Tensor, **options: str) -> Tensor:
    """Batch normalisation with torch's epsilon, and its momentum 0.1 in Keras' sense (1 - 0.1)."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, **options)(x)


def pool(x: Tensor, kind: str, size: int = 2, strides: int | None = None) -> Tensor:
    """`kind` is "max" or "average"; the border that does not fill a window is left out, as in torch."""
    layer = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}[kind]
    return layer(size, strides=strides)(x)


def dense(
    x: Tensor, units: int, activation: str | None = "relu", initializer: Any = "he_normal", **name: str
) -> Tensor:
    """A hidden fully connected layer."""
    return layers.Dense(units, activation=activation, kernel_initializer=initializer, **name)(x)


def head(x: Tensor, num_classes: int, name: str = "logits") -> Tensor:
    """The last layer: logits, in float32 whatever the precision of the rest."""
    return layers.Dense(num_classes, dtype="float32", name=name)(x)


def channel_padding(x: Tensor, channels: int) -> Tensor:
    """Zeros appended around the channel axis up to `channels` (He et al. 2015, shortcut option A)."""
    missing = channels - x.shape[-1]
    return keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [missing // 2, missing - missing // 2]])
