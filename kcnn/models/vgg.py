"""VGG: Simonyan and Zisserman 2014, "Very deep convolutional networks for large-scale image recognition".

Layer names are those of torchvision's state dicts, with dots as underscores.
"""

from keras import layers

from kcnn.models.layers import Tensor, batch_norm, conv, dense, head, pool

# Depth → convolutions in each of the five stages.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


def build(x: Tensor, num_classes: int, depth: int, batch_norm: bool = True, dropout: float = 0.5) -> Tensor:
    """Images (batch, height, width, channels), at least 32 px → logits (batch, num_classes).

    The classifier's first layer sees 512 features at 32 px (report 1) and 7·7·512 at 224 px (torchvision).

    Args:
        depth: a key of `STAGES`.
        batch_norm: normalise after every convolution.
        dropout: rate after each hidden dense layer, 0…1.
    """
    index = 0  # of the layer in torchvision's `features`
    for width, convolutions in zip(WIDTHS, STAGES[depth], strict=True):
        for _ in range(convolutions):
            x = _conv_relu(x, width, batch_norm, index)
            index += 3 if batch_norm else 2
        x = pool(x, "max")
        index += 1
    x = layers.Flatten()(x)
    for index in (0, 3):
        x = layers.Dropout(dropout)(dense(x, 4096, name=f"classifier_{index}"))
    return head(x, num_classes, name="classifier_6")


def _conv_relu(x: Tensor, width: int, normalize: bool, index: int) -> Tensor:
    x = conv(x, width, 3, name=f"features_{index}")
    if normalize:
        x = batch_norm(x, name=f"features_{index + 1}")
    return layers.ReLU()(x)
