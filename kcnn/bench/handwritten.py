"""What kcnn is measured against: the same networks and loops as one writes them by hand in PyTorch, and no slower."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kcnn.models.alexnet import CONVOLUTIONS
from kcnn.models.registry import MODELS
from kcnn.models.resnet import STAGES
from kcnn.models.speednet import WIDTHS as SPEEDNET_WIDTHS
from kcnn.models.vgg import STAGES as VGG_STAGES
from kcnn.models.vgg import WIDTHS

RATE, MOMENTUM = 0.01, 0.9
# Keras' dtype policy → what most is computed in.
DTYPES = {
    "float32": torch.float32,
    "mixed_bfloat16": torch.bfloat16,
    "mixed_float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def lenet(channels: int, size: int, first_padding: int) -> nn.Module:
    """LeNet-5 and the simple CNN, as `kcnn.models.lenet`."""
    side = ((size + 2 * first_padding - 4) // 2 - 4) // 2
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=first_padding), relu(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), relu(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(16 * side * side, 120), relu(), nn.Linear(120, 84), relu(), nn.Linear(84, 10)),
    )


def convnet(channels: int, size: int) -> nn.Module:
    """Report 3's, as `kcnn.models.convnet`."""
    blocks: list[nn.Module] = []
    for width in (64, 128):
        blocks += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), relu(), nn.MaxPool2d(2)]
        channels = width
    dense = (nn.Linear(128 * (size // 4) ** 2, 784), relu(), nn.Linear(784, 98), relu(), nn.Linear(98, 10))
    return nn.Sequential(*blocks, nn.Flatten(), *dense)


def alexnet(channels: int, size: int) -> nn.Module:
    """Report 2's, as `kcnn.models.alexnet`."""
    blocks: list[nn.Module] = []
    for width, kernel, padding, pooling in CONVOLUTIONS:
        blocks += [nn.Conv2d(channels, width, kernel, padding=padding), nn.BatchNorm2d(width), relu()]
        blocks += [nn.MaxPool2d(*pooling)] if pooling else []
        channels, size = width, size + 2 * padding - kernel + 1
        size = (size - pooling[0]) // pooling[1] + 1 if pooling else size
    dense: list[nn.Module] = []
    features = channels * size * size
    for width in (128, 64):
        dense += [nn.Linear(features, width), nn.BatchNorm1d(width), relu(), nn.Dropout(0.5)]
        features = width
    return nn.Sequential(*blocks, nn.Flatten(), *dense, nn.Linear(features, 10))


def vgg(channels: int, size: int, depth: int) -> nn.Module:
    """With batch norm, as `kcnn.models.vgg`."""
    blocks: list[nn.Module] = []
    for width, convolutions in zip(WIDTHS, VGG_STAGES[depth], strict=True):
        for _ in range(convolutions):
            blocks += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), relu()]
            channels = width
        blocks.append(nn.MaxPool2d(2))
    dense = (nn.Linear(512 * (size // 32) ** 2, 4096), relu(), nn.Dropout(0.5), nn.Linear(4096, 4096), relu())
    return nn.Sequential(*blocks, nn.Flatten(), *dense, nn.Dropout(0.5), nn.Linear(4096, 10))


class Block(nn.Module):
    """A residual block: convolutions with batch norm (kernels 3, 3, or 1, 3, 1), and a shortcut."""

    def __init__(self, inputs: int, widths: Sequence[int], kernels: Sequence[int], stride: int, option_a: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, at = inputs, len(kernels) - 2  # ResNet v1.5: the stride is in the first 3×3
        for index, (width, kernel) in enumerate(zip(widths, kernels, strict=True)):
            step = stride if index == at else 1
            layers += [nn.Conv2d(channels, width, kernel, step, kernel // 2, bias=False), nn.BatchNorm2d(width), relu()]
            channels = width
        self.body = nn.Sequential(*layers[:-1])
        self.stride, self.missing = stride, channels - inputs
        self.shortcut: nn.Module | None = None
        if not option_a and (stride > 1 or channels != inputs):
            convolution = nn.Conv2d(inputs, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.stride > 1:
            half = self.missing // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.missing - half))
        return F.relu_(y.add_(x))


def resnet(channels: int, size: int, depth: int) -> nn.Module:
    """For CIFAR, as `kcnn.models.resnet`."""
    small, deep = len(STAGES[depth]) == 3, depth in (50, 101, 152)
    base = 16 if small else 64
    layers: list[nn.Module] = [nn.Conv2d(channels, base, 3, padding=1, bias=False), nn.BatchNorm2d(base), relu()]
    inputs = base
    for stage, blocks in enumerate(STAGES[depth]):
        width = base * 2**stage
        widths, kernels = ((width, width, 4 * width), (1, 3, 1)) if deep else ((width, width), (3, 3))
        for index in range(blocks):
            stride = 2 if stage and not index else 1
            layers.append(Block(inputs, widths, kernels, stride, option_a=small))
            inputs = widths[-1]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def speednet(channels: int, size: int) -> nn.Module:
    """The medium size, as `kcnn.models.speednet`."""
    patch = nn.Conv2d(channels, 8 * channels, 2).requires_grad_(False)
    layers: list[nn.Module] = [patch, nn.GELU()]
    inputs = 8 * channels
    for width in SPEEDNET_WIDTHS["medium"]:
        for pooling in ([nn.MaxPool2d(2)], []):
            norm = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
            norm.weight.requires_grad_(False)
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), *pooling, norm, nn.GELU()]
            inputs = width
    head = nn.Linear(inputs, 10, bias=False)
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), Scaled(1 / 9), head)


class Scaled(nn.Module):
    """Times a number."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return x * self.number


FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "lenet": lenet,
    "convnet": convnet,
    "alexnet": alexnet,
    "vgg": vgg,
    "resnet": resnet,
    "speednet": speednet,
}


def network(name: str, channels: int, size: int) -> nn.Module:
    """The network that `kcnn.build_model(name)` gives, from normalised images (batch, channels, size, size)."""
    architecture = MODELS[name]
    return FAMILIES[architecture.family](channels, size, **architecture.numbers)


def _prepare(settings: dict[str, Any], images: np.ndarray) -> tuple[nn.Module, Tensor, Any, Any, Any]:
    """The network on its device, all images there as uint8, what normalises a batch, autocast, and a barrier.

    Weights and activations have the dtypes that Keras' policy of that name gives them.
    """
    device = torch.device(settings["device"])
    torch.backends.cudnn.benchmark = True
    model = (
        network(settings["model"], images.shape[3], images.shape[1]).to(memory_format=torch.channels_last).to(device)
    )
    kept = torch.from_numpy(images).to(device)
    mean, std = torch.tensor(0.5, device=device), torch.tensor(0.25, device=device)
    dtype = DTYPES[settings["precision"]]
    mixed = settings["precision"].startswith("mixed")
    half = torch.autocast(device.type, dtype, enabled=mixed)
    weights = torch.float32 if mixed else dtype
    model = model.to(weights)

    def normalize(batch: Tensor) -> Tensor:
        # The permuted view is channels_last already: no copy.
        return batch.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std).to(weights)

    return model, kept, normalize, half, torch.cuda.synchronize if device.type == "cuda" else lambda: None


def trainer(settings: dict[str, Any], images: np.ndarray, labels: np.ndarray) -> Callable[[int], None]:
    """Shuffled batches, SGD with momentum (fused), running loss and accuracy on the device."""
    model, kept, normalize, half, wait = _prepare(settings, images)
    targets, size = torch.from_numpy(labels).to(kept.device), settings["batch_size"]
    optimizer = torch.optim.SGD(model.parameters(), RATE, momentum=MOMENTUM, fused=True)
    forward: Any = torch.compile(model, mode="max-autotune") if kept.is_cuda else model
    scaler = torch.amp.GradScaler(kept.device.type, enabled=settings["precision"] == "mixed_float16")
    model.train()

    def run(steps: int) -> None:
        order = torch.randperm(len(kept), device=kept.device)
        loss_sum, hits = torch.zeros((), device=kept.device), torch.zeros((), device=kept.device)
        for step in range(steps):
            chosen = order[step * size % len(kept) :][:size]
            x, y = normalize(kept[chosen]), targets[chosen]
            with half:
                logits = forward(x)
                loss = F.cross_entropy(logits.float(), y)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            with torch.no_grad():
                loss_sum += loss * len(y)
                hits += (logits.argmax(1) == y).sum()
        float(loss_sum), float(hits)
        wait()

    return run


def predictor(settings: dict[str, Any], images: np.ndarray, labels: np.ndarray) -> Callable[[int], None]:
    """Batches in order, without gradients; the logits of all images at the end, in memory."""
    model, kept, normalize, half, wait = _prepare(settings, images)
    size = settings["batch_size"]
    forward: Any = torch.compile(model, mode="max-autotune") if kept.is_cuda else model
    model.eval()

    def run(steps: int) -> None:
        logits = []
        with torch.inference_mode(), half:
            for step in range(steps):
                start = step * size % len(kept)
                logits.append(forward(normalize(kept[start : start + size])).float())
            torch.cat(logits).cpu()
        wait()

    return run
