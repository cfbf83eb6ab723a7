"""Residual networks: He et al. 2015, "Deep residual learning for image recognition".

Layer names are those of torchvision's state dicts, with dots as underscores. Each block starts as its shortcut alone
(the last batch norm's gamma is 0), which makes high rates safe in the first epochs: Goyal et al. 2017, section 5.1.
"""

from collections.abc import Callable

from keras import layers

from kcnn.models.layers import Tensor, batch_norm, channel_padding, conv, head

# Depth → blocks in each stage. Four stages: the ImageNet networks; three: section 4.2's, for CIFAR.
STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    **{6 * n + 2: (n, n, n) for n in (3, 5, 7, 9, 18)},
}


def build(x: Tensor, num_classes: int, depth: int, stem: str = "cifar") -> Tensor:
    """Images (batch, height, width, channels) → logits (batch, num_classes).

    Args:
        depth: a key of `STAGES`.
        stem: "cifar" (3×3 convolution, no pooling) or "imagenet" (7×7/2 convolution, 3×3/2 max-pooling).
    """
    small = len(STAGES[depth]) == 3
    width = 16 if small else 64
    block = _bottleneck if depth in (50, 101, 152) else _basic
    shortcut = _pad_shortcut if small else _conv_shortcut
    x = _stem(x, width, stem)
    for stage, blocks in enumerate(STAGES[depth]):
        for index in range(blocks):
            strides = 2 if stage > 0 and index == 0 else 1
            x = block(x, width * 2**stage, strides, shortcut, f"layer{stage + 1}_{index}")
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return head(x, num_classes, name="fc")


def _stem(x: Tensor, width: int, kind: str) -> Tensor:
    kernel, strides = (3, 1) if kind == "cifar" else (7, 2)
    x = conv(x, width, kernel, strides, use_bias=False, name="conv1")
    x = layers.ReLU()(batch_norm(x, name="bn1"))
    if kind == "imagenet":
        # Zeros around a ReLU's output never win: the same as torch's padding by minus infinity.
        x = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(x))
    return x


def _basic(x: Tensor, width: int, strides: int, shortcut: Callable[..., Tensor], name: str) -> Tensor:
    y = conv(x, width, 3, strides, use_bias=False, name=f"{name}_conv1")
    y = layers.ReLU()(batch_norm(y, name=f"{name}_bn1"))
    y = conv(y, width, 3, use_bias=False, name=f"{name}_conv2")
    y = batch_norm(y, name=f"{name}_bn2", gamma_initializer="zeros")
    return layers.ReLU()(layers.Add()([y, shortcut(x, width, strides, name)]))


def _bottleneck(x: Tensor, width: int, strides: int, shortcut: Callable[..., Tensor], name: str) -> Tensor:
    """The stride is in the 3×3 convolution, as in torchvision ("ResNet v1.5")."""
    y = x
    for index, (filters, kernel, step) in enumerate(((width, 1, 1), (width, 3, strides), (4 * width, 1, 1)), start=1):
        y = conv(y, filters, kernel, step, use_bias=False, name=f"{name}_conv{index}")
        last = index == 3
        y = batch_norm(y, name=f"{name}_bn{index}", gamma_initializer="zeros" if last else "ones")
        y = y if last else layers.ReLU()(y)
    return layers.ReLU()(layers.Add()([y, shortcut(x, 4 * width, strides, name)]))


def _conv_shortcut(x: Tensor, width: int, strides: int, name: str) -> Tensor:
    """Option B: a 1×1 convolution with batch norm where the shape changes."""
    if strides == 1 and x.shape[-1] == width:
        return x
    x = conv(x, width, 1, strides, use_bias=False, name=f"{name}_downsample_0")
    return batch_norm(x, name=f"{name}_downsample_1")


def _pad_shortcut(x: Tensor, width: int, strides: int, name: str) -> Tensor:
    """Option A: every second pixel, and zeros for the new channels; no parameters."""
    if strides == 1:
        return x
    return channel_padding(layers.MaxPooling2D(1, strides=strides, name=f"{name}_downsample")(x), width)
