"""Report 2's AlexNet for 32-pixel images; its rows "pure", "+ BN" and "+ dropout" are options of one builder."""

from keras import layers

from kcnn.models.layers import Tensor, batch_norm, conv, dense, head, pool

# filters, kernel, padding, then max-pooling (size, strides) or None
CONVOLUTIONS = (
    (96, 3, 1, (2, 2)),
    (128, 5, 2, (2, 1)),
    (256, 3, 0, None),
    (256, 3, 1, None),
    (128, 3, 1, (3, 2)),
)


def build(
    x: Tensor, num_classes: int, batch_norm: bool = True, dropout: float = 0.5, activation: str = "relu"
) -> Tensor:
    """Images (batch, height, width, channels), at least 16 px → logits (batch, num_classes).

    Args:
        batch_norm: normalise before every activation.
        dropout: rate after each hidden dense layer, 0…1.
        activation: "relu" or "sigmoid".
    """
    for index, (filters, kernel, padding, pooling) in enumerate(CONVOLUTIONS, start=1):
        x = conv(x, filters, kernel, padding=padding, name=f"conv{index}")
        x = _activate(x, batch_norm, activation, f"bn{index}")
        if pooling:
            x = pool(x, "max", *pooling)
    x = layers.Flatten()(x)
    for index, units in enumerate((128, 64), start=1):
        x = dense(x, units, activation=None, name=f"fc{index}")
        x = _activate(x, batch_norm, activation, f"fc{index}_bn")
        if dropout:
            x = layers.Dropout(dropout)(x)
    return head(x, num_classes)


def _activate(x: Tensor, normalize: bool, activation: str, name: str) -> Tensor:
    return layers.Activation(activation)(batch_norm(x, name=name) if normalize else x)
