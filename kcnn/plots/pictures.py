"""Pictures of images: mistakes, first-layer filters, feature maps, Grad-CAM."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kcnn.plots.figure import grid, new_figure, show_image, write
from kcnn.plots.text import literal


def mistakes(images: np.ndarray, captions: Sequence[tuple[str, str, float]], title: str, path: Path) -> None:
    """A grid of wrongly classified images.

    Args:
        images: uint8 (n, height, width, channels).
        captions: (true class, predicted class, its probability) of each.
    """
    columns = min(len(images), 6)
    rows = -(-len(images) // columns)
    figure = new_figure(max(1.75 * columns, 4), 2.2 * rows + 0.5)
    figure.suptitle(literal(title))
    for ax, image, (true, predicted, probability) in zip(
        grid(figure, len(images), columns), images, captions, strict=True
    ):
        show_image(ax, image)
        ax.set_title(f"{literal(predicted, 15)} ({probability:.1%})", fontsize=9, color="#b01020", pad=16)
        ax.text(0.5, 1.03, f"is {literal(true, 18)}", transform=ax.transAxes, ha="center", fontsize=9, color="0.2")
    write(figure, path)


def filters(kernel: np.ndarray, name: str, path: Path) -> None:
    """The filters of the first convolution, each scaled by its own largest weight; grey is zero.

    Args:
        kernel: float (kernel height, kernel width, channels in, filters); 1 or 3 channels in.
    """
    height, width, channels, count = kernel.shape
    columns = min(count, 8 if count <= 32 else 16)
    rows = -(-count // columns)
    figure = new_figure(max(0.85 * columns, 4), 0.85 * rows + 0.7)
    figure.suptitle(f"{literal(name, 60)}: {count} filters {height}×{width}×{channels}", fontsize=11)
    largest = np.maximum(np.abs(kernel).max((0, 1, 2), keepdims=True), 1e-12)
    pictures = np.moveaxis(0.5 + kernel / (2 * largest), -1, 0)
    for ax, picture in zip(grid(figure, count, columns), pictures, strict=True):
        ax.imshow(picture if channels == 3 else picture.mean(-1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    write(figure, path)


def features(image: np.ndarray, maps: Sequence[tuple[str, np.ndarray]], title: str, path: Path) -> None:
    """An image, and a row of feature maps for each layer: those with the largest mean, each in its own range.

    Args:
        image: uint8 (height, width, channels).
        maps: (layer, float (height, width, channels)) from the first layer to the last.
    """
    most = max(min(values.shape[-1], 8) for _, values in maps)
    figure = new_figure(2.3 + 1.15 * most, max(1.3 * len(maps), 2.0) + 0.6)
    left, right = figure.subfigures(1, 2, width_ratios=[2.0, 0.3 + 1.15 * most])
    ax = left.subplots()
    show_image(ax, image)
    ax.set_axis_off()
    ax.set_title(literal(title), fontsize=10)
    for part, (name, values) in zip(np.atleast_1d(right.subfigures(len(maps), 1)), maps, strict=True):
        height, width, channels = values.shape
        part.suptitle(
            f"{literal(name, 40)}: {height}×{width}, {min(channels, most)} of {channels} maps",
            fontsize=9,
            x=0.02,
            ha="left",
        )
        strongest = np.argsort(-values.mean((0, 1)), kind="stable")[:most]
        axes = grid(part, most, most)
        for ax, index in zip(axes, strongest, strict=False):
            ax.imshow(values[..., index], cmap="viridis", interpolation="nearest")
    write(figure, path)


def heat(panels: Sequence[tuple[np.ndarray, np.ndarray | None, str]], title: str, path: Path) -> None:
    """Images with a heat map over each; red is where the class's score comes from.

    Args:
        panels: (uint8 image, heat map (height, width) in 0…1 of any resolution or None for the bare image, caption).
    """
    columns = min(len(panels), 6)
    rows = -(-len(panels) // columns)
    figure = new_figure(max(1.9 * columns, 4), 2.25 * rows + 0.5)
    figure.suptitle(literal(title))
    for ax, (image, values, caption) in zip(grid(figure, len(panels), columns), panels, strict=True):
        show_image(ax, image)
        ax.set_title(literal(caption), fontsize=9)
        if values is not None:
            _overlay(ax, values, image.shape)
    write(figure, path)


def _overlay(ax: Any, values: np.ndarray, shape: tuple[int, ...]) -> None:
    from PIL import Image

    size = (shape[1] * 4, shape[0] * 4)
    smooth = np.clip(
        np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)), 0, 1
    )
    place = (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    ax.imshow(smooth, cmap="turbo", vmin=0, vmax=1, alpha=0.15 + 0.45 * smooth, extent=place)
