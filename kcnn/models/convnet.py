"""Report 3's ConvNet for MNIST: two wide convolutions with batch norm, three dense layers."""

from keras import layers

from kcnn.models.layers import Tensor, batch_norm, conv, dense, head, pool


def build(x: Tensor, num_classes: int, pooling: str = "max") -> Tensor:
    """Images (batch, height, width, channels), at least 4 px → logits (batch, num_classes).

    Args:
        pooling: "max" or "average".
    """
    for index, filters in enumerate((64, 128), start=1):
        x = batch_norm(conv(x, filters, 3, name=f"conv{index}"), name=f"bn{index}")
        x = pool(layers.ReLU()(x), pooling)
    x = layers.Flatten()(x)
    x = dense(dense(x, 784, name="fc1"), 98, name="fc2")
    return head(x, num_classes)
