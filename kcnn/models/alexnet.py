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
    for filters, kernel, padding, pooling in CONVOLUTIONS:
        x = _activate(conv(x, filters, kernel, padding=padding), batch_norm, activation)
        if pooling:
            x = pool(x, "max", *pooling)
    x = layers.Flatten()(x)
    for units in (128, 64):
        x = _activate(dense(x, units, activation=None), batch_norm, activation)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return head(x, num_classes)


def _activate(x: Tensor, normalize: bool, activation: str) -> Tensor:
    return layers.Activation(activation)(batch_norm(x) if normalize else x)
